"""Groups whose supervisor was killed, for tests of adoption."""

import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from qsuper import paths
from qsuper.control.adopt import Adoption, adopt
from qsuper.control.client import living
from qsuper.runtime.inotify import IN_CREATE, IN_MOVED_TO, Inotify
from qsuper.runtime.survivors import RESTARTING, survivor
from tests.support.supervised import Supervisor, events, leftovers, readable, wait_pid

IN_DELETE = 0x200


def made_at(path: Path) -> int:
    return path.lstat().st_ctime_ns if os.path.lexists(path) else 0


def _successors(rundir: Path) -> list[int]:
    files = rundir.glob("groups/*/supervisor.pid")
    return [pid for file in files if (pid := living(str(file))) and pid != os.getpid()]


def _working_below(rundir: Path) -> list[int]:
    directories = map(str, rundir.glob("domains/*"))
    return [pid for directory in directories if (pid := survivor(directory))]


def kill(supervisor: Supervisor) -> None:
    supervisor.process.kill()
    supervisor.process.wait()


def known(supervisor: Supervisor, *names: str) -> dict[str, dict[str, Any]]:
    """Give what is said of members; times to the millisecond."""
    rows = {name: supervisor.row(name) for name in names}
    return {name: row | {"since": round(row["since"], 3)} for name, row in rows.items()}


def last_reason(name: str) -> tuple[str, str]:
    changes = [each["detail"] for each in events(name) if each["event"] == "STATE_CHANGED"]
    return changes[-1]["state"], changes[-1]["reason"]


def end_all(rundir: Path) -> None:
    """Kill what a failed test leaves: the successors, and whatever works in our directory."""
    for pid in [*_successors(rundir), *_working_below(rundir)]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def succeed(supervisor: Supervisor) -> Adoption:
    """Kill whoever supervises the group now, and have it adopted."""
    kill_current(supervisor)
    return adopt(supervisor.name)


def kill_current(supervisor: Supervisor) -> None:
    """Kill whoever supervises the group now: the first one, or a successor."""
    if (pid := supervisor.ask("status")["pid"]) == supervisor.process.pid:
        kill(supervisor)
    else:
        os.kill(pid, signal.SIGKILL)
        wait_pid(pid)


def kill_at(
    supervisor: Supervisor, name: str, stage: str, *, mark: str = RESTARTING, why: str = "restart"
) -> None:
    """Have a member restarted, and kill the supervisor at a stage of it.

    Args:
        supervisor: Whom.
        name: The member.
        stage: In their order: `marked`, the names of files that are made anew, `over`.
        mark: The file that is there meanwhile.
        why: The verb that leads to it; `crash`: its QEMU is killed.
    """
    place = Path(paths.domain_dir(name))
    before = made_at(place / stage)
    pid = supervisor.pid(name)
    with Inotify() as changes, supervisor.connect() as client:

        def wait(condition: Callable[[], bool]) -> None:
            while not condition():
                readable(changes.fileno())
                changes.read()

        changes.watch(str(place), IN_CREATE | IN_DELETE | IN_MOVED_TO)
        if why == "crash":
            os.kill(pid, signal.SIGKILL)
        else:
            client.send(why, {"domain": name})
        wait((place / mark).exists)
        if stage == "over":
            wait(lambda: not (place / mark).exists())
        elif stage != "marked":
            wait(lambda: made_at(place / stage) > before)
        kill(supervisor)


def kill_with(supervisor: Supervisor, *members: str) -> None:
    """Kill whoever supervises the group now, and members that nobody replaces then."""
    pids = [supervisor.pid(name) for name in members]
    kill_current(supervisor)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        wait_pid(pid)


def finish(supervisor: Supervisor) -> None:
    """Destroy the group, and see that its supervisor ends and leaves nothing."""
    pid = supervisor.ask("status")["pid"]
    supervisor.ask("destroy", domain=supervisor.name)
    wait_pid(pid)
    assert leftovers() == []


def wait_removed(path: Path) -> None:
    """Wait until a directory entry is gone."""
    with Inotify() as changes:
        changes.watch(str(path.parent), IN_DELETE)
        while path.exists():
            readable(changes.fileno())
            changes.read()
