"""Members that hang: how soon it is known, and whom it delays."""

import os
import signal
import threading
import time

import pytest

from qsuper.errors import TimedOutError
from tests.support.supervised import (
    domain,
    events,
    group,
    leftovers,
    log,
    pair,
    supervised,
    wait_file,
    wait_ticks,
)

pytestmark = pytest.mark.qemu

SOON_S = 2.0
"""On a loaded test host; some 20 ms otherwise."""


def changes(name: str) -> list[tuple[str, str]]:
    details = [each["detail"] for each in events(name) if each["event"] == "STATE_CHANGED"]
    return [(each["state"], each["reason"]) for each in details]


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
        wait_file(log("B", "events.jsonl"), lambda: ("crashed", "emulator ended") in changes("B"))
        assert at_of("B", ("crashed", "emulator ended")) - killed_s < SOON_S


def test_silence_is_noticed_after_a_look_and_so_is_its_end() -> None:
    """`list` waits for nobody; what it asked goes unanswered for 2 s, and that is an event."""
    with supervised(pair()) as supervisor:
        pid = supervisor.pid("B")
        os.kill(pid, signal.SIGSTOP)
        began_s = time.monotonic()
        supervisor.ask("list")
        assert time.monotonic() - began_s < SOON_S
        silent = ("unresponsive", "monitor does not answer")
        wait_file(log("B", "events.jsonl"), lambda: silent in changes("B"))
        assert supervisor.state("B") == "unresponsive"

        os.kill(pid, signal.SIGCONT)

        wait_file(log("B", "events.jsonl"), lambda: changes("B")[-1][0] == "running")
        assert supervisor.state("B") == "running"
        assert [each for each in changes("A") if each == silent] == []


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
