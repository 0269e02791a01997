"""Members whose QEMUs find each other by sockets that they make themselves.

A QEMU looks for such a socket once. One that comes too early fails, or listens itself on the same
path, and both wait for ever. So each is started when those before it listen, or when their monitor
answers: that is what a QEMU does once all are there that it waits for. Needs no trio.
"""

import contextlib
import os
import select
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple

from qsuper.errors import EmulatorError, QsuperError, TimedOutError
from qsuper.plan import GroupPlan, LaunchPlan, Meeting
from qsuper.runtime.early import Early
from qsuper.runtime.inotify import IN_CREATE, IN_MODIFY, Inotify
from qsuper.runtime.launch import Home, Launched

_FLAGS, _INODE, _PATH = 3, 6, 7  # columns of /proc/net/unix
_ACCEPTS: Final = 0x10000  # among the flags: it listens


class Patience(NamedTuple):
    """How long the members wait for each other."""

    early: Early
    """A signal that asks for the end cuts it short."""
    timeout_s: float


def launch_in_turn(
    plan: GroupPlan,
    homes: Mapping[str, Home],
    spawn: Callable[[Home], Launched],
    patience: Patience,
) -> dict[str, Launched]:
    """Start the members' QEMUs, each once those are ready that it looks for.

    Returns:
        By name; fewer than all where a signal asked for the end.

    Raises:
        QsuperError: one cannot be started, or a directory to meet in is not there.
        EmulatorError: one that others wait for has ended.
        TimedOutError: one gets ready too late.
    """
    deadline_s = time.monotonic() + patience.timeout_s
    started: dict[str, Launched] = {}
    ready: set[str] = set()
    for member in plan.in_launch_order:
        home = homes[member.plan.name]
        _make_directory(home)
        for name in _hosts(member.plan, plan):
            if name not in ready:
                _wait_ready(homes[name], started[name], patience, deadline_s)
                ready.add(name)
            if patience.early.ending:
                return started
        started[member.plan.name] = spawn(home)
    return started


def _make_directory(home: Home) -> None:
    meeting = home.member.plan.meeting
    if meeting is None:
        return
    path = home.path(meeting.directory)
    try:
        if not os.path.isabs(meeting.directory) and not os.path.isdir(path):
            os.mkdir(path, 0o700)
    except OSError as error:
        raise QsuperError(f"{path}: {error.strerror}") from error
    if not os.path.isdir(path):
        raise QsuperError(f"{home.member.plan.name}: -machine-path {path}: no such directory")


def _hosts(plan: LaunchPlan, group: GroupPlan) -> list[str]:
    """Give the members before a member that it meets."""
    if plan.meeting is None:
        return []
    place = plan.meeting.directory, plan.meeting.prefix
    order = [each.plan for each in group.in_launch_order]
    meetings = [(each.name, each.meeting) for each in order[: order.index(plan)]]
    return [name for name, each in meetings if each and (each.directory, each.prefix) == place]


def _wait_ready(home: Home, launched: Launched, patience: Patience, deadline_s: float) -> None:
    """Wait until a QEMU listens for others or runs, or somebody asks for the end."""
    name, meeting = home.member.plan.name, home.member.plan.meeting
    assert meeting is not None  # noqa: S101 - `_hosts` has looked
    process, monitor = launched.process, launched.monitors["qmp"].fileno()
    poll = select.poll()
    with Inotify() as changes:
        # A socket is made, and listens a moment later; then QEMU says so in its log.
        changes.watch(home.path(meeting.directory), IN_CREATE)
        changes.watch(launched.log.path, IN_MODIFY)
        for source in (process.pidfd, monitor, patience.early.fileno(), changes.fileno()):
            poll.register(source, select.POLLIN)
        while not _listens(process.pid, meeting):
            rest_s = max(0.0, deadline_s - time.monotonic())
            events = {number for number, _ in poll.poll(rest_s * 1000)}
            if process.pidfd in events:
                said = launched.log.tail() or f"it ended with status {process.status()}"
                raise EmulatorError(f"{name}: QEMU did not start: {said}")
            if not events:
                text = f"{name}: QEMU neither listens for the others nor answers"
                raise TimedOutError(f"{text} within {patience.timeout_s:g} s")
            if events & {monitor, patience.early.fileno()}:
                return
            changes.read()


def _listens(pid: int, meeting: Meeting) -> bool:
    """Tell whether a process listens on a socket of the meeting."""
    begin = f"{meeting.directory}/{meeting.prefix}"
    with open("/proc/net/unix", encoding="utf-8", errors="surrogateescape") as file:
        next(file)  # the heading
        rows = [line.rstrip("\n").split(maxsplit=_PATH) for line in file]
    accepting = (row for row in rows if len(row) > _PATH and int(row[_FLAGS], 16) & _ACCEPTS)
    sockets = {
        f"socket:[{row[_INODE]}]"
        for row in accepting
        if os.path.normpath(row[_PATH]).startswith(begin)
    }
    return bool(sockets) and any(target in sockets for target in _open_files(pid))


def _open_files(pid: int) -> Iterator[str]:
    """Give what a process has open; nothing of one that has ended, or that we may not look at."""
    with contextlib.suppress(OSError), os.scandir(f"/proc/{pid}/fd") as descriptors:
        for each in descriptors:
            with contextlib.suppress(FileNotFoundError):  # it has just closed it
                yield os.readlink(each.path)
