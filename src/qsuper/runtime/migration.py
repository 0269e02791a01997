"""A member's state out of its QEMU and into another: QEMU's migration, by a pipe.

QEMU is handed one end, since its sandbox lets it start nothing; a file it would take as well, but
not for much longer. The bytes go through the kernel, not through us.
"""

import contextlib
import os
from collections.abc import Awaitable, Callable, Generator
from typing import Any, Final

import trio

from qsuper.errors import QsuperError, TimedOutError, first
from qsuper.runtime.sync import Link

Json = Any  # whatever QEMU says
Step = Callable[[], Awaitable[bool]]
"""Moves some bytes; tells whether there may be more."""

_EVENT: Final = "MIGRATION"
_UNDER_WAY: Final = frozenset({"setup", "active", "device", "pre-switchover", "cancelling"})
_STALLED_S: Final = 20.0
"""A QEMU that has not moved a byte for so long does not any more."""
_CHUNK_BYTES: Final = 1 << 20
_BANDWIDTH: Final = 1 << 36  # bytes a second: as fast as the disk takes it
_NOW: Final = os.SPLICE_F_NONBLOCK  # the pipe alone: the disk may take its time, in a thread


async def write(link: Link, descriptor: int, *, ignores_shared: bool) -> bool:
    """Have a QEMU that is stopped write its state.

    Args:
        link: Its monitor.
        descriptor: The file that gets the state.
        ignores_shared: Leave shared memory out.

    Returns:
        Whether shared memory was left out; an old QEMU cannot.

    Raises:
        QsuperError: it does not.
        OSError: the disk is full.
    """
    ignored = await _set_up(link, ignores_shared=ignores_shared)
    await link.execute("migrate-set-parameters", {"max-bandwidth": _BANDWIDTH})
    ours, theirs = os.pipe2(os.O_CLOEXEC)

    async def step() -> bool:
        with _patience():
            await trio.lowlevel.wait_readable(ours)
        return await trio.to_thread.run_sync(_splice, ours, descriptor)

    with contextlib.ExitStack() as pipe, link.listening(_EVENT) as changes:
        pipe.callback(os.close, ours)
        await _hand(link, theirs)
        await link.execute("migrate", {"uri": "fd:state"})
        await _carried_out(step, link, changes, whole=True)
    return ignored


async def read(link: Link, descriptor: int, *, ignores_shared: bool) -> None:
    """Have a QEMU that was started to wait for it read a state from a file; it is paused then.

    Raises:
        QsuperError: it refuses, and ends.
    """
    await _set_up(link, ignores_shared=ignores_shared)
    theirs, ours = os.pipe2(os.O_CLOEXEC)
    with contextlib.ExitStack() as pipe, link.listening(_EVENT) as changes:
        pipe.callback(os.close, ours)

        async def step() -> bool:
            with _patience():
                await trio.lowlevel.wait_writable(ours)
            try:
                if await trio.to_thread.run_sync(_splice, descriptor, ours):
                    return True
            except BrokenPipeError:  # it has ended, which its monitor tells
                return False
            pipe.close()  # else it would wait for the rest of a file that was cut short
            return False

        await _hand(link, theirs)
        await link.execute("migrate-incoming", {"uri": "fd:state"})
        await _carried_out(step, link, changes, whole=False)


async def cancel(link: Link) -> None:
    """End a migration that is under way, so that the guest can go on.

    Raises:
        QsuperError: QEMU has ended, or does not answer.
    """
    with link.listening(_EVENT) as changes:
        if (await link.execute("query-migrate")).get("status") not in _UNDER_WAY:
            return
        await link.execute("migrate_cancel")
        async for change in changes:
            if change["status"] not in _UNDER_WAY:
                return


async def _set_up(link: Link, *, ignores_shared: bool) -> bool:
    """Set QEMU's migration up; tell whether it leaves shared memory out."""
    capabilities = {"events": True, "x-ignore-shared": ignores_shared}
    known = {each["capability"] for each in await link.execute("query-migrate-capabilities")}
    wanted = [
        {"capability": name, "state": state}
        for name, state in capabilities.items()
        if name in known
    ]
    await link.execute("migrate-set-capabilities", {"capabilities": wanted})
    return ignores_shared and "x-ignore-shared" in known


async def _hand(link: Link, descriptor: int) -> None:
    """Give QEMU a descriptor, and close ours."""
    try:
        await link.execute("getfd", {"fdname": "state"}, descriptor)
    finally:
        os.close(descriptor)


async def _carried_out(
    step: Step, link: Link, changes: trio.MemoryReceiveChannel[Json], *, whole: bool
) -> None:
    """Move bytes until QEMU says that it is through; if *whole*, until there are no more."""
    moved = trio.Event()

    async def move() -> None:
        while await step():
            pass
        moved.set()
        with _patience():
            await trio.sleep_forever()

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(move)
            await _completed(link, changes)
            if whole:
                await moved.wait()
            nursery.cancel_scope.cancel()
    except* (QsuperError, OSError) as errors:
        raise first(errors) from None


async def _completed(link: Link, changes: trio.MemoryReceiveChannel[Json]) -> None:
    async for change in changes:
        status = change["status"]
        if status == "completed":
            return
        if status not in _UNDER_WAY:  # failed, cancelled
            answer = await link.execute("query-migrate")
            raise QsuperError(answer.get("error-desc", f"the migration is {status}"))
    raise QsuperError("QEMU has ended")


@contextlib.contextmanager
def _patience() -> Generator[None]:
    """Wait, but not for ever."""
    with trio.move_on_after(_STALLED_S) as scope:
        yield
    if scope.cancelled_caught:
        raise TimedOutError(f"QEMU has stood still for {_STALLED_S:g} s")


def _splice(source: int, target: int) -> bool:
    """Move some bytes; tell whether there may be more."""
    try:
        return os.splice(source, target, _CHUNK_BYTES, flags=_NOW) > 0
    except BlockingIOError:
        return True
