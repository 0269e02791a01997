"""A supervisor dies at any moment; a successor goes on, on real QEMUs."""

import os
import signal
from pathlib import Path

import pytest

from qsuper import paths
from qsuper.control.adopt import adopt
from qsuper.control.client import Connection, living
from qsuper.plan import Lifecycle, OnEnd
from tests.support.orphans import kill, known, last_reason
from tests.support.supervised import (
    domain,
    group,
    leftovers,
    log,
    pair,
    readable,
    supervised,
    wait_log,
    wait_pid,
    wait_ticks,
)

pytestmark = [pytest.mark.qemu, pytest.mark.usefixtures("nothing_left")]


def test_a_successor_goes_on() -> None:
    """The same QEMUs go on ticking, and every verb works again."""
    with supervised(pair()) as supervisor:
        before = known(supervisor, "A", "B")
        kill(supervisor)
        wait_ticks("A", 3)

        adoption = adopt("A")

        assert adoption.domains == ("B", "A")
        assert adoption.pid == living(os.path.join(paths.group_dir("A"), "supervisor.pid"))
        assert known(supervisor, "A", "B") == before
        answer = supervisor.ask("suspend", domain="A")
        assert answer["domains"] == {"A": "paused", "B": "paused"}
        assert answer["skew_us"] is not None
        assert supervisor.ask("resume", domain="A")["domains"] == {"A": "running", "B": "running"}
        wait_ticks("A", 3)
        wait_ticks("B", 3)
        info = supervisor.ask("info", domain="B")
        assert info["pid"] == before["B"]["pid"]
        assert supervisor.ask("console", domain="B")["log"] == str(log("B"))
        assert supervisor.ask("destroy", domain="A")["domains"] == {
            "A": "shut off",
            "B": "shut off",
        }
        for row in before.values():
            wait_pid(row["pid"])
        assert adoption.pid
        wait_pid(adoption.pid)
    assert leftovers() == []
    assert last_reason("A") == ("shut off", "destroyed")


def test_a_suspended_group_stays_suspended() -> None:
    with supervised(pair()) as supervisor:
        supervisor.ask("suspend", domain="B")
        before = known(supervisor, "B")
        kill(supervisor)

        adopt("A")

        assert known(supervisor, "B") == before
        assert supervisor.row("A")["state"] == "running"
        supervisor.ask("resume", domain="B")
        wait_ticks("B", 3)
        supervisor.ask("destroy", domain="A")


def test_a_group_that_was_left_paused_can_be_resumed() -> None:
    with supervised(pair(), paused=True) as supervisor:
        before = supervisor.row("A")
        kill(supervisor)

        adopt("A")

        row = supervisor.row("A")
        assert row == before | {"since": row["since"]}
        assert abs(row["since"] - before["since"]) < 1
        supervisor.ask("resume", domain="A")
        wait_ticks("A", 2)
        supervisor.ask("destroy", domain="A")


def test_an_adopted_member_that_is_killed_is_noticed() -> None:
    """Its dependency ends with it, and the supervisor with both."""
    with supervised(pair()) as supervisor:
        pids = {name: supervisor.pid(name) for name in "AB"}
        kill(supervisor)
        successor = adopt("A").pid
        os.kill(pids["A"], signal.SIGKILL)
        assert successor
        wait_pid(pids["B"])
        wait_pid(successor)
    assert leftovers() == []
    assert last_reason("A") == ("crashed", "emulator ended")
    assert last_reason("B") == ("shut off", "destroyed")


def test_a_primary_died_meanwhile() -> None:
    with supervised(pair()) as supervisor:
        pids = {name: supervisor.pid(name) for name in "AB"}
        kill(supervisor)
        os.kill(pids["A"], signal.SIGKILL)
        wait_pid(pids["A"])

        successor = adopt("A").pid

        wait_pid(pids["B"])
        if successor:
            wait_pid(successor)
    assert leftovers() == []
    assert last_reason("A") == ("crashed", "emulator ended")


def test_a_dependency_died_meanwhile() -> None:
    with supervised(pair()) as supervisor:
        pids = {name: supervisor.pid(name) for name in "AB"}
        kill(supervisor)
        os.kill(pids["B"], signal.SIGKILL)
        wait_pid(pids["B"])

        assert adopt("A").domains == ("A",)

        row = supervisor.row("B")
        assert (row["state"], row["reason"], row["pid"]) == ("crashed", "emulator ended", None)
        wait_ticks("A", 3)
        supervisor.ask("destroy", domain="A")


def test_a_dependency_that_had_ended_before_stays_ended() -> None:
    with supervised(pair()) as supervisor:
        supervisor.ask("destroy", domain="B")
        since = known(supervisor, "B")["B"]["since"]
        kill(supervisor)

        adopt("A")

        row = known(supervisor, "B")["B"]
        assert (row["state"], row["pid"], row["since"]) == ("shut off", None, since)
        wait_ticks("A", 3)
        supervisor.ask("destroy", domain="A")
    assert leftovers() == []


def test_everybody_died_meanwhile() -> None:
    with supervised(pair()) as supervisor:
        pids = {name: supervisor.pid(name) for name in "AB"}
        kill(supervisor)
        for pid in pids.values():
            os.kill(pid, signal.SIGKILL)
            wait_pid(pid)
        successor = adopt("A").pid
        if successor:
            wait_pid(successor)
    assert leftovers() == []


def test_a_crash_is_followed_by_a_restart() -> None:
    plan = group([(domain("A", lifecycle=Lifecycle(on_crash=OnEnd.RESTART)), [])])
    with supervised(plan) as supervisor:
        pid = supervisor.pid("A")
        kill(supervisor)
        adopt("A")
        wait_ticks("A", 1)
        os.kill(pid, signal.SIGKILL)
        wait_pid(pid)
        wait_ticks("A", 3)
        again = supervisor.row("A")
        assert again["pid"] not in (None, pid)
        supervisor.ask("destroy", domain="A")
        wait_pid(again["pid"])
    assert leftovers() == []


def test_a_guest_powered_off_while_nobody_looked() -> None:
    """Its QEMU has waited for a decision; it was asked to, so its dependency is asked after it."""
    plan = group([(domain("A", "powerbutton"), ["B"])], [domain("B", "powerbutton")])
    with supervised(plan) as supervisor:
        wait_ticks("A", 3)
        wait_ticks("B", 3)
        pids = {name: supervisor.pid(name) for name in "AB"}
        supervisor.ask("suspend", domain="A")
        supervisor.ask("shutdown", domain="A")
        kill(supervisor)
        with Connection(os.path.join(paths.domain_dir("A"), "monitor.sock"), "QEMU") as qemu:
            qemu.execute("cont")
            said: list[str] = []
            while "SHUTDOWN" not in said:
                readable(qemu.fileno())
                said += [each["event"] for each in qemu.arrived()[0]]
        adopt("A")
        wait_pid(pids["A"])
        supervisor.ask("resume", domain="B")
        wait_pid(pids["B"])
        wait_log("B", '"shut off"', "events.jsonl")
        assert last_reason("A") == last_reason("B") == ("shut off", "shutdown")


def test_a_verb_that_ends_is_finished() -> None:
    """Killed in the middle of `destroy`: what was to end ends, and is not taken for a crash."""
    plan = group([(domain("A", lifecycle=Lifecycle(on_crash=OnEnd.RESTART)), [])])
    with supervised(plan) as supervisor:
        pid = supervisor.pid("A")
        os.kill(pid, signal.SIGSTOP)
        with supervisor.connect() as connection:
            connection.send("destroy", {"domain": "A"})
            supervisor.process.kill()
        supervisor.process.wait()
        Path(paths.domain_dir("A"), "ending").touch()
        successor = adopt("A").pid
        wait_pid(pid)
        if successor:
            wait_pid(successor)
    assert leftovers() == []
    assert last_reason("A") == ("shut off", "destroyed")


def test_a_start_that_was_cut_off_is_rolled_back() -> None:
    with supervised(pair()) as supervisor:
        pids = [supervisor.pid(name) for name in "AB"]
        kill(supervisor)
        Path(paths.group_dir("A"), "starting").touch()

        adoption = adopt("A")

        assert adoption.pid is None
        assert "rolled back" in adoption.fate
        for pid in pids:
            wait_pid(pid)
    assert leftovers() == []


def test_bound_members_do_not_survive() -> None:
    with supervised(pair(), bind=True) as supervisor:
        pids = [supervisor.pid(name) for name in "AB"]
        kill(supervisor)
        for pid in pids:
            wait_pid(pid)
        assert "bound" in adopt("A").fate
    assert leftovers() == []
