"""Members that hang: how soon it is known, and whom it delays."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Generator

import pytest

from qsuper import paths
from qsuper.control.client import Connection
from qsuper.errors import TimedOutError
from qsuper.options import Option
from qsuper.plan import Lifecycle, OnEnd
from tests.support.supervised import (
    domain,
    events,
    group,
    leftovers,
    log,
    pair,
    readable,
    states,
    supervised,
    wait_event,
    wait_file,
    wait_states,
    wait_ticks,
)

pytestmark = pytest.mark.qemu

SILENT = ("unresponsive", "monitor does not answer")
STOPPED = ("unresponsive", "stopped by a signal")
SOON_S = 2.0
"""On a loaded test host; some 20 ms otherwise."""


def at_of(name: str, wanted: tuple[str, str]) -> float:
    found = [
        each["time"]
        for each in events(name)
        if each["event"] == "STATE_CHANGED"
        and (each["detail"]["state"], each["detail"]["reason"]) == wanted
    ]
    return float(found[-1])


def test_a_killed_member_is_known_at_once() -> None:
    plan = group([(domain("A"), ["B"])], [domain("B")])
    with supervised(plan) as supervisor:
        wait_ticks("B", 2)
        killed_s = time.time()
        os.kill(supervisor.pid("B"), signal.SIGKILL)
        wait_states("B", lambda found: ("crashed", "emulator ended") in found)
        assert at_of("B", ("crashed", "emulator ended")) - killed_s < SOON_S


@contextlib.contextmanager
def silent(name: str) -> Generator[None]:
    """Have a QEMU wait, in the middle of a command, for a reader who comes at the end."""
    fifo = log(name, "fifo")
    os.mkfifo(fifo)
    with Connection(os.path.join(paths.domain_dir(name), "monitor.sock"), "QEMU") as qemu:
        qemu.send("pmemsave", {"val": 0, "size": 16, "filename": str(fifo)})
        yield
        reader = os.open(fifo, os.O_RDONLY)
        readable(reader)
        os.close(reader)


def test_silence_is_noticed_after_a_look_and_so_is_its_end() -> None:
    """`list` waits for nobody; what it asked goes unanswered for 2 s, and that is an event."""
    with supervised(pair()) as supervisor:
        with silent("B"):
            while SILENT not in states("B"):  # the first time it may have answered yet
                began_s = time.monotonic()
                supervisor.ask("list")
                assert time.monotonic() - began_s < SOON_S
            row = supervisor.row("B")
            assert (row["state"], row["reason"]) == SILENT
        wait_states("B", lambda found: found[-1][0] == "running")
        assert supervisor.state("B") == "running"
        assert SILENT not in states("A")


def test_a_signal_that_stops_is_told_without_a_look_and_so_is_the_next() -> None:
    with supervised(pair()) as supervisor:
        pid = supervisor.pid("B")
        for _ in range(2):
            began_s = time.time()
            os.kill(pid, signal.SIGSTOP)
            wait_states("B", lambda found: found[-1] == STOPPED)
            assert at_of("B", STOPPED) - began_s < SOON_S
            row = supervisor.row("B")
            assert (row["state"], row["reason"]) == STOPPED
            os.kill(pid, signal.SIGCONT)
            wait_states("B", lambda found: found[-1][0] == "running")
        assert states("B").count(STOPPED) == 2
        assert [state for state, _ in states("A")] == ["running"]


def test_a_decision_that_came_too_early_is_made_up_for() -> None:
    """B panics and is stopped: it cannot be reset now, but is once it goes on."""
    lifecycle = Lifecycle(on_crash=OnEnd.RESTART)
    plan = group(
        [(domain("A"), ["B"])],
        [domain("B", "panic", Option.word("device", "pvpanic"), lifecycle=lifecycle)],
    )
    with supervised(plan) as supervisor:
        pid = supervisor.pid("B")
        wait_event("B", "GUEST_PANICKED", 4)  # what it prints comes before
        os.kill(pid, signal.SIGSTOP)  # while the next reset has to wait for 4 s
        wait_event("B", "RESTART_FAILED")
        before = log("B").read_text().count("panicking")
        os.kill(pid, signal.SIGCONT)
        wait_file(log("B"), lambda: log("B").read_text().count("panicking") > before)
        assert supervisor.pid("B") == pid


def test_a_member_that_hangs_delays_nobody_else() -> None:
    plan = group([(domain("A"), []), (domain("H"), [])])
    with supervised(plan) as supervisor:
        os.kill(supervisor.pid("H"), signal.SIGSTOP)
        hanging = threading.Thread(target=_suspend_in_vain, args=(supervisor,))
        hanging.start()
        began_s = time.monotonic()
        for _ in range(5):
            supervisor.ask("suspend", domain="A")
            supervisor.ask("resume", domain="A")
            supervisor.ask("info", domain="A")
        assert time.monotonic() - began_s < SOON_S
        assert hanging.is_alive() or time.monotonic() - began_s < SOON_S
        hanging.join()
        supervisor.ask("destroy", domain="H")
        supervisor.ask("destroy", domain="A")
    assert leftovers() == []


def _suspend_in_vain(supervisor: object) -> None:
    with pytest.raises(TimedOutError):
        supervisor.ask("suspend", domain="H")  # type: ignore[attr-defined]


def test_down_of_a_member_that_hangs_is_bounded() -> None:
    with supervised(pair()) as supervisor:
        for name in "AB":
            os.kill(supervisor.pid(name), signal.SIGSTOP)
        began_s = time.monotonic()
        answer = supervisor.ask("down", domain="A", timeout=1)
        assert time.monotonic() - began_s < 10
        assert set(answer["domains"].values()) == {"shut off"}
    assert leftovers() == []
