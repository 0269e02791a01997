"""Standard streams that are closed, broken or full, and descriptors that a shell left open."""

import fcntl
import os
import signal
import socket
import subprocess

import pytest

from tests.support.lab import Lab, ends
from tests.support.supervised import PATIENCE_S, readable

pytestmark = pytest.mark.qemu


def shell(line: str) -> list[str]:
    """Give a shell line to stand before a command, which it has as "$@"."""
    return ["sh", "-c", line, "sh"]


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
def test_closed_streams(lab: Lab, closed: str) -> None:
    """They are as /dev/null; none of our own pipes takes their place."""
    file = lab.domain("a", guest="poweroff")

    assert lab.run("up", "--wait", file, before=shell(f'"$@" {closed}')).status == 0
    assert lab.run("up", str(lab.root / "none.xml"), before=shell(f'"$@" {closed}')).status == 65
    lab.domain("a")
    assert lab.run("up", "-d", file, before=shell(f'"$@" {closed}')).status == 0
    assert lab.run("list", before=shell(f'"$@" {closed}')).status == 0
    assert lab.run("destroy", "a", before=shell(f'"$@" {closed}')).status == 0


@pytest.mark.parametrize("words", [["list"], ["list", "--format", "json"], ["info", "a"]])
def test_a_reader_that_goes_away(lab: Lab, words: list[str]) -> None:
    assert lab.run("up", "-d", lab.domain("a")).status == 0

    # The right end closes before the left one starts.
    line = f'{{ read -r _; "$@"; echo $? >{lab.root}/status; }} <{lab.root}/go | exec true'
    os.mkfifo(lab.root / "go")
    process = lab.start(*words, before=shell(line))
    (lab.root / "go").write_text("go\n")
    done = lab.finish(process)

    assert done.err == ""
    assert (lab.root / "status").read_text() in ("141\n", "0\n")
    assert lab.run("destroy", "a").status == 0


@pytest.mark.parametrize("words", [["list", "--format", "json"], ["validate"], ["translate"]])
def test_a_full_disk_behind_stdout(lab: Lab, words: list[str]) -> None:
    files = [lab.domain("a")] if words[0] in ("validate", "translate") else []

    done = lab.run(*words, *files, before=shell('"$@" >/dev/full'))

    assert done.status == 1
    assert done.error == "No space left on device"


def test_nobody_reads_our_errors(lab: Lab) -> None:
    reader, writer = os.pipe()
    os.close(reader)

    assert lab.run("info", "ghost", stderr=writer).status == 1

    os.close(writer)


def test_consoles_into_a_closed_pipe(lab: Lab) -> None:
    """The guests run on; SIGTERM still shuts them down."""
    reader, writer = os.pipe()
    process = lab.start("up", lab.domain("a", guest="powerbutton"), stdout=writer)
    os.close(writer)
    readable(reader)
    os.close(reader)

    assert lab.states() == {"a": "running"}
    process.send_signal(signal.SIGTERM)
    assert lab.finish(process).status == 128 + signal.SIGTERM


def test_a_lock_of_the_shell_is_not_kept(lab: Lab) -> None:
    """`(flock 9; qsuper up -d a.xml) 9>lock`: the lock is free once the command has ended."""
    lock = os.open(lab.root / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    assert lab.run("up", "-d", lab.domain("a"), pass_fds=[lock]).status == 0
    os.close(lock)

    again = os.open(lab.root / "lock", os.O_RDWR)
    fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(again)
    assert lab.run("destroy", "a").status == 0


def test_a_pipe_of_the_caller_ends_with_the_command(lab: Lab) -> None:
    """`$(qsuper up -d a.xml)` does not wait for the guests."""
    line = f'out=$("$@" 2>&1); echo "$out" >{lab.root}/out'

    assert lab.run("up", "-d", lab.domain("a"), before=shell(line)).status == 0

    assert (lab.root / "out").read_text() == "Domain 'a' started\n"
    assert lab.run("destroy", "a").status == 0


def test_a_service_manager(lab: Lab) -> None:
    """It is told when all members run, and when they are about to end; SIGTERM shuts down."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind(str(lab.root / "notify"))
        notified.settimeout(PATIENCE_S)
        process: subprocess.Popen[str] = lab.start(
            "up",
            "--wait",
            lab.domain("a", guest="powerbutton"),
            env={"NOTIFY_SOCKET": str(lab.root / "notify")},
        )
        said = notified.recv(4096).decode()
        assert "READY=1" in said
        assert f"MAINPID={process.pid}" in said
        console = lab.state / "qsuper" / "a" / "serial0.log"
        lab.wait_text(console, "tick 1")
        process.send_signal(signal.SIGTERM)
        assert notified.recv(4096).decode() == "STOPPING=1"
    done = lab.finish(process)
    assert done.status == 128 + signal.SIGTERM
    assert done.err == "qsuper: shutting down, within 10 s (again: end it now)\n"
    assert ends(process.pid)
