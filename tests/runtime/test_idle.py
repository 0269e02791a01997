"""What the supervisor costs when nothing happens, and how close a group comes."""

import os
from pathlib import Path

import pytest

from tests.support.supervised import domain, group, pair, supervised, wait_ticks

pytestmark = pytest.mark.qemu


def switches(pid: int) -> int:
    """Give how often a process' threads have been switched in."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        for line in (task / "status").read_text().splitlines():
            if "ctxt_switches" in line:
                total += int(line.split()[1])
    return total


def test_no_wakeups_while_nothing_happens() -> None:
    with supervised(pair()) as supervisor:
        wait_ticks("A", 5)
        before = switches(supervisor.process.pid)
        wait_ticks("A", 25)
        assert switches(supervisor.process.pid) == before


def test_memory() -> None:
    with supervised(pair()) as supervisor:
        status = Path(f"/proc/{supervisor.process.pid}/status").read_text()
        (resident,) = (line for line in status.splitlines() if line.startswith("VmRSS"))
        assert int(resident.split()[1]) < 45 * 1024


def test_nobody_is_left_at_a_special_priority() -> None:
    """Suspending busy guests measures their skew; how small it is, the benchmark says."""
    names = ["B", "C", "D"]
    plan = group([(domain("A", "flood"), names)], [domain(name, "flood") for name in names])
    with supervised(plan) as supervisor:
        for _ in range(3):
            assert supervisor.ask("suspend", domain="A")["skew_us"] >= 0
            supervisor.ask("resume", domain="A")
        for name in "ABCD":
            for task in Path(f"/proc/{supervisor.pid(name)}/task").iterdir():
                assert os.sched_getscheduler(int(task.name)) == os.SCHED_OTHER
        assert os.sched_getscheduler(supervisor.process.pid) == os.SCHED_OTHER
