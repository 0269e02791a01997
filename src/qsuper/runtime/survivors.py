"""Which QEMU runs in a domain's directory, when nobody is there to say.

Import budget: os; `qsuper list` loads this where a supervisor died.
"""

import contextlib
import json
import os
import signal
from collections.abc import Sequence
from typing import Final

HELPERS: Final = "helpers.json"
"""In a domain's directory: its helpers' names, each with pid and start time, or with the directory
it runs in and its command line where it is about to be started."""
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

    They end with their QEMU by themselves, unless something has stopped them, or QEMU has never
    talked to them.
    """
    for pid, start in recorded_helpers(directory).values():
        with contextlib.suppress(OSError):
            pidfd = os.pidfd_open(pid)
            try:
                if _stat(pid)[_START] == str(start):  # asked after the pidfd was opened
                    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            finally:
                os.close(pidfd)


def recorded_helpers(directory: str) -> dict[str, tuple[int, int]]:
    """Give the helpers of the QEMU in a domain's *directory*, by name: pid and start time.

    One that a supervisor started, but could not write down any more, is found by what runs where
    it was to run; whether the others still live is not looked at.
    """
    found: dict[str, tuple[int, int]] = {}
    with contextlib.suppress(OSError, ValueError, AttributeError, TypeError):
        with open(os.path.join(directory, HELPERS), encoding="utf-8") as file:
            records = json.load(file).items()
        for name, record in records:
            if isinstance(record, str):
                pid, start = map(int, record.split())
                found[name] = pid, start
            elif (stray := _running_in(record[0], record[2:])) is not None:
                found[name] = stray, int(_stat(stray)[_START])
    return found


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
            words = json.load(file)
        return _running_in(directory, words[1:])
    except (OSError, ValueError, TypeError):
        return None


def _running_in(directory: str, words: Sequence[str]) -> int | None:
    """Find a process by its working directory and its arguments."""
    arguments = [os.fsencode(word) for word in words]
    for name in os.listdir("/proc"):
        try:
            if name.isdecimal() and os.readlink(f"/proc/{name}/cwd") == directory:
                with open(f"/proc/{name}/cmdline", "rb") as file:
                    # A program that is a script has an interpreter before it.
                    if file.read().split(b"\0")[:-1][-len(arguments) :] == arguments:
                        return int(name)
        except OSError:
            continue  # it ended, or is somebody else's
    return None


def _stat(pid: int) -> list[str]:
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        return file.read().rpartition(") ")[2].split()
