"""Signals that come before trio is loaded: they are kept until it can obey them.

Without this a SIGTERM between the spawn and `trio.run` would leave the QEMUs alone.
"""

import os
import signal
from types import FrameType
from typing import Final

OBEYED: Final = (
    signal.SIGTSTP,
    signal.SIGCONT,
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGQUIT,
    signal.SIGHUP,
    signal.SIGUSR1,
)
"""The signals that `signals.py` turns into verbs."""

ENDING: Final = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP})


class Early:
    """The signals that came so far. Make one in the main thread, first thing."""

    def __init__(self) -> None:
        """Listen; what was set before is put back by `restore`."""
        self._numbers: list[signal.Signals] = []
        self._alarm = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._before = {number: signal.signal(number, self._take) for number in OBEYED}

    @property
    def ending(self) -> signal.Signals | None:
        """The first signal that asks for the end."""
        return next((number for number in self._numbers if number in ENDING), None)

    def fileno(self) -> int:
        """Give a descriptor that is readable once a signal has asked for the end."""
        return self._alarm

    def taken(self) -> list[signal.Signals]:
        """Give all of them, and forget them."""
        taken, self._numbers = self._numbers, []
        return taken

    def restore(self) -> None:
        """Listen no more."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self._alarm)

    def _take(self, number: int, _frame: FrameType | None) -> None:
        self._numbers.append(signal.Signals(number))
        if number in ENDING:
            os.eventfd_write(self._alarm, 1)
