"""A person at a terminal: Ctrl-C, Ctrl-Z, Ctrl-backslash, and a terminal that goes away."""

import os
import signal
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest

from tests.support.lab import QSUPER, Lab, ends
from tests.support.supervised import PATIENCE_S

pytestmark = pytest.mark.qemu

pexpect: Any = import_module("pexpect")  # it ships no types
Screen = Any


@pytest.fixture
def shell(lab: Lab) -> Iterator[Screen]:
    """A shell with job control on a terminal of its own, its prompt `ready> `."""
    environment = {**lab.environment, "PS1": "ready> ", "TERM": "dumb", "NO_COLOR": "1"}
    screen = pexpect.spawn(
        "bash",
        ["--norc", "--noprofile", "--noediting", "-i"],
        env=environment,
        cwd=str(lab.root),
        encoding="utf-8",
        timeout=PATIENCE_S,
    )
    screen.expect("ready> ")
    yield screen
    if not screen.closed:
        screen.close(force=True)


def status(shell: Screen) -> int:
    """Give the exit status of what has ended last."""
    shell.expect("ready> ")
    shell.sendline("echo status=$?")
    shell.expect(r"status=(\d+)\r")
    return int(shell.match.group(1))


def hang_up(shell: Screen) -> None:
    """Close the terminal, and wait until the shell has ended with it."""
    shell.ptyproc.fileobj.close()
    shell.closed = shell.ptyproc.closed = True
    assert ends(shell.pid)
    os.waitpid(shell.pid, 0)


def up(shell: Screen, lab: Lab, guest: str = "powerbutton", words: str = "") -> None:
    """Start a group in the foreground, and come back when both guests tick."""
    lab.domain("b", guest=guest)
    shell.sendline(f"{QSUPER} up {words} {lab.domain('a', 'b', guest=guest)}")
    shell.expect(r"b \| tick \d")
    shell.expect(r"a \| tick \d")


def test_ctrl_c_shuts_down(shell: Screen, lab: Lab) -> None:
    up(shell, lab)

    shell.sendintr()

    shell.expect(r"qsuper: shutting down, within 10 s \(again: end it now\)")
    assert status(shell) == 130


def test_a_second_ctrl_c_ends_it_now(shell: Screen, lab: Lab) -> None:
    up(shell, lab, guest="tick", words="--grace 1000")

    shell.sendintr()
    shell.expect("shutting down, within 1000 s")
    shell.sendintr()

    assert status(shell) == 130


def test_ctrl_backslash_ends_it_now(shell: Screen, lab: Lab) -> None:
    up(shell, lab, guest="tick", words="--grace 1000")

    shell.sendcontrol("\\")

    assert status(shell) == 131


def test_ctrl_z_and_fg(shell: Screen, lab: Lab) -> None:
    """The machines pause and go on; meanwhile verbs from elsewhere do not hang."""
    up(shell, lab)

    for _ in range(2):
        shell.sendcontrol("z")
        shell.expect("Stopped")
        assert set(lab.states().values()) == {"paused"}
        done = lab.run("suspend", "a")
        assert done.status == 1
        assert "go on with `fg` there, or `qsuper resume a`" in done.error
        shell.sendline("fg")
        shell.expect(r"a \| tick \d")
    shell.sendintr()

    assert status(shell) == 130


def test_ctrl_z_and_bg(shell: Screen, lab: Lab) -> None:
    """In the background it goes on, and `kill %1` shuts it down."""
    up(shell, lab)
    shell.sendcontrol("z")
    shell.expect("Stopped")

    shell.sendline("bg")
    shell.expect(r"a \| tick \d")
    assert set(lab.states().values()) == {"running"}

    shell.sendline("kill %1; wait %1; echo status=$?")
    shell.expect(r"status=(\d+)\r")
    assert int(shell.match.group(1)) == 128 + signal.SIGTERM


def test_the_terminal_goes_away(shell: Screen, lab: Lab) -> None:
    """In the foreground the group shuts down, as its guests power off; nobody is killed."""
    up(shell, lab)
    pids = [lab.supervisor("a"), *lab.qemus()]

    hang_up(shell)

    for pid in pids:
        assert ends(pid)
    for name in "ab":
        events = (lab.state / "qsuper" / name / "events.jsonl").read_text()
        assert '"guest-shutdown"' in events


def test_the_terminal_goes_away_while_stopped(shell: Screen, lab: Lab) -> None:
    up(shell, lab)
    pids = [lab.supervisor("a"), *lab.qemus()]
    shell.sendcontrol("z")
    shell.expect("Stopped")

    hang_up(shell)

    for pid in pids:
        assert ends(pid)


def test_the_terminal_of_a_detached_group_goes_away(shell: Screen, lab: Lab) -> None:
    shell.sendline(f"{QSUPER} up -d {lab.domain('a')}")
    shell.expect("Domain 'a' started")
    shell.expect("ready> ")

    hang_up(shell)

    assert lab.states() == {"a": "running"}
    os.kill(lab.supervisor("a"), signal.SIGHUP)
    assert lab.states() == {"a": "running"}
    assert lab.run("destroy", "a").status == 0


def test_ctrl_c_during_up_d_leaves_a_started_group_alone(shell: Screen, lab: Lab) -> None:
    """What has started belongs to nobody's terminal any more."""
    shell.sendline(f"{QSUPER} up -d {lab.domain('a')}")
    shell.expect("Domain 'a' started")
    shell.expect("ready> ")
    shell.sendintr()
    shell.expect("ready> ")

    assert lab.states() == {"a": "running"}
    assert lab.run("destroy", "a").status == 0
