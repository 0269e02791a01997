"""What a power cut or dead supervisors left is removed, and nothing that lives."""

import os
import signal
import socket
from pathlib import Path

import pytest

from qsuper import paths
from qsuper.runtime import rundir
from qsuper.runtime.prune import Pruned, prune
from tests.support.supervised import leftovers, pair, supervised, wait_pid, wait_ticks


def test_nothing_to_do(rundir: Path) -> None:
    assert prune() == Pruned([], [])
    rundir.mkdir(mode=0o700)
    assert prune() == Pruned([], [])


@pytest.mark.qemu
def test_a_group_that_runs_is_left_alone() -> None:
    with supervised(pair()) as supervisor:
        before = leftovers()
        assert prune() == Pruned([], [])
        assert leftovers() == before
        wait_ticks("A", 2)
        assert supervisor.ask("destroy", domain="A")


@pytest.mark.qemu
def test_orphans_are_left_for_a_successor() -> None:
    with supervised(pair()) as supervisor:
        pids = {name: supervisor.pid(name) for name in "AB"}
        supervisor.process.kill()
        supervisor.process.wait()
        before = leftovers()
        assert prune() == Pruned([], ["A"])
        assert leftovers() == before

        os.kill(pids["B"], signal.SIGKILL)
        wait_pid(pids["B"])
        assert prune() == Pruned([], ["A"])

        os.kill(pids["A"], signal.SIGKILL)
        wait_pid(pids["A"])
        removed = [paths.domain_dir("A"), paths.domain_dir("B"), paths.group_dir("A")]
        assert prune() == Pruned(removed, [])
        assert leftovers() == []


def test_directories_that_were_never_furnished() -> None:
    for path in (paths.group_dir("g"), paths.domain_dir("d")):
        place = rundir.Rundir.claim(path)
        assert place
        place.abandon()
    os.symlink("../../groups/nobody", os.path.join(paths.domain_dir("d"), "group"))

    assert prune().removed == [paths.group_dir("g"), paths.domain_dir("d")]
    assert leftovers() == []


def test_a_directory_that_is_locked_stays() -> None:
    place = rundir.claim_domain("d", "g")
    assert prune() == Pruned([], [])
    place.release()


def test_a_directory_that_does_not_exist_yet_is_not_in_the_way_of_a_file(rundir: Path) -> None:
    """What is no directory of ours is nobody's business."""
    (rundir / "groups").mkdir(parents=True, mode=0o700)
    rundir.chmod(0o700)
    (rundir / "groups" / "file").touch()
    (rundir / "groups" / "link").symlink_to(rundir)
    (rundir / "note.sock").touch()

    assert prune() == Pruned([], [])


def test_hashed_sockets(rundir: Path) -> None:
    """A dead one goes; one that is bound, though nobody listens yet, stays."""
    rundir.mkdir(mode=0o700)
    dead, bound, listening = (str(rundir / f"{digit * 16}.sock") for digit in "abc")
    with socket.socket(socket.AF_UNIX) as first:
        first.bind(dead)
    with socket.socket(socket.AF_UNIX) as second, socket.socket(socket.AF_UNIX) as third:
        second.bind(bound)
        third.bind(listening)
        third.listen()
        assert prune() == Pruned([dead], [])
        assert sorted(map(str, rundir.iterdir())) == [bound, listening]
    assert prune().removed == [bound, listening]
