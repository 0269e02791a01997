"""The supervisor is killed amid what a member's own end leads to: the successor goes on with it."""

import os
import signal
from pathlib import Path

import pytest

from qsuper import paths
from qsuper.control.adopt import adopt
from qsuper.control.client import Connection
from qsuper.options import Option
from qsuper.plan import Lifecycle, OnEnd
from qsuper.runtime.rundir import GOING
from qsuper.runtime.survivors import RESTARTING
from tests.support.orphans import kill, kill_at, known, last_reason, wait_removed
from tests.support.supervised import (
    domain,
    events,
    group,
    leftovers,
    log,
    pair,
    supervised,
    wait_file,
    wait_log,
    wait_pid,
    wait_ticks,
)

pytestmark = [pytest.mark.qemu, pytest.mark.usefixtures("nothing_left")]

PANIC = Option.word("device", "pvpanic")
RESTARTS = Lifecycle(on_crash=OnEnd.RESTART)
STAGES = ("marked", "qmp.sock", "argv.json", "qemu.pid", "over")
"""Of another QEMU after a crash: the mark is made, files are made anew, the mark is removed."""


def wait_gone(name: str) -> None:
    """Wait until nothing is left of a domain but what its supervisor knows."""
    wait_removed(Path(paths.domain_dir(name)))


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("name", ["A", "B"])
def test_killed_while_a_crashed_member_is_started_again(stage: str, name: str) -> None:
    plan = group([(domain("A", lifecycle=RESTARTS), ["B"])], [domain("B", lifecycle=RESTARTS)])
    with supervised(plan) as supervisor:
        (other,) = {"A", "B"} - {name}
        pids = {each: supervisor.pid(each) for each in "AB"}
        wait_ticks(name, 1)
        kill_at(supervisor, name, stage, why="crash")
        wait_pid(pids[name])

        adopt("A")

        wait_ticks(name, 2)
        assert supervisor.row(name)["state"] == "running"
        assert supervisor.pid(name) != pids[name]
        assert supervisor.pid(other) == pids[other]
        wait_ticks(other, 2)
        assert not Path(paths.domain_dir(name), RESTARTING).exists()
        supervisor.ask("destroy", domain="A")
    assert leftovers() == []


def test_who_was_never_let_run_is_not_let_run_by_a_successor() -> None:
    """As after `up --paused`."""
    plan = group([(domain("A", lifecycle=RESTARTS), [])])
    with supervised(plan, paused=True) as supervisor:
        kill_at(supervisor, "A", "argv.json", why="crash")

        adopt("A")

        assert supervisor.row("A")["state"] == "prelaunch"
        assert not log("A").exists() or not log("A").read_text()
        supervisor.ask("resume", domain="A")
        wait_ticks("A", 2)
        supervisor.ask("destroy", domain="A")
    assert leftovers() == []


@pytest.mark.parametrize("stage", ["marked", "over"])
@pytest.mark.parametrize(
    ("image", "says", "lifecycle"),
    [
        ("poweroff", "powering off", Lifecycle(on_poweroff=OnEnd.RESTART)),
        ("panic", "panicking", RESTARTS),
    ],
)
def test_killed_while_a_guest_is_reset(
    image: str, says: str, lifecycle: Lifecycle, stage: str
) -> None:
    plan = group([(domain("A", image, PANIC, lifecycle=lifecycle), [])])
    with supervised(plan, paused=True) as supervisor:
        pid = supervisor.pid("A")
        kill_at(supervisor, "A", stage, mark=GOING, why="resume")
        before = log("A").read_text().count(says)

        adopt("A")

        wait_file(log("A"), lambda: log("A").read_text().count(says) > before)
        assert supervisor.pid("A") == pid
        supervisor.ask("destroy", domain="A")
    assert leftovers() == []


def test_a_reset_without_its_end() -> None:
    """QEMU was reset, and nobody came to let it go: that very instant."""
    with supervised(pair()) as supervisor:
        wait_ticks("B", 3)
        kill(supervisor)
        Path(paths.domain_dir("B"), GOING).touch()
        with Connection(os.path.join(paths.domain_dir("B"), "monitor.sock"), "QEMU") as qemu:
            qemu.execute("stop")
            qemu.execute("system_reset")
            while qemu.execute("query-status")["status"] != "prelaunch":
                pass  # the reset is asynchronous

        adopt("A")

        wait_file(log("B"), lambda: log("B").read_bytes().count(b"tick 0\n") == 2)
        assert supervisor.row("B")["state"] == "running"
        assert not Path(paths.domain_dir("B"), GOING).exists()
        supervisor.ask("destroy", domain="A")


def test_a_reboot_goes_on() -> None:
    """The guest has not powered off yet when its supervisor dies."""
    with supervised(group([(domain("A", "powerbutton"), [])])) as supervisor:
        wait_log("A", "tick 3")
        pid = supervisor.pid("A")
        supervisor.ask("suspend", domain="A")
        supervisor.ask("reboot", domain="A")
        kill(supervisor)
        adopt("A")
        supervisor.ask("resume", domain="A")
        wait_file(log("A"), lambda: log("A").read_bytes().count(b"tick 0\n") == 2)
        assert supervisor.pid("A") == pid
        supervisor.ask("shutdown", domain="A")  # once again it is for good
        wait_pid(pid)
        wait_log("A", '"shut off"', "events.jsonl")
        assert last_reason("A") == ("shut off", "shutdown")


@pytest.mark.parametrize("who", ["A", "B"])
def test_a_shutdown_goes_on(who: str) -> None:
    """Killed before the primary has ended, or before its dependency has: both shut down."""
    plan = group([(domain("A", "powerbutton"), ["B"])], [domain("B", "powerbutton")])
    with supervised(plan) as supervisor:
        pids = {name: supervisor.pid(name) for name in "AB"}
        for name in "AB":
            wait_log(name, "tick 3")
        supervisor.ask("suspend", domain=who)
        supervisor.ask("shutdown", domain="A")
        if who == "B":
            wait_log("B", "POWERDOWN", "events.jsonl")
        kill(supervisor)
        adopt("A")
        supervisor.ask("resume", domain=who)
        for pid in pids.values():
            wait_pid(pid)
        wait_log("B", '"shut off"', "events.jsonl")
        assert last_reason("A") == last_reason("B") == ("shut off", "shutdown")


def test_what_had_ended_is_told_as_before() -> None:
    plan = group(
        [(domain("A"), ["B", "C", "D"])], [domain("B"), domain("C"), domain("D", "poweroff")]
    )
    with supervised(plan) as supervisor:
        os.kill(supervisor.pid("B"), signal.SIGKILL)
        supervisor.ask("destroy", domain="C")
        for name in "BCD":
            wait_gone(name)
        before = known(supervisor, *"BCD")
        kill(supervisor)

        adopt("A")

        assert known(supervisor, *"BCD") == before
        assert {name: (row["state"], row["reason"]) for name, row in before.items()} == {
            "B": ("crashed", "emulator ended"),
            "C": ("shut off", "destroyed"),
            "D": ("shut off", "shutdown"),
        }
        count = len(events("B"))
        supervisor.ask("destroy", domain="A")
        assert len(events("B")) == count
    assert leftovers() == []


def test_killed_between_a_panic_and_the_end_that_it_leads_to() -> None:
    """What ends a guest that panicked says so, whoever ends it."""
    preserved = Lifecycle(on_crash=OnEnd.PRESERVE)
    plan = group([(domain("A"), ["B"])], [domain("B", "panic", PANIC, lifecycle=preserved)])
    with supervised(plan) as supervisor:
        pid = supervisor.pid("B")
        wait_log("B", '"panicked"', "events.jsonl")
        kill(supervisor)
        Path(paths.domain_dir("B"), "ending").touch()

        adopt("A")

        wait_pid(pid)
        row = supervisor.row("B")
        assert (row["state"], row["reason"]) == ("crashed", "panicked")
        supervisor.ask("destroy", domain="A")
    assert leftovers() == []
