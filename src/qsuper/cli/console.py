"""`qsuper console`: the terminal, or a pair of pipes, on a guest's serial port.

Import budget: that of `control.client`, and what a terminal needs.
"""

import argparse
import contextlib
import errno
import fcntl
import os
import select
import signal
import socket
import sys
import termios
import tty
from collections.abc import Generator
from typing import Final

from qsuper.control import client
from qsuper.control.client import Json
from qsuper.errors import QsuperError

_LEAVE: Final = b"\x1d"  # Ctrl-], as virsh and telnet have it
_CHUNK_BYTES: Final = 1 << 16
_CONNECT_TIMEOUT_S: Final = 10.0
_ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `console`."""
    parser.add_argument("name", metavar="NAME", help="a domain")
    parser.add_argument(
        "alias",
        nargs="?",
        metavar="ALIAS",
        help="serial0, console1, channel0, ... (default: the domain's first)",
    )


def run(args: argparse.Namespace) -> int:
    """Attach until the user leaves, the guest ends or a signal comes.

    Where stdin is no terminal, its end does not detach: the guest's output goes on.
    """
    with client.connect(args.name) as supervisor:
        wanted = {"alias": args.alias} if args.alias else {}
        console = supervisor.execute("console", {"domain": args.name, **wanted})
    guest = _open(console)
    try:
        terminal = os.isatty(sys.stdin.fileno())
        if terminal:
            print(
                f"Connected to domain '{args.name}', {console['alias']}; Ctrl-] leaves",
                file=sys.stderr,
            )
        with _signals() as signals, _raw(sys.stdin.fileno()):
            status = _Relay(guest, signals, terminal=terminal).run()
    finally:
        os.close(guest)
    if terminal:
        with contextlib.suppress(OSError):  # hung up
            os.write(sys.stderr.fileno(), b"\n")
    return status


def _open(console: Json) -> int:
    """Open the guest's end and give its descriptor, which does not block."""
    alias, kind, endpoint = console["alias"], console["kind"], console["endpoint"]
    try:
        match kind:
            case "pty":
                guest = os.open(endpoint, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
                _claim(guest, alias)
            case "unix":
                with socket.socket(socket.AF_UNIX) as unix:
                    unix.settimeout(_CONNECT_TIMEOUT_S)
                    unix.connect(endpoint)
                    guest = unix.detach()
            case "tcp":
                host, _, port = endpoint.rpartition(":")
                address = (host.strip("[]"), int(port))
                guest = socket.create_connection(address, _CONNECT_TIMEOUT_S).detach()
            case _:
                raise QsuperError(f"{alias}: nothing to attach to: it is a {kind} {endpoint}")
    except OSError as error:
        raise QsuperError(f"{alias}: {endpoint}: {error.strerror or error}") from error
    os.set_blocking(guest, False)
    return guest


def _claim(guest: int, alias: str) -> None:
    """Keep a second reader away, who would take half of the bytes."""
    try:
        fcntl.flock(guest, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(guest)
        raise QsuperError(f"{alias}: another `qsuper console` is attached") from None


@contextlib.contextmanager
def _raw(terminal: int) -> Generator[None]:
    """Give the keys to the guest as they are; nothing happens to what is no terminal."""
    if not os.isatty(terminal):
        yield
        return
    saved = termios.tcgetattr(terminal)
    try:
        tty.setraw(terminal, termios.TCSADRAIN)
        yield
    finally:
        with contextlib.suppress(termios.error):  # hung up: there is nothing to restore
            termios.tcsetattr(terminal, termios.TCSADRAIN, saved)


def _note(number: int, frame: object) -> None:
    """Do nothing but be a handler: the number goes to the wakeup descriptor."""


@contextlib.contextmanager
def _signals() -> Generator[int]:
    """Give a descriptor from which the numbers of ending signals can be read."""
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    before = {number: signal.signal(number, _note) for number in _ENDING}
    old = signal.set_wakeup_fd(writer)
    try:
        yield reader
    finally:
        signal.set_wakeup_fd(old)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(reader)
        os.close(writer)


class _Relay:
    """Copies both ways until one side has had enough."""

    def __init__(self, guest: int, signals: int, *, terminal: bool) -> None:
        self._guest = guest
        self._signals = signals
        self._terminal = terminal
        self._input: int | None = sys.stdin.fileno()
        self._output = sys.stdout.fileno()
        self._typed = bytearray()
        """For the guest, which may be slow to read it."""

    def run(self) -> int:
        """Give the exit status."""
        while True:
            ready = self._wait()
            if self._signals in ready:
                return 128 + os.read(self._signals, 1)[0]
            if self._guest in ready and not self._from_guest():
                return 0
            if (
                self._input is not None
                and self._input in ready
                and not self._from_user(self._input)
            ):
                return 0

    def _wait(self) -> set[int]:
        poll = select.poll()
        poll.register(self._signals, select.POLLIN)
        poll.register(self._guest, select.POLLIN | (select.POLLOUT if self._typed else 0))
        # A pipe can wait while the guest does not read; in a terminal Ctrl-] must get through.
        if self._input is not None and (self._terminal or len(self._typed) < _CHUNK_BYTES):
            poll.register(self._input, select.POLLIN)
        return {number for number, _ in poll.poll()}

    def _from_guest(self) -> bool:
        """Copy what there is, both ways; False where the guest has ended."""
        try:
            if self._typed:
                del self._typed[: os.write(self._guest, self._typed)]
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno not in (errno.EIO, errno.EPIPE, errno.ECONNRESET):
                raise
        try:
            data = os.read(self._guest, _CHUNK_BYTES)
        except BlockingIOError:
            return True
        except OSError as error:
            if error.errno in (errno.EIO, errno.ECONNRESET):  # EIO: the pty's other end is closed
                return False
            raise
        return bool(data) and self._show(data)

    def _show(self, data: bytes) -> bool:
        """Write all to our own output; False where the terminal is gone."""
        try:
            while data:
                data = data[os.write(self._output, data) :]
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            return False
        return True

    def _from_user(self, keys: int) -> bool:
        """Take what was typed; False where it was Ctrl-] or the terminal is gone."""
        try:
            data = os.read(keys, _CHUNK_BYTES)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            data = b""
        if not data:
            self._input = None
            return not self._terminal
        if self._terminal and _LEAVE in data:
            self._typed += data.partition(_LEAVE)[0]
            with contextlib.suppress(OSError):
                os.write(self._guest, self._typed)
            return False
        self._typed += data
        return True
