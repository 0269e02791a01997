"""Real-time priority while a group is suspended or resumed: it is given back in the end."""

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from qsuper.control.adopt import adopt
from qsuper.errors import QsuperError
from qsuper.runtime.urgency import urgent
from tests.support.supervised import Supervisor, domain, group, supervised, wait_log, wait_pid

pytestmark = [pytest.mark.qemu, pytest.mark.usefixtures("rundir")]

FIFO = os.SCHED_FIFO | os.SCHED_RESET_ON_FORK
Policies = dict[int, tuple[int, int]]


def policies(*pids: int) -> Policies:
    """Give the policy and the priority of each thread, and of the one that runs the tests."""
    tasks = [each for pid in pids for each in Path(f"/proc/{pid}/task").iterdir()]
    threads = [os.getpid(), *(int(each.name) for each in tasks)]
    return {
        thread: (os.sched_getscheduler(thread), os.sched_getparam(thread).sched_priority)
        for thread in threads
    }


def vcpus(*pids: int) -> set[int]:
    tasks = [each for pid in pids for each in Path(f"/proc/{pid}/task").iterdir()]
    return {int(each.name) for each in tasks if (each / "comm").read_text().startswith("CPU ")}


@pytest.fixture
def busy() -> Iterator[tuple[Supervisor, list[int]]]:
    """Two guests that compute, and their pids; one has its vCPU scheduled in a way of its own."""
    if not may_raise():
        pytest.skip("takes CAP_SYS_NICE")
    with supervised(group([(domain("A", "busy"), ["B"])], [domain("B", "busy")])) as supervisor:
        for name in ("A", "B"):
            wait_log(name, "busy")
        pids = [supervisor.pid(name) for name in ("A", "B")]
        assert len(vcpus(*pids)) == 2
        os.sched_setscheduler(min(vcpus(*pids)), os.SCHED_BATCH, os.sched_param(0))
        yield supervisor, pids


def may_raise() -> bool:
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except PermissionError:
        return False
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    return True


@pytest.mark.parametrize("with_vcpus", [True, False])
def test_who_is_raised_and_how(busy: tuple[Supervisor, list[int]], *, with_vcpus: bool) -> None:
    _, pids = busy
    before = policies(*pids)
    assert all(policy < os.SCHED_FIFO or policy == os.SCHED_BATCH for policy, _ in before.values())
    with urgent(pids, vcpus=with_vcpus) as calm:
        now = policies(*pids)
        assert now[os.getpid()] == (FIFO, 3)
        for thread in vcpus(*pids):
            assert now.pop(thread) == ((FIFO, 1) if with_vcpus else before[thread])
        assert set(now.values()) == {(FIFO, 3), (FIFO, 2)}
        calm()
        assert policies(*pids) == before
    assert policies(*pids) == before


def test_two_at_once_give_back_what_was_before(busy: tuple[Supervisor, list[int]]) -> None:
    _, pids = busy
    before = policies(*pids)
    first, second = urgent(pids, vcpus=True), urgent(pids, vcpus=True)
    first.__enter__()
    with second:
        first.__exit__(None, None, None)
    assert policies(*pids) == before


def test_many_verbs_at_once_give_it_back(busy: tuple[Supervisor, list[int]]) -> None:
    supervisor, pids = busy
    own = supervisor.process.pid
    before = policies(own, *pids)
    with ThreadPoolExecutor(16) as pool:
        for verb in ("suspend", "resume") * 20:
            pool.submit(supervisor.ask, verb, domain="A")
    supervisor.ask("resume", domain="A")
    assert policies(own, *pids) == before


def test_a_successor_gives_it_back(busy: tuple[Supervisor, list[int]]) -> None:
    """Its predecessor was killed in the middle of a verb."""
    supervisor, pids = busy
    thread = max(vcpus(*pids))
    before = policies(*pids)
    os.sched_setscheduler(thread, FIFO, os.sched_param(1))
    supervisor.process.kill()
    supervisor.process.wait()
    successor = adopt("A").pid
    assert successor is not None
    assert policies(*pids) == before
    supervisor.ask("destroy", domain="A")
    wait_pid(successor)


def test_one_alone_is_left_as_it_is(busy: tuple[Supervisor, list[int]]) -> None:
    _, pids = busy
    before = policies(*pids)
    with urgent(pids[:1], vcpus=True):
        assert policies(*pids) == before


def test_who_hangs_keeps_nobody_raised(busy: tuple[Supervisor, list[int]]) -> None:
    supervisor, pids = busy
    before = policies(*pids)
    os.kill(pids[1], signal.SIGSTOP)
    try:
        with pytest.raises(QsuperError, match="B: QEMU's monitor gave no answer"):
            supervisor.ask("suspend", domain="A")
        assert policies(*pids) == before
    finally:
        os.kill(pids[1], signal.SIGCONT)
