"""Ending a QEMU in bounded time: QMP `quit`, then SIGTERM, then SIGKILL, each with its deadline."""

import contextlib
import signal
from typing import Final

import trio

from qsuper.runtime.process import Process
from qsuper.runtime.qmp import CommandError, DisconnectedError, Monitor

_QUIT_WITHIN_S: Final = 5.0  # a flush of dirty qcow2 metadata is over well before this
_TERM_WITHIN_S: Final = 5.0


async def end_process(process: Process, monitor: Monitor | None, gone: trio.Event) -> None:
    """End a QEMU; it is killed when this returns, if it has not ended before.

    Args:
        process: The QEMU.
        monitor: Where it is told to quit; None where it does not answer.
        gone: Set by whoever sees its end.
    """
    if monitor is not None:
        with trio.move_on_after(_QUIT_WITHIN_S):
            # It may have ended before it could answer.
            with contextlib.suppress(CommandError, DisconnectedError):
                await monitor.execute("quit")
            await gone.wait()
            return
    if not process.identity.is_stopped:  # then it would not notice
        process.kill(signal.SIGTERM)
        with trio.move_on_after(_TERM_WITHIN_S):
            await gone.wait()
            return
    process.kill(signal.SIGKILL)


def fate(status: int | None) -> str:
    """Tell how a process ended."""
    if status is not None and status < 0:
        return f"it was ended by {signal.Signals(-status).name}"
    return f"it ended with status {status}"
