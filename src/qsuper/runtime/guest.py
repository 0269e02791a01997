"""One domain while it runs: a QEMU process, its monitors, and what its end leads to."""

import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import trio

from qsuper.errors import EmulatorError, QsuperError, TimedOutError
from qsuper.fabric.group import Fabric
from qsuper.plan import Member, Role
from qsuper.runtime import policy, rundir, states
from qsuper.runtime.coredump import dump_core
from qsuper.runtime.ending import end_process, fate
from qsuper.runtime.helpers import Helpers
from qsuper.runtime.helping import Completion
from qsuper.runtime.launch import Home, Launched, Past, launch
from qsuper.runtime.log import Log
from qsuper.runtime.monitors import Monitors
from qsuper.runtime.policy import Backoff, Then
from qsuper.runtime.qmp import CommandError
from qsuper.runtime.states import Reason, Standing, State
from qsuper.runtime.sync import Link, answers

Json = Any  # whatever QEMU says
Emit = Callable[[str, str, Mapping[str, Json]], None]
"""Takes an event, the domain's name, and details."""

ANSWER_WITHIN_S: Final = 2.0
"""How long a monitor may take for a command that QEMU does at once."""
_LAST_WORDS_WITHIN_S: Final = 1.0  # for the events that tell why a QEMU has ended

_STATE_EVENTS: Final = frozenset(
    {"STOP", "RESUME", "RESET", "SHUTDOWN", "SUSPEND", "WAKEUP", "GUEST_PANICKED", "WATCHDOG"}
)
_QUIET_EVENTS: Final = frozenset({"RTC_CHANGE", "NIC_RX_FILTER_CHANGED", "VSERPORT_CHANGE"})
"""Too many, and of no interest to the log."""
_BY_THE_HOST: Final = frozenset({"host-qmp-quit", "host-signal"})


class Guest:
    """A member of a running group. Its state comes from the pidfd and QMP, and nowhere else."""

    def __init__(self, home: Home, launched: Launched, fabric: Fabric, emit: Emit) -> None:
        """Take a member that was just started, paused."""
        self.home = home
        self.member: Member = home.member
        self.plan = home.member.plan
        self.standing = Standing(State.PRELAUNCH, Reason.STARTING)
        self.since = launched.at
        self.process = launched.process
        self.settled = trio.Event()
        """Its monitor answers, or it has ended."""
        self.gone = trio.Event()
        """The process has ended; another may follow."""
        self.ended = trio.Event()
        """It has ended for good, and its name is free."""
        self.is_released = False
        """It was let run; from now on its lifecycle settings hold."""
        self.may_restart = True
        self.bind = False
        """It is killed when the supervisor ends."""
        self.was_shut_down = False
        """The shutdown verb was used on it."""
        self.status: int | None = None
        """How its last QEMU ended, negative for a signal."""
        self.completion = Completion(self, emit)
        self._launched = launched
        self._fabric = fabric
        self._emit = emit
        self._monitors = Monitors(home, self)
        self._nursery: trio.Nursery | None = None
        self._end: Reason | None = None
        self._end_asked = trio.Event()
        self._reboots = False
        self._reset = trio.Event()
        self._backoff = Backoff()
        self._changes = 0
        if launched.past is not None:
            self._remember(launched.past)

    def _remember(self, past: Past) -> None:
        """Go on where another supervisor left off."""
        self.standing, self.since = past.standing, past.since
        self.is_released = past.standing.state is not State.PRELAUNCH
        if past.is_ending:
            known = past.standing.state is State.SHUT_OFF
            self._end = past.standing.reason if known else Reason.DESTROYED
            self._end_asked.set()

    @property
    def name(self) -> str:
        return self.plan.name

    @property
    def state(self) -> State:
        """Where it stands; one whose QEMU is stopped by a signal answers nobody."""
        if not self.gone.is_set() and self.process.identity.is_stopped:
            return State.UNRESPONSIVE
        return self.standing.state

    @property
    def link(self) -> Link | None:
        """Its monitor for `stop` and `cont`; None while there is no connection."""
        return self._monitors.link

    @property
    def helpers(self) -> Helpers:
        """The processes that serve its QEMU."""
        return self._launched.helpers

    @property
    def log(self) -> Log:
        """What its QEMU says."""
        return self._launched.log

    @property
    def is_primary(self) -> bool:
        return self.member.role is Role.PRIMARY

    @property
    def is_live(self) -> bool:
        """It has not ended for good."""
        return not self.ended.is_set()

    @property
    def waits(self) -> bool:
        """It waits for its boot signal."""
        return self.plan.boot is not None and not self.is_released

    def failure(self, why: str = "") -> EmulatorError:
        """Give why it did not start: QEMU's own words, else *why*."""
        said = self.log.tail() or why or fate(self.status)
        return EmulatorError(f"{self.name}: QEMU did not start: {self.completion.blame}{said}")

    def change(self, state: State, reason: Reason) -> None:
        """Note where it stands now, and say so if that is news."""
        before = self.standing
        if before.state is state and (before.reason is reason or state is State.RUNNING):
            return
        self._changes += 1
        self.standing = Standing(state, reason)
        self.since = time.time()
        self._emit("STATE_CHANGED", self.name, {"state": state, "reason": reason})

    # The life of it

    async def run(self) -> None:
        """Live as long as the domain does, over restarts; cancelled, kill it.

        When this returns, nothing of it is left in the runtime directory.
        """
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                if self._end_asked.is_set():  # by a signal that came before there was a nursery
                    nursery.start_soon(self._end_process)
                while await self._live():
                    pass
                nursery.cancel_scope.cancel()
        finally:
            self.process.end_now()
            self.process.close()
            self.helpers.end_now()
            self.home.release()
            self.settled.set()
            self.gone.set()
            self.ended.set()

    async def _live(self) -> bool:
        """Run one QEMU; tell whether there is another one after it."""
        began_s = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._monitors.run, self._launched)
            nursery.start_soon(self.completion.watch, self.helpers)
            await trio.lowlevel.wait_readable(self.process.pidfd)
            with trio.move_on_after(_LAST_WORDS_WITHIN_S):
                await self._monitors.drained()
            nursery.cancel_scope.cancel()
        self.status = self.process.status()
        self._note_end()
        await self.completion.end(self.helpers)
        self.gone.set()
        self.settled.set()
        if self.standing.state is not State.CRASHED or not self._restarts():
            return False
        return await self._restart(trio.current_time() - began_s)

    def _restarts(self) -> bool:
        wanted = policy.after_crash(self.plan.lifecycle) is Then.RESET
        return wanted and self._end is None and self.is_released and self.may_restart

    async def _restart(self, ran_for_s: float) -> bool:
        """Start a QEMU again after the delay; tell whether one is there."""
        while True:
            delay_s = self._backoff.delay_s(ran_for_s)
            self.change(State.CRASHED, Reason.BACKOFF)
            with trio.move_on_after(delay_s):
                await self._end_asked.wait()
            if self._end_asked.is_set():
                self._note_end()
                return False
            try:
                self._launched = launch(self.home, self._fabric, bind=self.bind)
            except QsuperError as error:
                self._emit("RESTART_FAILED", self.name, {"message": str(error)})
                ran_for_s = 0.0
                continue
            self.process.close()
            self.process = self._launched.process
            self.settled, self.gone = trio.Event(), trio.Event()
            return True

    def _note_end(self) -> None:
        if self._end is Reason.PANICKED:
            self.change(State.CRASHED, self._end)
        elif self._end is not None:
            self.change(State.SHUT_OFF, self._end)
        elif not self.is_released:
            self.change(State.SHUT_OFF, Reason.FAILED)
        elif self.status == 0:
            self.change(State.SHUT_OFF, Reason.SHUTDOWN)
        else:
            detail = {"status": self.status, "message": self.log.tail()}
            self._emit("EMULATOR_ENDED", self.name, detail)
            self.change(State.CRASHED, Reason.EMULATOR_ENDED)

    # Its monitors: it is their `Listener`

    async def opened(self, *, again: bool) -> None:
        """Set QEMU up as its lifecycle settings want it, and say that it is there."""
        with contextlib.suppress(CommandError):  # before QEMU 6
            await self.command("set-action", policy.actions(self.plan.lifecycle))
        await self.refresh()
        if again:
            self.is_released = self.is_released or self.standing.state is not State.PRELAUNCH
            self._catch_up()
        is_whole = again or await self.completion.run(self.helpers, self.plan.setup)
        self.settled.set()
        if is_whole and self.is_released and not again:  # after a crash it waits for nobody
            await self.command("cont")

    def _catch_up(self) -> None:
        """Act on what the guest did while nobody listened; the event was lost."""
        if self.standing.state is State.IN_SHUTDOWN:
            self._after_shutdown("")
        elif self.standing.state is State.CRASHED:
            self._start(self._after_panic)

    def lost(self, message: str) -> None:
        """Say that the monitor hung up while QEMU lives."""
        if self._end is None:
            self._emit("MONITOR_LOST", self.name, {"message": message})
            self.change(State.UNRESPONSIVE, Reason.TIMED_OUT)

    async def command(
        self,
        name: str,
        arguments: Mapping[str, Json] | None = None,
        *,
        within_s: float = ANSWER_WITHIN_S,
    ) -> Json:
        """Run a QMP command and give what it returns.

        Raises:
            TimedOutError: the monitor does not answer.
            CommandError: QEMU refuses.
            QsuperError: it has no monitor (any more).
        """
        monitor = self._monitors.qmp
        if monitor is None:
            fate = "is not running" if self.gone.is_set() else "has no monitor now"
            raise QsuperError(f"domain {self.name!r} {fate}")
        with trio.move_on_after(within_s):
            return await monitor.execute(name, arguments)
        self.change(State.UNRESPONSIVE, Reason.TIMED_OUT)
        self._start(self._look)  # the answer to this one tells when it can answer again
        raise TimedOutError(f"{self.name}: QEMU's monitor gave no answer within {within_s:g} s")

    async def refresh(self) -> None:
        """Ask QEMU where it stands."""
        while True:
            changes = self._changes
            try:
                status = (await self.command("query-status"))["status"]
            except QsuperError:
                return
            if changes == self._changes:  # else what it said may be older than what we know
                self.change(*states.OF_RUN_STATE.get(status, (State.PAUSED, Reason.UNKNOWN)))
                return

    def look(self) -> None:
        """Have it noticed within 2 s if QEMU does not answer any more; does not wait."""
        if self.standing.state is not State.UNRESPONSIVE:
            self._start(self._look)

    async def _look(self) -> None:
        if (link := self.link) and not await answers(link):
            self.change(State.UNRESPONSIVE, Reason.TIMED_OUT)
        elif self.standing.state is State.UNRESPONSIVE:
            await self.refresh()

    def answered_late(self) -> None:
        if self._nursery and self.standing.state is State.UNRESPONSIVE:
            self._nursery.start_soon(self.refresh)

    async def take(self, event: Json) -> None:
        name, data = event["event"], event.get("data", {})
        if name not in _QUIET_EVENTS:
            self._emit(name, self.name, data)
        if name == "RESET":
            self._reset.set()
        if name == "SHUTDOWN":
            self._after_shutdown(data.get("reason", ""))
        elif name == "GUEST_PANICKED":
            self._start(self._after_panic)
        if name in _STATE_EVENTS or self.standing.state is State.UNRESPONSIVE:
            await self.refresh()

    # What the guest's own actions lead to

    def _after_shutdown(self, reason: str) -> None:
        if reason in _BY_THE_HOST:
            self._end = self._end or Reason.DESTROYED
        elif reason == "guest-reset":  # QEMU was told to shut down instead
            self._start(self.end, Reason.SHUTDOWN)
        elif self._reboots:
            self._reboots = False
            self._start(self._reset_and_go)
        else:
            then = policy.after_poweroff(self.plan.lifecycle)
            if then is Then.END:
                self._start(self.end, Reason.SHUTDOWN)
            elif then is Then.RESET:
                self._start(self._reset_and_go)

    async def _after_panic(self) -> None:
        lifecycle = self.plan.lifecycle
        if policy.dumps_core(lifecycle):
            await self._dump()
        then = policy.after_crash(lifecycle)
        if then is Then.END:
            await self.end(Reason.PANICKED)
        elif then is Then.RESET:
            with trio.move_on_after(self._backoff.delay_s(time.time() - self._launched.at)):
                await self._end_asked.wait()
            await self._reset_and_go()

    async def _dump(self) -> None:
        try:
            path = await dump_core(self.command, self.home.state_dir)
        except QsuperError as error:
            self._emit("DUMP_FAILED", self.name, {"message": str(error)})
        else:
            self._emit("DUMPED", self.name, {"file": path})

    async def _reset_and_go(self) -> None:
        """Reset the machine and let it run; the reset is asynchronous, its event tells."""
        self._reset = trio.Event()
        try:
            await self.command("system_reset")
            with trio.move_on_after(ANSWER_WITHIN_S):
                await self._reset.wait()
            await self.command("cont")
        except QsuperError as error:
            self._emit("RESTART_FAILED", self.name, {"message": str(error)})

    def _start(self, task: Callable[..., Awaitable[None]], *arguments: Reason) -> None:
        if self._nursery:
            self._nursery.start_soon(task, *arguments)

    # Verbs

    async def power_down(self) -> None:
        """Press the power button; errors as of `command`."""
        self.was_shut_down = True
        self._reboots = False
        await self.command("system_powerdown")

    async def reboot(self) -> None:
        """Press the power button, and reset the machine once the guest has powered off."""
        self._reboots = True
        await self.command("system_powerdown")

    async def end(self, reason: Reason = Reason.DESTROYED) -> None:
        """End it now, and wait until nothing of it is left.

        QMP `quit`, then SIGTERM, then SIGKILL; a second caller waits for the first one's.
        """
        if not self._end_asked.is_set():
            self._end_asked.set()
            self.home.place.mark(rundir.ENDING)
            self._end = self._end or reason
            self._start(self._end_process)
        await self.ended.wait()

    async def _end_process(self) -> None:
        self.helpers.kill_stopped()
        monitor = None if self.state is State.UNRESPONSIVE else self._monitors.qmp
        await end_process(self.process, monitor, self.gone)
