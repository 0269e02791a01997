"""The supervisor is killed at each stage of a start: all of it runs in the end, or none of it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from qsuper import paths
from qsuper.control.adopt import adopt
from qsuper.runtime.inotify import IN_CREATE, IN_MOVED_TO, Inotify
from qsuper.runtime.survivors import survivor
from tests.support.supervised import Supervisor, leftovers, pair, readable, supervised, wait_ticks

pytestmark = pytest.mark.qemu

STAGES = (
    "groups/A/supervisor.pid",
    "groups/A/control.sock",
    "domains/A/lock",
    "domains/B/group",
    "groups/A/starting",
    "groups/A/settings.json",
    "groups/A/plan.json",
    "domains/B/qmp.sock",
    "domains/B/argv.json",
    "domains/B/qemu.pid",
    "domains/A/argv.json",
    "domains/A/qemu.pid",
)


@pytest.fixture
def killed(rundir: Path, request: pytest.FixtureRequest) -> Iterator[Supervisor]:
    """Give a supervisor that was killed as soon as a file was there."""
    places = [rundir / name for name in ("groups/A", "domains/A", "domains/B")]
    for place in (rundir, *places):
        place.mkdir(parents=True, exist_ok=True)
        place.chmod(0o700)
        place.parent.chmod(0o700)
    with Inotify() as changes:
        for place in places:
            changes.watch(str(place), IN_CREATE | IN_MOVED_TO)
        with Supervisor(pair(), detached=True) as supervisor:
            while not os.path.lexists(rundir / request.param):
                readable(changes.fileno())
                changes.read()
            supervisor.process.kill()
            supervisor.process.wait()
            yield supervisor


@pytest.mark.parametrize("killed", STAGES, indirect=True)
def test_killed_while_it_starts(killed: Supervisor) -> None:
    adoption = adopt("A")

    if adoption.pid is None:
        assert [survivor(paths.domain_dir(name)) for name in "AB"] == [None, None]
        assert leftovers() == []
    else:  # the members had been let go when the kill came
        assert adoption.domains == ("B", "A")
        wait_ticks("A", 2)
        killed.ask("destroy", domain="A")
    with supervised(pair()) as again:  # the names are free
        wait_ticks("B", 2)
        again.ask("destroy", domain="A")
    assert leftovers() == []


def test_list_right_after_the_kill(rundir: Path) -> None:
    """The truth at once, without a supervisor."""
    with supervised(pair()) as supervisor:
        pids = {name: supervisor.pid(name) for name in "AB"}
        supervisor.process.kill()
        supervisor.process.wait()
        done = subprocess.run(
            [sys.executable, "-m", "qsuper", "list"], capture_output=True, text=True, check=True
        )
        for name, pid in pids.items():
            assert f"{name}     running" in done.stdout
            assert str(pid) in done.stdout
        adopt("A")
        supervisor.ask("destroy", domain="A")
