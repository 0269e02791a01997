"""The supervisor once trio is there: the group, its signals, its clients, its events."""

import contextlib
import os
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import trio

from qsuper import paths
from qsuper.control.commands import Commands
from qsuper.control.server import Server
from qsuper.errors import QsuperError, first
from qsuper.fabric.group import Counter, Fabric
from qsuper.observe import events
from qsuper.observe.events import Event, EventLog
from qsuper.plan import GroupPlan
from qsuper.runtime import qmp, rundir
from qsuper.runtime.consoles import show
from qsuper.runtime.doorbells import Doorbells
from qsuper.runtime.early import Early
from qsuper.runtime.frame import log_name
from qsuper.runtime.group import Group
from qsuper.runtime.guest import Guest
from qsuper.runtime.helping import Emit
from qsuper.runtime.launch import QEMU_LOG, Home, Launched
from qsuper.runtime.logkeeper import keep_small
from qsuper.runtime.notify import notify, ping_watchdog
from qsuper.runtime.policy import Policies
from qsuper.runtime.rundir import Rundir
from qsuper.runtime.save import Saver
from qsuper.runtime.signals import Obedience
from qsuper.runtime.states import State
from qsuper.runtime.stops import follow_stops
from qsuper.runtime.tail import Tail

_PRINT_WITHIN_S: Final = 10.0  # what the members said last, to a terminal that may be stopped


class Start(NamedTuple):
    """What was made before trio was there."""

    plan: GroupPlan
    policies: Policies
    place: Rundir
    """The group's directory."""
    listener: socket.socket
    """On the control socket."""
    members: Sequence[tuple[Home, Launched]]
    fabric: Fabric
    counters: Mapping[str, Counter]
    """Where clients from outside come in."""
    early: Early
    tails: Sequence[Tail]
    grace_s: float
    foreground: bool
    report: Callable[[Mapping[str, Any]], None]
    """Takes the status once all members run."""
    adopted: bool = False
    """Another supervisor started the members."""


def run(start: Start) -> int:
    """Run the group until all members have ended; give the exit status.

    Raises:
        QsuperError: it did not start. Nothing is left of it.
    """
    return trio.run(_run, start, strict_exception_groups=True)


async def _run(start: Start) -> int:
    log = EventLog(home.member.plan.name for home, _ in start.members)
    telling: list[Server] = []

    def emit(name: str, domain: str, detail: Mapping[str, Any]) -> None:
        event = Event.now(name, domain, detail)
        log.write(event)
        for server in telling:
            server.tell(name, domain, detail, event.time)

    guests = [Guest(home, launched, start.fabric, emit) for home, launched in start.members]
    group = Group(start.plan, guests, start.policies, emit, adopted=start.adopted)
    doorbells = Doorbells(group, start.fabric, start.counters, emit)
    saver = Saver(group, start.fabric, start.place)
    commands = Commands(group, doorbells, saver, grace_s=start.grace_s)
    obedience = Obedience(group, grace_s=start.grace_s, foreground=start.foreground)
    server = Server(start.listener, commands, lambda: not group.live)
    telling.append(server)
    try:
        async with qmp.open_loop(), trio.open_nursery() as nursery:
            await nursery.start(obedience.run, start.early)
            nursery.start_soon(server.run)
            nursery.start_soon(ping_watchdog, rundir.socket_path(start.place.file(rundir.CONTROL)))
            nursery.start_soon(keep_small, _logs(start), start.plan.logs, _complain)
            nursery.start_soon(doorbells.run)
            nursery.start_soon(follow_stops, guests)
            nursery.start_soon(saver.undo_predecessors)
            nursery.start_soon(_report, start, group, commands)
            _tell_lost(start, emit)
            printed = trio.Event()
            nursery.start_soon(_print, start.tails, group, printed)
            try:
                await group.run()
            finally:
                start.place.release()
            notify("STOPPING=1")
            await server.drain()
            with trio.move_on_after(_PRINT_WITHIN_S):
                await printed.wait()
            nursery.cancel_scope.cancel()
    except* QsuperError as errors:
        if obedience.ended_by is None:
            raise first(errors) from None
    finally:
        log.close()
    return _exit_status(group, obedience)


def _logs(start: Start) -> Iterator[str]:
    """Give the files that grow while the group runs, but for those that the XML names."""
    yield os.path.join(paths.domain_state_dir(start.plan.name), "supervisor.log")
    for home, _ in start.members:
        consoles = (each for each in home.member.plan.consoles if not each.logged)
        for name in (QEMU_LOG, events.FILE, *map(log_name, consoles)):
            yield os.path.join(home.state_dir, name)


def _complain(text: str) -> None:
    with contextlib.suppress(OSError):  # the terminal may have gone away, or the disk be full
        sys.stderr.write(f"qsuper: {text}\n")
        sys.stderr.flush()


async def _report(start: Start, group: Group, commands: Commands) -> None:
    await group.started.wait()
    start.place.unmark(rundir.STARTING)
    start.report(commands.status())
    notify("READY=1", f"STATUS={len(group.guests)} domains", f"MAINPID={os.getpid()}")


def _tell_lost(start: Start, emit: Emit) -> None:
    """Say what a predecessor had of the fabric and we have not."""
    for share, message in start.fabric.lost.items():
        emit("SHMEM_LOST", start.plan.name, {"shmem": share, "message": message})
        _complain(message)


async def _print(tails: Sequence[Tail], group: Group, printed: trio.Event) -> None:
    if tails:
        await show(tails, group.ended)
    printed.set()


def _exit_status(group: Group, obedience: Obedience) -> int:
    if group.exit_status is not None:
        return group.exit_status
    if obedience.ended_by is not None:
        return 128 + obedience.ended_by
    crashed = (g for g in group.guests.values() if g.standing.state is State.CRASHED)
    return 1 if any(guest.is_primary for guest in crashed) else 0
