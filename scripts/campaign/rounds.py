"""The rounds: what is done to the groups, and what must hold after it."""

import random
import select
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Final

from scripts.campaign.lab import GROUPS, Group, Lab, finished, kill, wait_until

_SETTLES_WITHIN_S: Final = 75.0
"""The longest pause before a restart takes 60 s."""
_RESTARTING: Final = "waiting to restart"
_COMES_BACK: Final = (_RESTARTING, "restarting")
_MEANS: Final = {
    "running": "running",
    "paused": "paused",
    "prelaunch": "paused",
    "postmigrate": "paused",  # a save that came to nothing, of one that had been suspended
}
"""What QEMU says, as the model has it."""
_VERBS: Final = ("suspend", "resume", "restart", "destroy", "down")
_LEADS_TO: Final = {"suspend": "paused", "resume": "running", "restart": "running"}

Model = dict[str, str | None]
"""What each domain should be: `running`, `paused`, or None where it should not be."""


class ViolationError(Exception):
    """An invariant does not hold."""


class Campaign:
    """A lab, and what is known to be true of it."""

    def __init__(self, lab: Lab, seed: int) -> None:
        """Start with nothing running."""
        self.lab = lab
        self.random = random.Random(seed)
        self.want: Model = {name: None for group in GROUPS for name in group.members}
        self.orphaned: set[str] = set()
        """Groups whose supervisor was killed."""
        self.unhelped: set[str] = set()
        """Members whose helper was killed: their QEMUs cannot write their states."""
        self.counts: dict[str, int] = {}
        self._actions: dict[str, Callable[[Group], None]] = {
            "kill supervisor": self._kill_supervisor,
            "kill supervisor, then a verb": self._kill_then_verb,
            "kill supervisor during a verb": self._kill_during_verb,
            "kill command": self._kill_command,
            "kill member": self._kill_member,
            "stop member": self._stop_member,
            "kill helper": self._kill_helper,
            "save and restore": self._save_and_restore,
            "kill supervisor during save": self._kill_supervisor_during_save,
            "kill member during save": self._kill_member_during_save,
            "adopt": self._adopt,
            "adopt twice": self._adopt_twice,
            "verb": self._verb,
            "verbs at once": self._verbs_at_once,
            "prune": self._prune,
        }

    def round(self) -> str:
        """Do something to a group and check everything; give what was done.

        Raises:
            ViolationError: something does not hold.
        """
        group = self.random.choice(GROUPS)
        is_up = any(self.want[name] for name in group.members)
        if is_up or group.name in self.orphaned:
            action = self.random.choice(list(self._actions))
            perform = self._actions[action]
        else:
            action = self.random.choice(("up", "up", "up twice", "kill supervisor during up"))
            perform = {
                "up": self._up,
                "up twice": self._up_twice,
                "kill supervisor during up": self._kill_during_up,
            }[action]
        self.counts[action] = self.counts.get(action, 0) + 1
        what = f"{action} ({group.name})"
        try:
            perform(group)
            self.check()
        except AssertionError as error:
            raise ViolationError(f"{what}: {error}") from error
        return what

    # What is done

    def _up(self, group: Group) -> None:
        done = self.lab.run("up", "-d", self.lab.file(group.name))
        assert done.status == 0, done
        self._set(group, "running")

    def _up_twice(self, group: Group) -> None:
        both = [self.lab.start("up", "-d", self.lab.file(group.name)) for _ in range(2)]
        statuses = sorted(finished(each).status for each in both)
        assert statuses == [0, 1], f"of two starts {statuses}"
        self._set(group, "running")

    def _kill_during_up(self, group: Group) -> None:
        """All or nothing: a start that was cut off leaves nothing, once somebody looks after it."""
        self.unhelped -= set(group.members)
        command = self.lab.start("up", "-d", self.lab.file(group.name))
        self._pause(1.0)
        if pid := self.lab.supervisor(group.name):
            kill(pid)
        finished(command)
        adopted = self.lab.run("adopt", group.name)
        assert adopted.status == 0 or "no such domain" in adopted.err, adopted
        self._learn(group)
        assert len({self.want[name] for name in group.members}) == 1, f"half a start: {self.want}"

    def _kill_supervisor(self, group: Group) -> None:
        if pid := self.lab.supervisor(group.name):
            kill(pid)
            self.orphaned.add(group.name)

    def _kill_then_verb(self, group: Group) -> None:
        self._kill_supervisor(group)
        self._verb(group)

    def _kill_during_verb(self, group: Group) -> None:
        verb = self.random.choice(_VERBS)
        command = self.lab.start(verb, group.name, *self._options(verb))
        self._pause(0.3)
        self._kill_supervisor(group)
        finished(command)
        self._adopt(group)
        self._learn(group)

    def _kill_command(self, group: Group) -> None:
        verb = self.random.choice((*_VERBS, "adopt", "list", "info"))
        words = () if verb == "list" else (group.name,)
        command = self.lab.start(verb, *words, *self._options(verb))
        self._pause(0.2)
        command.kill()
        finished(command)
        # Its supervisor goes on, and so does a successor that it has started.
        wait_until(lambda: self.lab.run("adopt", group.name).status in (0, 1), _SETTLES_WITHIN_S)
        self._adopted(group)
        self._pause(0.5)
        self._learn(group)

    def _kill_member(self, group: Group) -> None:
        alive = [name for name in group.members if self.lab.processes().get(name)]
        if not alive:
            return
        name = self.random.choice(alive)
        (pid,) = self.lab.processes()[name]
        kill(pid)
        if group.name in self.orphaned:
            self._adopt(group)
        if group.restarts:
            self.want[name] = "running"
        elif name == group.name:
            self._set(group, None)
        else:
            self.want[name] = None

    def _stop_member(self, group: Group) -> None:
        """A member that hangs is shown as such, and delays nobody else."""
        alive = self.lab.processes()
        name = self.random.choice(group.members)
        if name not in alive:
            return
        kill(alive[name][0], signal.SIGSTOP)
        try:
            stopped = wait_until(lambda: self._state(name) == "unresponsive", 5.0)
            assert stopped, f"{name} is stopped, and shown as {self._state(name)}"
        finally:
            kill(alive[name][0], signal.SIGCONT)

    def _kill_helper(self, group: Group) -> None:
        """The guest lives on without it."""
        for pid in self.lab.helpers() if group.helped else ():
            kill(pid)
            self.unhelped |= set(group.helped)

    def _save_and_restore(self, group: Group) -> None:
        directory = self.lab.scratch / "saved"
        was_up = self.want[group.name] is not None
        saved = self.lab.run("save", group.name, str(directory))
        self._adopted(group)
        if not was_up or self.want[group.name] is None:
            assert saved.status == 1, saved
            return
        if any(self.want[name] for name in self.unhelped & set(group.members)):
            assert saved.status == 1, saved
            self._forget(directory)
            return
        assert saved.status == 0, saved
        gone = wait_until(lambda: not set(self.lab.processes()) & set(group.members), 5.0)
        assert gone, "saved members run on"
        restored = self.lab.run("restore", str(directory))
        assert restored.status == 0, restored
        self._forget(directory)

    def _kill_supervisor_during_save(self, group: Group) -> None:
        """The group goes on, unless all was on the disk."""
        directory = self.lab.scratch / "saved"
        command = self.lab.start("save", group.name, str(directory))
        self._pause(0.3)
        self._kill_supervisor(group)
        finished(command)
        self._adopt(group)
        before = {name: self.want[name] for name in group.members}
        self._learn(group)
        after = {name: self.want[name] for name in group.members}
        assert after == before or directory.exists(), f"{before} before a save, {after} after it"
        self._forget(directory)

    def _kill_member_during_save(self, group: Group) -> None:
        directory = self.lab.scratch / "saved"
        command = self.lab.start("save", group.name, str(directory))
        self._pause(0.3)
        self._kill_member(group)
        finished(command)
        self._learn(group)
        self._forget(directory)

    def _forget(self, directory: Path) -> None:
        assert not directory.with_name("saved.partial").exists(), "half a save is left"
        shutil.rmtree(directory, ignore_errors=True)

    def _adopt(self, group: Group) -> None:
        done = self.lab.run("adopt", group.name)
        assert done.status == 0 or "no such domain" in done.err, done
        self._adopted(group)

    def _adopt_twice(self, group: Group) -> None:
        """One successor, whoever asks."""
        several = [self.lab.start("adopt", group.name) for _ in range(3)]
        done = [finished(each) for each in several]
        assert all(each.status == 0 or "no such domain" in each.err for each in done), done
        self._adopted(group)

    def _verb(self, group: Group) -> None:
        verb = self.random.choice(_VERBS)
        name = self.random.choice(group.members)
        done = self.lab.run(verb, name, *self._options(verb))
        was_known = self.want[name] is not None
        self._adopted(group)
        is_for_all = name == group.name and verb != "restart"
        concerned = group.members if is_for_all else (name,)
        if self.want[name] is None:
            assert done.status == 1, done
            return
        assert done.status == 0, (was_known, done)
        for each in concerned:
            if self.want[each] is not None:
                self.want[each] = _LEADS_TO.get(verb)
        if verb == "restart":
            self.unhelped.discard(name)

    def _verbs_at_once(self, group: Group) -> None:
        """Each gets an answer; in the end all are suspended or all go on."""
        verbs = [self.random.choice(("suspend", "resume")) for _ in range(6)]
        done = [finished(each) for each in [self.lab.start(verb, group.name) for verb in verbs]]
        was_up = self.want[group.name] is not None
        self._adopted(group)
        assert all((each.status == 0) == was_up for each in done), (was_up, done)
        self._learn(group)
        states = {self.want[name] for name in group.members} - {None}
        assert len(states) <= 1, f"half suspended: {self.want}"

    def _prune(self, group: Group) -> None:
        before = self.lab.processes()
        done = self.lab.run("prune")
        assert done.status == 0, done
        assert self.lab.processes() == before, "prune has ended a QEMU"
        if group.name in self.orphaned and not set(before) & set(group.members):
            self.orphaned.discard(group.name)

    def _options(self, verb: str) -> tuple[str, ...]:
        return ("--timeout", "0.2") if verb == "down" else ()  # the guests obey no power button

    def _pause(self, longest_s: float) -> None:
        select.select([], [], [], self.random.random() * longest_s)

    # What is known

    def _set(self, group: Group, state: str | None) -> None:
        self.unhelped -= set(group.members)
        for name in group.members:
            self.want[name] = state

    def _adopted(self, group: Group) -> None:
        """Where a successor is there, it has acted on what happened before it came.

        A verb on a member that is known to have ended starts none.
        """
        if not self.lab.supervisor(group.name) and (
            f"groups/{group.name}" in self.lab.directories()
        ):
            return
        self.orphaned.discard(group.name)
        if self.want[group.name] is None:
            self._set(group, None)

    def _learn(self, group: Group) -> None:
        """Take what has become of a group as given, once it stays so."""
        now: Model = {}

        def settled() -> bool:
            nonlocal now
            before, now = now, {name: self._model_of(name) for name in group.members}
            half = now[group.name] is None and any(now.values())
            return before == now and not half and _RESTARTING not in now.values()

        assert wait_until(settled, _SETTLES_WITHIN_S), f"it does not settle: {now}"
        self.want.update(now)

    def _model_of(self, name: str) -> str | None:
        row = self.lab.rows().get(name)
        if row is None or row["pid"] is None:
            return _RESTARTING if row and row["reason"] in _COMES_BACK else None
        state = str(row["state"])
        return _MEANS.get(state, state)

    def _state(self, name: str) -> str:
        return str(self.lab.rows().get(name, {}).get("state"))

    # What must hold

    def check(self) -> None:
        """Check all invariants.

        Raises:
            AssertionError: one does not hold.
        """
        problem = ""

        def holds() -> bool:
            nonlocal problem
            problem = self._problem()
            return not problem

        assert wait_until(holds, _SETTLES_WITHIN_S), problem
        running = [name for name, state in self.want.items() if state == "running"]
        paused = [name for name, state in self.want.items() if state == "paused"]
        sizes = {name: self.lab.log_size(name) for name in paused}
        silent = self.lab.silent(running)
        assert not silent, f"should run, and do not tick: {silent}"
        ticking = [name for name, size in sizes.items() if self.lab.log_size(name) != size]
        assert not ticking, f"should be suspended, and tick: {ticking}"

    def _problem(self) -> str:
        """Give what is not as it should be."""
        processes = self.lab.processes()
        rows = self.lab.rows()
        for name, pids in processes.items():
            if len(pids) > 1:
                return f"{name} runs twice: {pids}"
            if rows.get(name, {}).get("pid") != pids[0]:
                return f"{name} runs as {pids[0]}, and `list` says {rows.get(name)}"
        for name, row in rows.items():
            if row["pid"] is not None and name not in processes:
                return f"{name} does not run, and `list` says {row}"
        for name, wanted in self.want.items():
            if (wanted is None) != (name not in processes):
                return f"{name} should be {wanted}, and `list` says {rows.get(name)}"
            if wanted is None:
                continue
            said, listed = _MEANS.get(self.lab.status(name)), _MEANS.get(rows[name]["state"])
            if not said == listed == wanted:
                return f"{name} should be {wanted}, is {said}, and `list` says {rows[name]}"
        return self._leftovers(set(processes))

    def _leftovers(self, alive: set[str]) -> str:
        helped = {name for group in GROUPS for name in group.helped}
        if len(helpers := self.lab.helpers()) > len(helped & alive):
            return f"helpers outlive their QEMUs: {helpers}"
        for group in GROUPS:
            if group.name in self.orphaned or alive & set(group.members):
                continue
            paths = {f"groups/{group.name}", *(f"domains/{name}" for name in group.members)}
            if left := paths & self.lab.directories():
                return f"left of {group.name}: {sorted(left)}"
        return ""
