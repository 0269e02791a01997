"""QEMUs that a signal stops, or lets go on: the kernel tells their parent.

Of an adopted QEMU we are not the parent: that one is stopped, `list` sees.
"""

import os
import signal
from collections.abc import Iterable, Iterator
from typing import Final

import trio

from qsuper.runtime.guest import Guest

_CHANGES: Final = os.WSTOPPED | os.WCONTINUED | os.WNOHANG


async def follow_stops(guests: Iterable[Guest]) -> None:
    """Have members take note of it until cancelled."""
    with trio.open_signal_receiver(signal.SIGCHLD) as signals:
        while True:
            changed = set(_changed())
            for guest in guests:
                if guest.process.pid in changed:
                    guest.look_for_stop()
            await anext(signals)


def _changed() -> Iterator[int]:
    """Give the children that were stopped or went on since the last time."""
    try:
        while (change := os.waitid(os.P_ALL, 0, _CHANGES)) is not None:
            yield change.si_pid
    except ChildProcessError:  # there is none
        return
