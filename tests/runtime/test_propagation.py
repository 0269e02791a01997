"""What is done to a primary is done to its dependencies, seen in the guests themselves.

A further primary C ticks all the time: it is the clock by which "does not tick" is told.
"""

from collections.abc import Generator

import pytest

from qsuper.errors import QsuperError
from tests.support.supervised import (
    Supervisor,
    domain,
    events,
    group,
    leftovers,
    supervised,
    ticks,
    wait_pid,
    wait_ticks,
)

pytestmark = pytest.mark.qemu


@pytest.fixture
def two() -> Generator[Supervisor]:
    """A needs B; C is the clock."""
    plan = group([(domain("A"), ["B"]), (domain("C"), [])], [domain("B")])
    with supervised(plan) as supervisor:
        yield supervisor


@pytest.fixture
def shared() -> Generator[Supervisor]:
    """A needs B and D, C needs D."""
    plan = group([(domain("A"), ["B", "D"]), (domain("C"), ["D"])], [domain("B"), domain("D")])
    with supervised(plan) as supervisor:
        yield supervisor


def assert_still(*names: str) -> None:
    """These do not tick while C does."""
    before = {name: ticks(name) for name in names}
    wait_ticks("C", 10)
    assert {name: ticks(name) for name in names} == before


def test_dependencies_tick_when_their_primary_is_up(two: Supervisor) -> None:
    for name in "ABC":
        wait_ticks(name, 2)
        assert two.state(name) == "running"


def test_suspend_of_a_primary(two: Supervisor) -> None:
    wait_ticks("A", 1)
    answer = two.ask("suspend", domain="A")
    assert answer["domains"] == {"A": "paused", "B": "paused"}
    assert 0 <= answer["skew_us"] < 1_000_000
    assert_still("A", "B")
    assert two.state("C") == "running"
    assert two.row("A")["reason"] == "user"

    answer = two.ask("resume", domain="A")
    assert answer["domains"] == {"A": "running", "B": "running"}
    wait_ticks("A", 3)
    wait_ticks("B", 3)
    skews = [event["detail"]["skew_us"] for event in events("A") if "GROUP" in event["event"]]
    assert len(skews) == 2
    assert all(isinstance(skew, int) for skew in skews)


def test_suspend_of_a_dependency(two: Supervisor) -> None:
    wait_ticks("B", 1)
    assert two.ask("suspend", domain="B") == {"domains": {"B": "paused"}, "skew_us": None}
    assert_still("B")
    wait_ticks("A", 3)
    # Resume of A resumes B too.
    assert two.ask("resume", domain="A")["domains"] == {"A": "running", "B": "running"}
    wait_ticks("B", 3)


def test_destroy_of_a_primary(two: Supervisor) -> None:
    pids = {name: two.pid(name) for name in "AB"}
    answer = two.ask("destroy", domain="A")
    assert answer == {"domains": {"A": "shut off", "B": "shut off"}, "spared": []}
    for pid in pids.values():
        wait_pid(pid)
    wait_ticks("C", 2)
    assert [path for path in leftovers() if path.startswith(("domains/A", "domains/B"))] == []


def test_destroy_of_a_dependency(two: Supervisor) -> None:
    assert two.ask("destroy", domain="B")["domains"] == {"B": "shut off"}
    wait_ticks("A", 3)
    with pytest.raises(QsuperError, match=r"'B' is not running: shut off"):
        two.ask("suspend", domain="B")


def test_the_supervisor_ends_with_its_last_member(two: Supervisor) -> None:
    two.ask("destroy", domain="A")
    two.ask("destroy", domain="C")
    # The names are free as soon as the answer is there.
    assert leftovers() == []
    assert two.wait_ended() == 0


def test_what_others_need_is_spared(shared: Supervisor) -> None:
    answer = shared.ask("destroy", domain="A")
    assert answer == {"domains": {"A": "shut off", "B": "shut off"}, "spared": ["D"]}
    wait_ticks("D", 3)
    assert shared.ask("destroy", domain="C")["spared"] == []
    assert shared.wait_ended() == 0


def test_suspend_and_resume_are_literal(shared: Supervisor) -> None:
    """A dependency that two need is paused with either, and goes on with either."""
    assert shared.ask("suspend", domain="A")["domains"].keys() == {"A", "B", "D"}
    assert_still("A", "B", "D")
    assert shared.ask("resume", domain="C")["domains"] == {"C": "running", "D": "running"}
    wait_ticks("D", 2)
    assert_still("A", "B")


def test_reset_propagates_only_when_told(two: Supervisor) -> None:
    wait_ticks("B", 1)
    assert two.ask("reset", domain="A")["domains"].keys() == {"A"}
    assert two.ask("reset", domain="A", group=True)["domains"].keys() == {"A", "B"}
    wait_ticks("A", 3)
    wait_ticks("B", 3)
