"""`qsuper console` in a real terminal and on pipes, with a guest that answers in upper case."""

import os
import pty
import select
import signal
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.supervisors import PATIENCE_S, Supervisor, member

Run = Callable[..., tuple[int, str, str]]
Start = Callable[..., Supervisor]

CONSOLE = [sys.executable, "-m", "qsuper", "console"]

pytestmark = pytest.mark.qemu


class Terminal:
    """A pseudo-terminal, and what was shown on it."""

    def __init__(self) -> None:
        self.screen, self.keys = pty.openpty()
        self.before = termios.tcgetattr(self.keys)
        self.shown = b""

    def close(self) -> None:
        os.close(self.screen)
        os.close(self.keys)

    def run(self, *words: str) -> "subprocess.Popen[bytes]":
        """Start `qsuper console` with this as its controlling terminal."""
        return subprocess.Popen(
            [*CONSOLE, *words],
            stdin=self.keys,
            stdout=self.keys,
            stderr=self.keys,
            start_new_session=True,
        )

    def type(self, keys: bytes) -> None:
        os.write(self.screen, keys)

    def expect(self, text: bytes) -> None:
        """Wait until *text* is shown, after what was waited for before."""
        while text not in self.shown:
            assert select.select([self.screen], [], [], PATIENCE_S)[0], self.shown
            self.shown += os.read(self.screen, 4096)
        self.shown = self.shown.partition(text)[2]

    @property
    def settings(self) -> list[Any]:
        return termios.tcgetattr(self.keys)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    terminal = Terminal()
    yield terminal
    terminal.close()


@pytest.fixture(params=["pty", "unix"])
def echo(request: pytest.FixtureRequest, supervise: Start) -> Supervisor:
    """A guest that answers what it is told in upper case."""
    return supervise(member("e", guest="echo", kind=request.param))


def attach(terminal: Terminal) -> "subprocess.Popen[bytes]":
    """Attach, and come back once the guest has answered."""
    process = terminal.run("e")
    terminal.expect(b"Connected to domain 'e', serial0; Ctrl-] leaves")
    converse(terminal)
    return process


def converse(terminal: Terminal) -> None:
    """Type until the guest, which may still be booting, has answered."""
    while True:
        terminal.type(b"x")
        if select.select([terminal.screen], [], [], 1)[0]:
            break
    terminal.expect(b"X")


def test_terminal(echo: Supervisor, terminal: Terminal) -> None:
    """Keys go to the guest as they are, Ctrl-C too; Ctrl-] leaves and nothing else does."""
    process = attach(terminal)
    assert terminal.settings != terminal.before

    terminal.type(b"hello\x03\x1a\x04q")
    terminal.expect(b"HELLO\x03\x1a\x04Q")
    assert process.poll() is None

    terminal.type(b"\x1d")
    assert process.wait(PATIENCE_S) == 0
    assert terminal.settings == terminal.before


def test_keys_before_leaving_reach_the_guest(
    supervise: Start, terminal: Terminal, qsuper: Run
) -> None:
    """On a pty; QEMU forgets what a socket still held when its client leaves."""
    supervise(member("e", guest="echo"))
    process = attach(terminal)

    terminal.type(b"bye\x1dlost")

    assert process.wait(PATIENCE_S) == 0
    again = terminal.run("e")
    terminal.expect(b"Connected")
    terminal.type(b"z")
    terminal.expect(b"Z")
    terminal.type(b"\x1d")
    assert again.wait(PATIENCE_S) == 0
    assert "BYE" in qsuper("logs", "e")[1]
    assert "LOST" not in qsuper("logs", "e")[1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_signals_restore_the_terminal(
    echo: Supervisor, terminal: Terminal, number: signal.Signals
) -> None:
    process = attach(terminal)

    process.send_signal(number)

    assert process.wait(PATIENCE_S) == 128 + number
    assert terminal.settings == terminal.before


def test_guest_ends(echo: Supervisor, terminal: Terminal, qsuper: Run) -> None:
    process = attach(terminal)

    assert qsuper("destroy", "e")[0] == 0

    assert process.wait(PATIENCE_S) == 0
    assert terminal.settings == terminal.before


def test_terminal_goes_away(echo: Supervisor, terminal: Terminal) -> None:
    process = attach(terminal)

    terminal.close()
    terminal.screen, terminal.keys = pty.openpty()

    assert process.wait(PATIENCE_S) == 0


def test_pipes(echo: Supervisor, qsuper: Run) -> None:
    """As in CI: the end of the input does not end the output, the guest's end does."""
    with subprocess.Popen(
        [*CONSOLE, "e"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        said = b""
        while not said:
            process.stdin.write(b"x")
            process.stdin.flush()
            if select.select([process.stdout], [], [], 1)[0]:
                said = os.read(process.stdout.fileno(), 4096)
        process.stdin.write(b"\x1d is no key here")
        process.stdin.close()
        while b" IS NO KEY HERE" not in said:
            said += os.read(process.stdout.fileno(), 4096)
        assert process.poll() is None

        assert qsuper("destroy", "e")[0] == 0

        assert process.wait(PATIENCE_S) == 0
        assert process.stderr.read() == b""


def test_only_one_reads_a_pty(supervise: Start, terminal: Terminal, qsuper: Run) -> None:
    supervise(member("e", guest="echo"))
    process = attach(terminal)

    assert qsuper("console", "e") == (
        1,
        "",
        "qsuper: serial0: another `qsuper console` is attached\n",
    )
    terminal.type(b"\x1d")
    assert process.wait(PATIENCE_S) == 0


def test_unknown_console(supervise: Start, qsuper: Run) -> None:
    supervise(member("e", guest="echo"))

    status, out, err = qsuper("console", "e", "serial7")

    assert (status, out) == (69, "")
    assert err == "qsuper: domain 'e' has no console 'serial7' (it has serial0)\n"
