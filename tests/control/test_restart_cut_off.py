"""The supervisor is killed at each stage of a restart: the successor finishes it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from qsuper import paths
from qsuper.control.adopt import adopt
from qsuper.plan import GroupPlan, Lifecycle, OnEnd
from qsuper.runtime.survivors import RESTARTING
from tests.support.orphans import kill, kill_at
from tests.support.supervised import (
    domain,
    events,
    group,
    leftovers,
    pair,
    supervised,
    wait_backoffs,
    wait_pid,
    wait_states,
    wait_ticks,
)

pytestmark = [pytest.mark.qemu, pytest.mark.usefixtures("nothing_left")]

STAGES = ("marked", "qmp.sock", "argv.json", "qemu.pid", "over")
"""The mark is made, three files are made anew, the mark is removed."""


def kinds(name: str) -> list[str]:
    return [each["event"] for each in events(name)]


def wait_running(name: str) -> None:
    wait_states(name, lambda found: found[-1][0] == "running")


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("name", ["A", "B"])
def test_killed_while_it_restarts(stage: str, name: str) -> None:
    """It is neither lost, nor taken for a crash, which would end it; the other is not touched."""
    with supervised(pair()) as supervisor:
        (other,) = {"A", "B"} - {name}
        pids = {each: supervisor.pid(each) for each in "AB"}
        wait_ticks(name, 1)
        kill_at(supervisor, name, stage)
        wait_ticks(other, 2)

        adopt("A")

        wait_running(name)
        wait_ticks(name, 2)
        assert supervisor.pid(name) not in (None, pids[name])
        wait_pid(pids[name])
        assert supervisor.pid(other) == pids[other]
        assert "EMULATOR_ENDED" not in kinds(name)
        assert "STOP" not in kinds(other)
        assert not Path(paths.domain_dir(name), RESTARTING).exists()
        wait_ticks(other, 2)
        answer = supervisor.ask("suspend", domain="A")
        assert answer["domains"] == {"A": "paused", "B": "paused"}
        supervisor.ask("destroy", domain="A")
    assert leftovers() == []


def alone() -> GroupPlan:
    return group([(domain("A"), [])])


def test_no_qemu_is_left_for_a_moment() -> None:
    """A group of one: `list` shows it, and `up --adopt` takes it over."""
    with supervised(alone()) as supervisor:
        old = supervisor.pid("A")
        wait_ticks("A", 1)
        kill_at(supervisor, "A", "qmp.sock")
        wait_pid(old)
        command = [sys.executable, "-m", "qsuper", "list"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[1].split() == ["A", "crashed", "A", "primary", "-"]
        assert "its supervisor died" in done.stderr

        assert adopt("A").pid

        wait_running("A")
        wait_ticks("A", 2)
        supervisor.ask("destroy", domain="A")
    assert leftovers() == []


def test_a_restart_that_is_destroyed_stays_destroyed() -> None:
    with supervised(pair()) as supervisor:
        old = supervisor.pid("B")
        kill(supervisor)
        for mark in ("restarting", "ending"):
            Path(paths.domain_dir("B"), mark).touch()
        adopt("A")
        wait_pid(old)
        wait_states("B", lambda found: found[-1][0] == "shut off")
        assert supervisor.row("B")["pid"] is None
        wait_ticks("A", 2)
        supervisor.ask("destroy", domain="A")
    assert leftovers() == []


def test_killed_while_it_waits_after_a_crash() -> None:
    plan = group([(domain("A"), ["B"])], [domain("B", lifecycle=Lifecycle(on_crash=OnEnd.RESTART))])
    with supervised(plan) as supervisor:
        for crash in range(1, 4):  # the third time it waits 2 s
            wait_running("B")
            os.kill(supervisor.pid("B"), signal.SIGKILL)
            wait_backoffs("B", crash)
        assert Path(paths.domain_dir("B"), RESTARTING).exists()
        kill(supervisor)
        adopt("A")
        wait_running("B")
        wait_ticks("B", 2)
        supervisor.ask("destroy", domain="A")
    assert leftovers() == []
