"""Which QEMU runs in a domain's directory, when nobody is there to say.

Import budget: os; `qsuper list` loads this where a supervisor died.
"""

import contextlib
import json
import os
import signal
from typing import Final

HELPERS: Final = "helpers.json"
"""In a domain's directory: its helpers' names, each with pid and start time."""
RESTARTING: Final = "restarting"
"""In a domain's directory from the moment its QEMU is to be replaced, or has crashed and will be,
until the next one goes, or waits for its boot signal: a successor starts another."""

_STATE: Final = 0  # fields of /proc/PID/stat, from the one behind the name; proc(5)
_START: Final = 19


def survivor(directory: str) -> int | None:
    """Give the pid of the QEMU that runs in a domain's *directory*; None where none does.

    By its pid file; by what runs there with the command line noted in argv.json where a supervisor
    was killed before it could write one.
    """
    return _by_pid_file(directory) or _by_working_directory(directory)


def end_helpers(directory: str) -> None:
    """Kill the helpers that a QEMU which has ended left in a domain's *directory*.

    They end with their QEMU by themselves, unless something has stopped them.
    """
    try:
        with open(os.path.join(directory, HELPERS), encoding="utf-8") as file:
            identities = [tuple(map(int, text.split())) for text in json.load(file).values()]
    except (OSError, ValueError, AttributeError):
        return
    for pid, start in identities:
        with contextlib.suppress(OSError):
            pidfd = os.pidfd_open(pid)
            try:
                if _stat(pid)[_START] == str(start):  # asked after the pidfd was opened
                    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            finally:
                os.close(pidfd)


def _by_pid_file(directory: str) -> int | None:
    try:
        with open(os.path.join(directory, "qemu.pid"), encoding="ascii") as file:
            pid, start = file.read().split()
        found = _stat(int(pid))
    except (OSError, ValueError):
        return None
    alive = found[_STATE] not in "ZX" and found[_START] == start
    return int(pid) if alive else None


def _by_working_directory(directory: str) -> int | None:
    try:
        with open(os.path.join(directory, "argv.json"), encoding="utf-8") as file:
            arguments = [os.fsencode(word) for word in json.load(file)[1:]]
    except (OSError, ValueError, TypeError):
        return None
    for name in os.listdir("/proc"):
        try:
            if name.isdecimal() and os.readlink(f"/proc/{name}/cwd") == directory:
                with open(f"/proc/{name}/cmdline", "rb") as file:
                    # An emulator that is a script has an interpreter before it.
                    if file.read().split(b"\0")[:-1][-len(arguments) :] == arguments:
                        return int(name)
        except OSError:
            continue  # it ended, or is somebody else's
    return None


def _stat(pid: int) -> list[str]:
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        return file.read().rpartition(") ")[2].split()
