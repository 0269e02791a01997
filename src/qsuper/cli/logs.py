"""`qsuper logs`: what the guest wrote to its consoles, and what QEMU said.

The files are QEMU's own; they stay when the domain has ended. What was cut off them
(`runtime.rotation`) comes first.
Import budget: that of `control.client`, and inotify's for `-f`.
"""

import argparse
import contextlib
import os
import select
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from qsuper import paths
from qsuper.cli.numbers import count
from qsuper.control import client
from qsuper.errors import QsuperError, UsageError
from qsuper.runtime.logreader import LogReader

if TYPE_CHECKING:  # ctypes, which only `-f` needs
    from qsuper.runtime.inotify import Inotify

_CHUNK_BYTES: Final = 1 << 16
_QEMU: Final = "qemu"
_OURS: Final = (_QEMU, "supervisor")
_IN_DELETE_SELF: Final = 0x400  # inotify(7)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `logs`."""
    parser.add_argument("name", metavar="NAME", help="a domain; it need not run any more")
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--console", metavar="ALIAS", help="serial0, console1, ... (default: the first)"
    )
    which.add_argument("--qemu", action="store_true", help="QEMU's own messages")
    parser.add_argument(
        "-f", "--follow", action="store_true", help="go on until the domain ends, or Ctrl-C"
    )
    parser.add_argument(
        "-t",
        "--timestamps",
        action="store_true",
        help="with -f: before each line that is added, when its first byte came",
    )
    parser.add_argument("--lines", type=count, metavar="N", help="only the last N lines")


def run(args: argparse.Namespace) -> int:
    """Print a log, and with `--follow` what is added to it.

    Raises:
        UsageError: timestamps are wanted of what nobody looked at when it came.
    """
    if args.timestamps and not args.follow:
        raise UsageError("--timestamps needs -f: nobody noted when the lines that are there came")
    with contextlib.closing(_open(args)) as log:
        start, end = log.span()
        log.position = start if args.lines is None else _start_of_last(log, args.lines)
        _copy(log, end, _write)
        if args.follow:
            _follow(log, args.name, _Stamper().write if args.timestamps else _write)
    return 0


def _open(args: argparse.Namespace) -> LogReader:
    directory = paths.domain_state_dir(args.name)
    try:
        names = sorted(os.listdir(directory)) if client.is_name(args.name) else []
    except OSError:
        names = []
    found = [name.removesuffix(".log") for name in names if name.endswith(".log")]
    if not found:
        raise QsuperError(f"no such domain: {args.name}")
    consoles = [name for name in found if name not in _OURS]
    wanted = _QEMU if args.qemu else args.console or _first(consoles)
    if wanted not in found:
        there = f"; there are {', '.join(consoles)}" if consoles else ""
        raise QsuperError(f"{args.name}: no log of {wanted or 'a console'}{there}")
    path = os.path.join(directory, f"{wanted}.log")
    try:
        return LogReader(path)
    except OSError as error:
        raise QsuperError(f"{path}: {error.strerror}") from error


def _first(consoles: list[str]) -> str:
    """Give the console that `qsuper console` takes, too, as far as that can be told by names."""
    for kind in ("serial", "console"):
        for name in consoles:
            if name.startswith(kind):
                return name
    return consoles[0] if consoles else ""


def _start_of_last(log: LogReader, lines: int) -> int:
    """Give the position at which the last *lines* lines start."""
    start, end = log.span()
    if not lines or start == end:
        return end
    position = end
    wanted = lines + (_part(log, end - 1, end) == b"\n")  # newlines, to the one before them all
    while position > start:
        chunk = _part(log, max(start, position - _CHUNK_BYTES), position)
        if not chunk:
            break
        position -= len(chunk)
        offset = len(chunk)
        while wanted and (offset := chunk.rfind(b"\n", 0, offset)) >= 0:
            wanted -= 1
        if not wanted:
            return position + offset + 1
    return start


def _part(log: LogReader, start: int, end: int) -> bytes:
    """Give what stands between two positions; nothing where it was cut off meanwhile."""
    log.position = start
    parts: list[bytes] = []
    while log.position < end:
        parts.append(log.read(end - log.position))
        if not parts[-1]:
            return b""
    return b"".join(parts)[-(end - start) :]


def _copy(log: LogReader, end: int | None, write: Callable[[bytes], None]) -> None:
    """Print up to *end*, or all that is there."""
    most = _CHUNK_BYTES
    while end is None or (most := min(_CHUNK_BYTES, end - log.position)) > 0:
        if not (chunk := log.read(most)):
            break
        write(chunk)
    sys.stdout.buffer.flush()


def _write(chunk: bytes) -> None:
    sys.stdout.buffer.write(chunk)


class _Stamper:
    """Prints lines with the time at which their first bytes came."""

    def __init__(self) -> None:
        self._at_start = True

    def write(self, chunk: bytes) -> None:
        now_s = time.time()
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(now_s)).encode()
        stamp += b".%03d " % (now_s % 1 * 1000)
        for line in chunk.splitlines(keepends=True):
            _write(stamp + line if self._at_start else line)
            self._at_start = line.endswith(b"\n")


def _follow(log: LogReader, name: str, write: Callable[[bytes], None]) -> None:
    """Print what is added until the domain has ended."""
    from qsuper.runtime.inotify import IN_MODIFY, IN_MOVED_TO, Inotify  # noqa: PLC0415 - ctypes

    runtime = paths.domain_dir(name)
    with Inotify() as changes:
        changes.watch(log.path, IN_MODIFY)
        try:
            # A QEMU that is started again gets a new qemu.pid; at the end the directory goes.
            changes.watch(runtime, IN_MOVED_TO | _IN_DELETE_SELF)
        except FileNotFoundError:
            _copy(log, None, write)
            return
        while True:
            _copy(log, None, write)
            if not _wait(changes, runtime):
                _copy(log, None, write)
                return


def _wait(changes: "Inotify", runtime: str) -> bool:
    """Wait for something to happen; False where the domain has ended."""
    pid_files = (f"{runtime}/qemu.pid", f"{runtime}/group/supervisor.pid")
    pids = [pid for pid in map(client.living, pid_files) if pid]
    if not pids or not os.path.isdir(runtime):
        return False
    poll = select.poll()
    poll.register(changes, select.POLLIN)
    pidfds: list[int] = []
    try:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                pidfds.append(os.pidfd_open(pid))
                poll.register(pidfds[-1], select.POLLIN)
        if len(pidfds) == len(pids):
            poll.poll()
    finally:
        for pidfd in pidfds:
            os.close(pidfd)
    changes.read()
    return True
