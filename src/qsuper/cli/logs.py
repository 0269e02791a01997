"""`qsuper logs`: what the guest wrote to its consoles, and what QEMU said.

The files are QEMU's own; they stay when the domain has ended.
Import budget: that of `control.client`, and inotify's for `-f`.
"""

import argparse
import contextlib
import os
import select
import sys
from typing import TYPE_CHECKING, BinaryIO, Final

from qsuper import paths
from qsuper.cli.numbers import count
from qsuper.control import client
from qsuper.errors import QsuperError

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
    parser.add_argument("--lines", type=count, metavar="N", help="only the last N lines")


def run(args: argparse.Namespace) -> int:
    """Print a log, and with `--follow` what is added to it."""
    with _open(args) as log:
        if args.lines is not None:
            log.seek(_start_of_last(log, args.lines))
        if args.follow:
            _follow(log, args.name)
        else:
            _copy(log)
    return 0


def _open(args: argparse.Namespace) -> BinaryIO:
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
        return open(path, "rb")
    except OSError as error:
        raise QsuperError(f"{path}: {error.strerror}") from error


def _first(consoles: list[str]) -> str:
    """Give the console that `qsuper console` takes, too, as far as that can be told by names."""
    for kind in ("serial", "console"):
        for name in consoles:
            if name.startswith(kind):
                return name
    return consoles[0] if consoles else ""


def _start_of_last(log: BinaryIO, lines: int) -> int:
    """Give the offset at which the last *lines* lines start."""
    position = log.seek(0, os.SEEK_END)
    if not lines or not position:
        return position
    log.seek(position - 1)
    wanted = lines + (log.read(1) == b"\n")  # newlines from the end, to the one before them all
    while position > 0:
        size = min(_CHUNK_BYTES, position)
        position -= size
        log.seek(position)
        chunk = log.read(size)
        offset = size
        while wanted and (offset := chunk.rfind(b"\n", 0, offset)) >= 0:
            wanted -= 1
        if not wanted:
            return position + offset + 1
    return 0


def _copy(log: BinaryIO) -> None:
    while chunk := log.read(_CHUNK_BYTES):
        sys.stdout.buffer.write(chunk)
    sys.stdout.buffer.flush()


def _follow(log: BinaryIO, name: str) -> None:
    """Copy what is added until the domain has ended."""
    from qsuper.runtime.inotify import IN_MODIFY, IN_MOVED_TO, Inotify  # noqa: PLC0415 - ctypes

    runtime = paths.domain_dir(name)
    with Inotify() as changes:
        changes.watch(log.name, IN_MODIFY)
        try:
            # A QEMU that is started again gets a new qemu.pid; at the end the directory goes.
            changes.watch(runtime, IN_MOVED_TO | _IN_DELETE_SELF)
        except FileNotFoundError:
            _copy(log)
            return
        while True:
            if os.fstat(log.fileno()).st_size < log.tell():
                log.seek(0)  # somebody has emptied it
            _copy(log)
            if not _wait(changes, runtime):
                _copy(log)
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
