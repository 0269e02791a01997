"""`up --adopt`: a service whose supervisor is replaced keeps its guests."""

import os
import signal
import subprocess
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.support.lab import Lab
from tests.support.service import Manager

pytestmark = pytest.mark.qemu


@pytest.fixture
def manager(tmp_path: Path) -> Generator[Manager]:
    listening = Manager(tmp_path / "notify")
    yield listening
    listening.close()


def start(lab: Lab, manager: Manager, *words: str) -> "subprocess.Popen[str]":
    """Start what the unit's ExecStart names."""
    path = lab.domain("A", "B", guest="powerbutton")
    lab.domain("B", guest="powerbutton")
    env = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "3000000"}
    return lab.start("up", "--adopt", "--wait", *words, path, env=env)


def test_a_restart_keeps_the_guests(lab: Lab, manager: Manager) -> None:
    """Killed as by the watchdog, started again: the same guests, and the same verbs."""
    first = start(lab, manager)
    manager.until("READY=1")
    before = {name: row["pid"] for name, row in lab.rows().items()}
    os.kill(first.pid, signal.SIGSTOP)
    first.kill()
    first.wait()

    second = start(lab, manager)
    manager.until("READY=1")

    assert {name: row["pid"] for name, row in lab.rows().items()} == before
    assert lab.states() == {"A": "running", "B": "running"}
    assert lab.supervisor("A") == second.pid
    manager.until("WATCHDOG=1")
    assert lab.run("suspend", "A").status == 0
    assert lab.run("resume", "A").status == 0
    second.terminate()
    manager.until("STOPPING=1")
    assert lab.finish(second).status == 128 + signal.SIGTERM


def test_a_start_that_was_cut_off_is_begun_anew(lab: Lab, manager: Manager) -> None:
    """Half a start is no group to take over."""
    first = start(lab, manager, "--paused")
    manager.until("READY=1")
    before = lab.qemus()
    first.kill()
    first.wait()
    (lab.runtime / "groups" / "A" / "starting").touch()

    second = start(lab, manager)
    manager.until("READY=1")

    assert not before & lab.qemus()
    assert lab.states() == {"A": "running", "B": "running"}
    second.terminate()
    lab.finish(second)


def test_one_that_runs_is_not_taken_over(lab: Lab, manager: Manager) -> None:
    first = start(lab, manager)
    manager.until("READY=1")

    again = lab.finish(start(lab, manager))

    assert again.status == 1
    assert "runs already under" in again.error
    first.terminate()
    lab.finish(first)


def test_nothing_to_take_over(lab: Lab, manager: Manager) -> None:
    """Then it is an `up`; detached, too."""
    done = lab.finish(lab.start("up", "--adopt", "-d", lab.domain("A", guest="powerbutton")))

    assert done.status == 0, done
    killed = lab.supervisor("A")
    os.kill(killed, signal.SIGKILL)
    pids = lab.qemus()
    done = lab.finish(lab.start("up", "--adopt", "-d", str(lab.root / "A.xml")))
    assert done.status == 0, done
    assert lab.qemus() == pids
    assert lab.supervisor("A") != killed
    assert lab.run("destroy", "A").status == 0
