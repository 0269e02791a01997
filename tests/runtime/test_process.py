"""Processes, told apart from later ones with their pid."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from qsuper.errors import EmulatorError
from qsuper.runtime.process import Identity, Process, Spawn


def sleeper(tmp_path: Path, *argv: str) -> Process:
    with (tmp_path / "out").open("ab") as out:
        spawn = Spawn(argv or ("sleep", "1000"), {"COLOUR": "red"}, str(tmp_path), out.fileno(), ())
        return Process.spawn(spawn)


async def test_a_child(tmp_path: Path) -> None:
    process = sleeper(tmp_path, "sh", "-c", 'echo "$COLOUR $PWD"; exit 7')
    await trio.lowlevel.wait_readable(process.pidfd)
    assert process.status() == 7
    assert (tmp_path / "out").read_text() == f"red {tmp_path}\n"
    assert not process.identity.is_alive
    process.kill(signal.SIGKILL)  # nothing happens
    process.close()


def test_a_child_has_a_process_group_of_its_own(tmp_path: Path) -> None:
    process = sleeper(tmp_path)
    assert process.identity == Identity.of(process.pid)
    assert os.getpgid(process.pid) == process.pid
    process.end_now()
    assert process.status() == -signal.SIGKILL
    process.close()


async def test_an_adopted_process_has_no_status(tmp_path: Path) -> None:
    child = sleeper(tmp_path)
    adopted = Process.adopt(child.identity)
    assert adopted is not None
    assert adopted.status() is None
    adopted.kill(signal.SIGTERM)
    await trio.lowlevel.wait_readable(adopted.pidfd)
    assert child.status() == -signal.SIGTERM
    assert adopted.status() is None
    adopted.close()
    child.close()


def test_a_reused_pid_is_not_adopted() -> None:
    mine = Identity.of(os.getpid())
    assert mine is not None
    assert Process.adopt(Identity(mine.pid, mine.start_time - 1)) is None


def test_a_stopped_process_is_known(tmp_path: Path) -> None:
    process = sleeper(tmp_path)
    before = process.identity.is_stopped
    process.kill(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
    assert (before, process.identity.is_stopped) == (False, True)
    process.end_now()
    process.close()


def test_what_cannot_be_executed(tmp_path: Path) -> None:
    with pytest.raises(EmulatorError, match="/nonexistent: No such file or directory"):
        sleeper(tmp_path, "/nonexistent")


def test_no_descriptor_but_the_passed_ones(tmp_path: Path) -> None:
    read, write = os.pipe()
    with (tmp_path / "out").open("wb") as out:
        argv = (sys.executable, "-c", "import os; print(sorted(map(int, os.listdir('/dev/fd'))))")
        process = Process.spawn(Spawn(argv, {}, str(tmp_path), out.fileno(), (write,)))
    os.close(write)
    assert os.read(read, 1) == b""  # its end: the child had it
    os.close(read)
    process.end_now()
    process.close()


@pytest.mark.parametrize("text", ["", "1", "a b", "1 2 3", "1 2x"])
def test_a_broken_pid_file(text: str) -> None:
    assert Identity.parse(text) is None


def test_a_zombie_has_ended() -> None:
    child = subprocess.Popen(["true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert Identity.of(child.pid) is None
    child.wait()
