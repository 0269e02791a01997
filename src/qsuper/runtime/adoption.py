"""What a dead supervisor has left of a group, taken over: directories, locks, processes, monitors.

A QEMU is known by its directory: its pid file with the start time, the directory it works in, and
later the UUID that its monitor tells. What is not known for sure is never signalled.
"""

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from qsuper import paths
from qsuper.errors import QsuperError
from qsuper.options import UnixListener
from qsuper.plan import GroupPlan, Member
from qsuper.runtime import rundir, states
from qsuper.runtime.helpers import Helpers
from qsuper.runtime.launch import QEMU_LOG, Home, Launched, Past, connect_monitors
from qsuper.runtime.log import Log
from qsuper.runtime.process import EndedProcess, Identity, Process
from qsuper.runtime.rundir import Rundir
from qsuper.runtime.states import Reason, Standing, State
from qsuper.runtime.survivors import survivor
from qsuper.runtime.urgency import calm_down

_NEVER_LOCKED: Final = -1
_GONE: Final = Standing(State.SHUT_OFF, Reason.UNKNOWN)


class Memory(NamedTuple):
    """Where a domain stood last, as the event log has it."""

    standing: Standing
    since: float


def take_members(
    plan: GroupPlan, group: Rundir, memories: dict[str, Memory]
) -> list[tuple[Home, Launched]]:
    """Take over what is there of a group's members.

    Args:
        plan: The group's.
        group: Its directory, locked by us.
        memories: What is known of the members.

    Returns:
        All members in the plan's order: those that run, and as ended those that do not.
    """
    taken: list[tuple[Home, Launched]] = []
    try:
        for member in plan.members:
            memory = memories.get(member.plan.name)
            taken.append(_take(member, group, memory))
    except BaseException:
        for home, launched in taken:
            let_go(home, launched)
        raise
    return taken


def let_go(home: Home, launched: Launched) -> None:
    """Leave a member as it is, for another successor."""
    for connection in launched.monitors.values():
        connection.close()
    launched.process.close()
    for helper in launched.helpers:
        helper.process.close()
    home.place.abandon()


def roll_back(members: Sequence[tuple[Home, Launched]]) -> None:
    """End members whose start was cut off, and remove what was made for them."""
    for home, launched in members:
        launched.end_now()
        home.release()


def strays(group: Rundir) -> Iterator[Rundir]:
    """Take the domains' directories that are nobody's and name the group, or as yet none.

    No QEMU is in them. One without a name was being made when its supervisor was killed.
    """
    domains = os.path.join(paths.runtime_dir(), "domains")
    for name in sorted(os.listdir(domains)) if os.path.isdir(domains) else ():
        path = os.path.join(domains, name)
        if _is_stray(path, group) and (taken := Rundir.take(path)):
            if _is_stray(path, group) and survivor(path) is None:
                yield taken
            taken.abandon()


def _is_stray(path: str, group: Rundir) -> bool:
    return belongs(path, group.path) or not os.path.lexists(os.path.join(path, rundir.GROUP))


def belongs(directory: str, group: str) -> bool:
    """Tell whether a domain's directory is one of a group's."""
    try:
        return os.path.samefile(os.path.join(directory, rundir.GROUP), group)
    except OSError:
        return False


def _take(member: Member, group: Rundir, memory: Memory | None) -> tuple[Home, Launched]:
    path = paths.domain_dir(member.plan.name)
    place = Rundir.take(path) if belongs(path, group.path) else None
    if place is not None and not belongs(path, group.path):  # it changed hands meanwhile
        place.abandon()
        place = None
    if place is None:  # it had ended, and its supervisor knew
        home = Home(member, Rundir(path, _NEVER_LOCKED))
        past = _over(memory)
        helpers = Helpers(home.place, home.state_dir)
        return home, Launched(EndedProcess(), {}, _log(home), helpers, past)
    try:
        home = Home(member, place)
        home.outside = list(_outside(member, path))
        process = _process(path) or EndedProcess()
        past = _past(home, memory)
        helpers = Helpers(place, home.state_dir)
        helpers.adopt(member.plan.helpers)
        return home, Launched(process, connect_monitors(home), _log(home), helpers, past)
    except BaseException:
        place.abandon()
        raise


def _process(path: str) -> Process | None:
    """Take over the QEMU that runs in a directory; None where there is none."""
    if (pid := survivor(path)) is None or (identity := Identity.of(pid)) is None:
        return None
    process = Process.adopt(identity)
    # Asked again, now that the descriptor cannot come to mean another process.
    if process is not None and (survivor(path) != pid or not _works_in(pid, path)):
        process.close()
        return None
    if process is not None:
        calm_down(process.pid)
    return process


def _works_in(pid: int, path: str) -> bool:
    """Tell whether a process has that working directory; one that we may not ask may have it."""
    try:
        return os.path.samefile(f"/proc/{pid}/cwd", path)
    except PermissionError:
        return True
    except OSError:
        return False


def _past(home: Home, memory: Memory | None) -> Past:
    is_ending = os.path.exists(home.path(rundir.ENDING))
    try:
        started = os.stat(home.path("argv.json")).st_mtime
    except OSError:
        started = 0.0
    if memory is not None and memory.since >= started:
        return Past(memory.standing, memory.since, is_ending)
    return Past(Standing(State.PRELAUNCH, Reason.STARTING), started, is_ending)


def _over(memory: Memory | None) -> Past:
    """Give the past of one that is known to have ended."""
    if memory is None or memory.standing.state in states.LIVE:
        memory = Memory(_GONE, memory.since if memory else 0.0)
    return Past(memory.standing, memory.since, is_ending=True, is_over=True)


def _outside(member: Member, path: str) -> Iterator[str]:
    """Give the sockets that were made outside the member's directory."""
    sockets = [each for each in member.plan.resources() if isinstance(each, UnixListener)]
    for listener in sockets:
        if listener.path is not None and os.path.dirname(listener.path) != path:
            yield listener.path


def _log(home: Home) -> Log:
    try:
        paths.make_private(home.state_dir)
    except OSError as error:
        raise QsuperError(f"{home.state_dir}: {error.strerror}") from error
    log = Log(os.path.join(home.state_dir, QEMU_LOG))
    with contextlib.closing(log):
        log.skip()
    return log
