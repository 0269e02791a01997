"""Many members in one group, and many commands at once."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.support.supervised import (
    PATIENCE_S,
    domain,
    group,
    leftovers,
    pair,
    supervised,
    wait_ticks,
)

pytestmark = pytest.mark.qemu

MEMBERS = 64
COMMANDS = 50


def test_sixty_four_members() -> None:
    needs = [f"B{number:02}" for number in range(MEMBERS - 1)]
    plan = group([(domain("A"), needs)], [domain(name) for name in needs])
    with supervised(plan) as supervisor:
        rows = supervisor.ask("list")["domains"]
        assert len({row["pid"] for row in rows}) == MEMBERS
        assert {row["state"] for row in rows} == {"running"}
        wait_ticks("A", 2)
        answer = supervisor.ask("suspend", domain="A")
        assert Counter(answer["domains"].values()) == {"paused": MEMBERS}
        assert Counter(supervisor.ask("resume", domain="A")["domains"].values()) == {
            "running": MEMBERS
        }
        wait_ticks(needs[-1], 2)
        answer = supervisor.ask("destroy", domain="A")
        assert Counter(answer["domains"].values()) == {"shut off": MEMBERS}
    assert leftovers() == []


def test_fifty_commands_at_once() -> None:
    """Each gets an answer, and the group ends up as one of them wants it."""
    with supervised(pair()) as supervisor:
        commands = [
            subprocess.Popen(
                [sys.executable, "-m", "qsuper", ("suspend", "resume")[number % 2], "A"],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for number in range(COMMANDS)
        ]
        said = [command.communicate(timeout=2 * PATIENCE_S) for command in commands]
        assert [command.returncode for command in commands] == [0] * COMMANDS, said
        states = {supervisor.state(name) for name in "AB"}
        assert states in ({"running"}, {"paused"})
        for name in "AB":
            answer = supervisor.ask("qmp", domain=name, command={"execute": "query-status"})
            assert {answer["status"]} == states
        supervisor.ask("resume", domain="A")
        wait_ticks("B", 2)


def test_destroyed_by_many_at_once(rundir: Path) -> None:
    """The first ones do it; those who come too late are told that there is no such domain."""
    with supervised(pair()):
        words = [sys.executable, "-m", "qsuper", "destroy", "A", "--format", "json"]
        commands = [
            subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            for _ in range(10)
        ]
        for command in commands:
            out, err = command.communicate(timeout=PATIENCE_S)
            (result,) = json.loads(out)["results"]
            if command.returncode == 0:
                assert result["domains"]["A"] == "shut off"
            else:
                assert command.returncode == 1
                assert "A" in result["error"], err
        assert 0 in [command.returncode for command in commands]
    assert leftovers() == []
