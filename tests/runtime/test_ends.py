"""Members that end or hang by themselves, and what follows."""

import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest

from qsuper.errors import TimedOutError
from qsuper.host import saved
from qsuper.options import Option
from qsuper.plan import Lifecycle, OnEnd
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
    wait_state,
    wait_ticks,
)

pytestmark = pytest.mark.qemu

PANIC = Option.word("device", "pvpanic")
DEBUG_EXIT = Option.word("device", "isa-debug-exit,iobase=0xf4,iosize=0x04")


def last_state(name: str) -> dict[str, str]:
    """Give the last state that the log has, with its reason."""
    changes = [event["detail"] for event in events(name) if event["event"] == "STATE_CHANGED"]
    return dict(changes[-1])


def test_a_primary_that_powers_off_takes_its_dependencies_along() -> None:
    plan = group([(domain("A", "poweroff"), ["B"])], [domain("B")])
    with supervised(plan) as supervisor:
        assert supervisor.wait_ended() == 0
        assert "powering off" in log("A").read_text()
        assert last_state("B") == {"state": "shut off", "reason": "destroyed"}
        assert last_state("A") == {"state": "shut off", "reason": "shutdown"}
    assert leftovers() == []


def test_keep_dependencies() -> None:
    plan = group([(domain("A", "poweroff"), ["B"])], [domain("B")])
    with supervised(plan, keep_dependencies=True) as supervisor:
        wait_state("A", "shut off")
        wait_ticks("B", 3)
        assert supervisor.state("A") == "shut off"
        assert supervisor.ask("destroy", domain="B")["domains"] == {"B": "shut off"}
        assert supervisor.wait_ended() == 0


def test_a_dependency_that_powers_off() -> None:
    plan = group([(domain("A"), ["B"])], [domain("B", "poweroff")])
    with supervised(plan) as supervisor:
        wait_state("B", "shut off")
        wait_ticks("A", 3)
        assert supervisor.row("B")["pid"] is None


def test_on_poweroff_restart() -> None:
    plan = domain("A", "poweroff", lifecycle=Lifecycle(on_poweroff=OnEnd.RESTART))
    with supervised(group([(plan, [])])) as supervisor:
        pid = supervisor.pid("A")
        wait_file(log("A"), lambda: log("A").read_text().count("powering off") >= 3)
        assert supervisor.pid("A") == pid


def test_on_poweroff_preserve() -> None:
    plan = domain("A", "poweroff", lifecycle=Lifecycle(on_poweroff=OnEnd.PRESERVE))
    with supervised(group([(plan, [])])) as supervisor:
        wait_state("A", "in shutdown")
        assert supervisor.state("A") == "in shutdown"
        supervisor.ask("destroy", domain="A")
        assert supervisor.wait_ended() == 0


@pytest.mark.parametrize(("on_reboot", "times"), [(OnEnd.RESTART, 3), (OnEnd.DESTROY, 1)])
def test_on_reboot(on_reboot: OnEnd, times: int) -> None:
    plan = domain("A", "reboot", lifecycle=Lifecycle(on_reboot=on_reboot))
    with supervised(group([(plan, [])])) as supervisor:
        wait_file(log("A"), lambda: log("A").read_text().count("rebooting") >= times)
        if on_reboot is OnEnd.DESTROY:
            assert supervisor.wait_ended() == 0
            assert log("A").read_text().count("rebooting") == 1
        else:
            assert supervisor.state("A") == "running"


@pytest.mark.parametrize(
    ("image", "says", "lifecycle"),
    [
        ("poweroff", "powering off", Lifecycle(on_poweroff=OnEnd.RESTART, on_reboot=OnEnd.DESTROY)),
        ("panic", "panicking", Lifecycle(on_crash=OnEnd.RESTART, on_reboot=OnEnd.DESTROY)),
    ],
)
def test_a_restart_where_a_reboot_is_the_end(image: str, says: str, lifecycle: Lifecycle) -> None:
    """QEMU would end at a reset, and SeaBIOS makes one of its own: so it is another QEMU."""
    plan = group([(domain("A"), ["B"])], [domain("B", image, PANIC, lifecycle=lifecycle)])
    with supervised(plan) as supervisor:
        wait_file(log("B"), lambda: log("B").read_text().count(says) >= 2)
        supervisor.ask("destroy", domain="A")
        reasons = [event["detail"].get("reason") for event in events("B")]
        assert reasons.count("restarting") >= 1
        assert "host-qmp-system-reset" not in reasons
    assert leftovers() == []


def test_a_reset_where_a_reboot_is_the_end() -> None:
    lifecycle = Lifecycle(on_poweroff=OnEnd.RESTART, on_reboot=OnEnd.DESTROY)
    with supervised(group([(domain("A", lifecycle=lifecycle), [])])) as supervisor:
        wait_ticks("A", 1)
        supervisor.ask("reset", domain="A")
        assert supervisor.wait_ended() == 0
        assert last_state("A") == {"state": "shut off", "reason": "shutdown"}


def test_on_crash_destroy() -> None:
    plan = group([(domain("A", "panic", PANIC), ["B"])], [domain("B")])
    with supervised(plan) as supervisor:
        assert supervisor.wait_ended() == 1
        assert last_state("A") == {"state": "crashed", "reason": "panicked"}
    assert leftovers() == []


def test_on_crash_preserve() -> None:
    plan = domain("A", "panic", PANIC, lifecycle=Lifecycle(on_crash=OnEnd.PRESERVE))
    with supervised(group([(plan, [])])) as supervisor:
        wait_state("A", "crashed")
        row = supervisor.row("A")
        assert (row["state"], row["reason"]) == ("crashed", "panicked")
        assert row["pid"] is not None


def test_on_crash_restart_of_a_guest() -> None:
    plan = domain("A", "panic", PANIC, lifecycle=Lifecycle(on_crash=OnEnd.RESTART))
    with supervised(group([(plan, [])])) as supervisor:
        pid = supervisor.pid("A")
        wait_file(log("A"), lambda: log("A").read_text().count("panicking") >= 2)
        assert supervisor.pid("A") == pid


def test_coredump_destroy() -> None:
    plan = domain("A", "panic", PANIC, lifecycle=Lifecycle(on_crash=OnEnd.COREDUMP_DESTROY))
    with supervised(group([(plan, [])])) as supervisor:
        assert supervisor.wait_ended() == 1
        (core,) = log("A").parent.glob("core-*")
        assert core.read_bytes()[:4] == b"\x7fELF"
        assert core.stat().st_mode & 0o077 == 0


def test_a_killed_emulator_is_a_crash() -> None:
    with supervised(pair()) as supervisor:
        os.kill(supervisor.pid("A"), signal.SIGKILL)
        assert supervisor.wait_ended() == 1
        ended = next(event for event in events("A") if event["event"] == "EMULATOR_ENDED")
        assert ended["detail"]["status"] == -signal.SIGKILL
        assert last_state("A") == {"state": "crashed", "reason": "emulator ended"}
    assert leftovers() == []


def test_a_killed_dependency_leaves_its_primary_alone() -> None:
    with supervised(pair()) as supervisor:
        os.kill(supervisor.pid("B"), signal.SIGKILL)
        wait_state("B", "crashed")
        wait_ticks("A", 3)
        assert supervisor.state("B") == "crashed"


def test_a_terminated_emulator_is_no_crash() -> None:
    """Who sends SIGTERM to a QEMU means it."""
    with supervised(pair()) as supervisor:
        os.kill(supervisor.pid("A"), signal.SIGTERM)
        assert supervisor.wait_ended() == 0
        assert last_state("A") == {"state": "shut off", "reason": "destroyed"}


def test_on_crash_restart_of_an_emulator() -> None:
    """Killed, it comes back at once; the second time after a second."""
    plan = group(
        [(domain("A"), ["B"])],
        [domain("B", lifecycle=Lifecycle(on_crash=OnEnd.RESTART))],
    )
    with supervised(plan) as supervisor:
        pids = [supervisor.pid("B")]
        for _ in range(2):
            os.kill(pids[-1], signal.SIGKILL)
            wait_pid(pids[-1])
            wait_ticks("B", 3)
            pids.append(supervisor.pid("B"))
        assert len(set(pids)) == 3
        assert supervisor.state("B") == "running"
        # It obeys as before.
        answer = supervisor.ask("suspend", domain="A")
        assert answer["domains"] == {"A": "paused", "B": "paused"}
        assert answer["skew_us"] is not None
        supervisor.ask("destroy", domain="A")
        assert supervisor.wait_ended() == 0
        delays = [event for event in events("B") if event["detail"].get("state") == "crashed"]
        assert len(delays) >= 2
    assert leftovers() == []


def test_who_was_restored_and_crashes(tmp_path: Path) -> None:
    """It has run, if not in this QEMU: it runs again, as one that is suspended does."""
    directory = str(tmp_path / "saved")
    plan = group([(domain("A", lifecycle=Lifecycle(on_crash=OnEnd.RESTART)), [])])
    with supervised(plan) as supervisor:
        wait_ticks("A", 1)
        supervisor.ask("suspend", domain="A")
        supervisor.ask("save", domain="A", directory=directory)
        assert supervisor.wait_ended() == 0
    with supervised(saved.load(directory)) as supervisor:
        assert supervisor.state("A") == "paused"
        os.kill(supervisor.pid("A"), signal.SIGKILL)
        wait_file(log("A"), lambda: log("A").read_bytes().count(b"tick 0\n") == 2)
        assert supervisor.row("A")["reason"] == "restarted"
        supervisor.ask("destroy", domain="A")
        assert supervisor.wait_ended() == 0
    assert leftovers() == []


def test_a_destroy_while_waiting_to_restart() -> None:
    plan = domain("A", "exit", DEBUG_EXIT, lifecycle=Lifecycle(on_crash=OnEnd.RESTART))
    with supervised(group([(plan, [])])) as supervisor:
        wait_file(log("A"), lambda: log("A").read_text().count("exit 43") >= 2)
        with suppress(ConnectionError):
            supervisor.ask("destroy", domain="A")
        assert supervisor.wait_ended() == 0
    assert leftovers() == []


def test_exit_from() -> None:
    plan = group([(domain("A"), ["B"])], [domain("B", "exit", DEBUG_EXIT)])
    with supervised(plan, exit_from="B") as supervisor:
        assert supervisor.wait_ended() == 43
    assert leftovers() == []


def test_a_hung_member_delays_nobody() -> None:
    """B is stopped by a signal: suspend of A reaches A, names B and fails; B obeys later."""
    with supervised(pair()) as supervisor:
        os.kill(supervisor.pid("B"), signal.SIGSTOP)
        with pytest.raises(TimedOutError, match=r"^B: .* within 2 s \(A is paused\)"):
            supervisor.ask("suspend", domain="A")
        assert supervisor.state("A") == "paused"
        assert supervisor.state("B") == "unresponsive"
        os.kill(supervisor.pid("B"), signal.SIGCONT)
        wait_state("B", "paused")
        supervisor.ask("resume", domain="A")
        wait_ticks("B", 2)


def test_a_hung_member_can_be_destroyed() -> None:
    with supervised(pair()) as supervisor:
        os.kill(supervisor.pid("B"), signal.SIGSTOP)
        assert supervisor.ask("destroy", domain="A")["domains"] == {
            "A": "shut off",
            "B": "shut off",
        }
        assert supervisor.wait_ended() == 0
    assert leftovers() == []


def test_shutdown_of_a_primary_then_of_its_dependencies() -> None:
    plan = group([(domain("A", "powerbutton"), ["B"])], [domain("B", "powerbutton")])
    with supervised(plan) as supervisor:
        wait_log("A", "tick ")
        wait_log("B", "tick ")
        assert supervisor.ask("shutdown", domain="A")["domains"] == {"A": "running"}
        assert supervisor.wait_ended() == 0
        ends = {name: events(name)[-1] for name in "AB"}
        assert all(end["detail"]["reason"] == "shutdown" for end in ends.values())
        assert ends["A"]["time"] < ends["B"]["time"]
        assert "power button" in log("B").read_text()


def test_a_primary_that_crashes_after_it_was_asked_to_shut_down() -> None:
    """It has no power button; nor has its dependency, which would outlive it."""
    with supervised(pair()) as supervisor:
        wait_ticks("B", 1)
        supervisor.ask("shutdown", domain="A")
        os.kill(supervisor.pid("A"), signal.SIGKILL)
        assert supervisor.wait_ended() == 1
        assert last_state("A") == {"state": "crashed", "reason": "emulator ended"}
        assert last_state("B") == {"state": "shut off", "reason": "destroyed"}
    assert leftovers() == []


def test_shutdown_of_a_dependency() -> None:
    plan = group([(domain("A"), ["B"])], [domain("B", "powerbutton")])
    with supervised(plan) as supervisor:
        wait_log("B", "tick ")
        supervisor.ask("shutdown", domain="B")
        wait_state("B", "shut off")
        wait_ticks("A", 2)


def test_down_destroys_who_does_not_obey() -> None:
    plan = group([(domain("A"), ["B"])], [domain("B", "powerbutton")])
    with supervised(plan) as supervisor:
        wait_log("B", "tick ")
        answer = supervisor.ask("down", domain="A", timeout=1)
        assert answer["domains"] == {"A": "shut off", "B": "shut off"}
        assert answer["destroyed"] == ["A"]
        assert "power button" in log("B").read_text()


def test_reboot_where_that_is_the_end() -> None:
    """The guest powers off, and that is it."""
    plan = domain("A", "powerbutton", lifecycle=Lifecycle(on_reboot=OnEnd.DESTROY))
    with supervised(group([(plan, [])])) as supervisor:
        wait_log("A", "tick 3")
        supervisor.ask("reboot", domain="A")
        assert supervisor.wait_ended() == 0
        assert last_state("A") == {"state": "shut off", "reason": "shutdown"}


def test_reboot() -> None:
    """The guest powers off, and the machine starts again: the same QEMU."""
    with supervised(group([(domain("A", "powerbutton"), [])])) as supervisor:
        wait_log("A", "tick 3")
        pid = supervisor.pid("A")
        supervisor.ask("reboot", domain="A")
        wait_file(log("A"), lambda: log("A").read_bytes().count(b"tick 0\n") >= 2)
        assert supervisor.pid("A") == pid
        assert supervisor.state("A") == "running"
