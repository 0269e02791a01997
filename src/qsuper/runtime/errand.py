"""A program that is run to its end before a QEMU starts. Needs no trio."""

import os
import select
from collections.abc import Sequence
from typing import Final

from qsuper.errors import EmulatorError, TimedOutError
from qsuper.runtime.log import Log
from qsuper.runtime.process import Process, Spawn

_WITHIN_S: Final = 60.0


def run(argv: tuple[str, ...], log: Log, *, directory: str, pass_fds: Sequence[int] = ()) -> None:
    """Run it in *directory*; it may take a minute.

    Raises:
        EmulatorError: it cannot be run, or failed; in its own words, which are in *log*.
        TimedOutError: it took longer, and was killed.
    """
    program = os.path.basename(argv[0])
    log.begin(argv)
    process = Process.spawn(Spawn(argv, {}, directory, log.fd, pass_fds))
    try:
        if not select.select([process.pidfd], [], [], _WITHIN_S)[0]:
            raise TimedOutError(f"{program} took more than {_WITHIN_S:g} s")
        if status := process.status():
            raise EmulatorError(f"{program}: {log.tail() or f'status {status}'}")
    finally:
        process.end_now()
        process.close()
