"""The supervisor that goes on where one that died left off: `python -m qsuper.control.successor`.

It takes the group's lock, reads the plan and the settings that its predecessor wrote down, finds
the members and supervises them by the same rules. A start that was cut off is rolled back.
Adopters of one group take turns by a lock on its directory: the first one becomes the supervisor,
the others find it listening.
"""

import contextlib
import fcntl
import json
import os
import sys
import threading
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from qsuper import paths, planfile
from qsuper.control.supervise import (
    Report,
    Settings,
    counters_of,
    detach,
    policies_of,
    preload,
)
from qsuper.errors import QsuperError, shortage
from qsuper.fabric.layout import host_files, remove
from qsuper.observe import events
from qsuper.plan import GroupPlan
from qsuper.runtime import adoption, inheritance, rundir
from qsuper.runtime.adoption import Memory
from qsuper.runtime.early import Early
from qsuper.runtime.launch import Home, Launched
from qsuper.runtime.limits import allow_descriptors
from qsuper.runtime.rundir import Rundir
from qsuper.runtime.states import Reason, Standing, State

_CUT_OFF: Final = "its supervisor died while it started it: the start was rolled back"
_BOUND: Final = "its supervisor died, and its members were bound to it"


def main(argv: list[str]) -> int:
    """Supervise a group that has no supervisor, until its members have ended.

    Args:
        argv: The group's name; the descriptor for the report, a line of JSON: `{"ok": STATUS}` as
            of the `status` command, with `"lost": {SHMEM: TEXT}` for what could not be taken over
            of the fabric; `{"ok": {"fate": TEXT}}` where nothing is left to supervise; `{"ok": {}}`
            where another supervisor is there; `{"error": TEXT, "exit-status": N}`.
    """
    group, report_fd = argv[0], int(argv[1])
    os.closerange(3, report_fd)
    os.closerange(report_fd + 1, os.sysconf("SC_OPEN_MAX"))
    early = Early()
    report = Report(report_fd)
    try:
        return _succeed(group, report, early)
    except (QsuperError, OSError, ExceptionGroup) as error:
        if (failure := shortage(error)) is None:
            raise
        report.send({"error": str(failure), "exit-status": failure.exit_status})
        return failure.exit_status
    finally:
        report.close()
        early.restore()


def _succeed(group: str, report: Report, early: Early) -> int:
    rundir.check_name(group)
    paths.check_private(paths.runtime_dir())
    with contextlib.ExitStack() as turn:
        try:
            directory = os.open(paths.group_dir(group), os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            report.ok({"fate": ""})
            return 0
        turn.callback(os.close, directory)
        fcntl.flock(directory, fcntl.LOCK_EX)
        if (place := Rundir.take(paths.group_dir(group))) is None:
            report.ok({})
            return 0
        return _supervise(_Turn(place, turn, report, early))


class _Turn(NamedTuple):
    """What the adopter has whose turn it is."""

    place: Rundir
    """The group's directory."""
    turn: contextlib.ExitStack
    """Close it to let the others find us listening."""
    report: Report
    early: Early


def _supervise(mine: _Turn) -> int:
    place = mine.place
    try:
        plan, settings = _plan(place), _settings(place)
    except BaseException:
        place.abandon()
        raise
    if plan is None:
        return _remove(mine, None, [], _CUT_OFF)
    names = [member.plan.name for member in plan.members]
    memories = {name: memory for name in names if (memory := _memory(name))}
    members = adoption.take_members(plan, place, memories)
    if os.path.exists(place.file(rundir.STARTING)):
        return _remove(mine, plan, members, _CUT_OFF)
    if settings.bind:
        return _remove(mine, plan, members, _BOUND)
    with contextlib.ExitStack() as stack:
        # Whatever fails here, the guests run on, and another successor may try.
        stack.callback(place.abandon)
        for home, launched in members:
            stack.callback(adoption.let_go, home, launched)
        loader = threading.Thread(target=preload, name="import", daemon=True)
        loader.start()
        detach(plan)
        allow_descriptors(len(plan.members))
        place.write(rundir.SUPERVISOR_PID, f"{rundir.own_identity()}\n")
        listener = stack.enter_context(rundir.bind_listener(place.file(rundir.CONTROL)))
        fabric = inheritance.take_fabric(plan, place, members)
        counters = counters_of(fabric, place, stack)
        mine.turn.close()
        loader.join()
        from qsuper.control import running  # noqa: PLC0415 - it loads trio

        def report(status: Mapping[str, Any]) -> None:
            mine.report.ok({**status, "lost": fabric.lost})

        start = running.Start(
            plan=plan,
            policies=policies_of(settings),
            place=place,
            listener=listener,
            members=members,
            fabric=fabric,
            counters=counters,
            early=mine.early,
            tails=[],
            grace_s=settings.grace_s,
            foreground=False,
            report=report,
            adopted=True,
        )
        status = running.run(start)
        fabric.close()
        return status


def _remove(
    mine: _Turn, plan: GroupPlan | None, members: list[tuple[Home, Launched]], fate: str
) -> int:
    """End what is left of a group, and remove it."""
    adoption.roll_back(members)
    if plan is not None:
        remove(host_files(plan))
    for stray in adoption.strays(mine.place):
        stray.release()
    mine.place.release()
    mine.report.ok({"fate": fate})
    return 0


def _plan(place: Rundir) -> GroupPlan | None:
    """Read the plan; None where the supervisor died before it had started anything."""
    path = place.file(rundir.PLAN)
    try:
        with open(path, "rb") as file:
            return planfile.loads(file.read()).started()
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise QsuperError(_unreadable(path, error)) from error


def _settings(place: Rundir) -> Settings:
    path = place.file(rundir.SETTINGS)
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
        return Settings(**content)._replace(detached=True, show_consoles=False)
    except FileNotFoundError:
        return Settings(detached=True)
    except (OSError, ValueError, TypeError) as error:
        raise QsuperError(_unreadable(path, error)) from error


def _unreadable(path: str, error: Exception) -> str:
    reason = error.strerror if isinstance(error, OSError) else error
    return f"{path}: {reason}; its QEMUs run on (`qsuper list` shows their pids)"


def _memory(name: str) -> Memory | None:
    """Give what the event log has of a domain; None where there is nothing that makes sense."""
    if (found := events.last_state(name)) is None:
        return None
    try:
        standing = Standing(State(found.detail["state"]), Reason(found.detail["reason"]))
    except (ValueError, LookupError):
        return None
    return Memory(standing, found.time)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
