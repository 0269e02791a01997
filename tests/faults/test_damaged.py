"""Damaged files in the runtime directory, those of another version, and a disk that fills."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.support.lab import Lab, kill

pytestmark = pytest.mark.qemu

_OTHER_VERSION = (
    '{"$class": "GroupPlan", "members": [{"$class": "Marsupial", "plan":'
    ' {"name": "A", "uuid": "1"}, "role": {"$enum": ["Role", "primary"]}}]}'
)
_DAMAGES = [
    ("groups/A/plan.json", ""),
    ("groups/A/plan.json", "{"),
    ("groups/A/plan.json", "\0" * 4096),
    ("groups/A/plan.json", "[" * 100_000),
    ("groups/A/plan.json", _OTHER_VERSION),
    ("groups/A/settings.json", "{"),
    ("groups/A/settings.json", '{"a setting of the future": 1}'),
]


@pytest.fixture
def group(lab: Lab) -> Generator[Lab]:
    lab.domain("B")
    done = lab.run("up", "-d", lab.domain("A", "B"))
    assert done.status == 0, done
    yield lab
    assert lab.run("destroy", "A").status == 0


@pytest.mark.parametrize(("name", "content"), _DAMAGES)
def test_of_a_dead_supervisor(name: str, content: str, group: Lab) -> None:
    """It is said which file is wrong; the guests run on; mended, all goes on."""
    path = group.runtime / name
    whole = path.read_text()
    before = group.qemus()
    kill(group.supervisor("A"))
    path.write_text(content)

    done = group.run("adopt", "A")

    assert done.status == 1
    assert str(path) in done.err
    assert "run on" in done.err
    again = group.run("up", "-d", str(group.root / "A.xml"))
    assert again.status == 1
    assert group.qemus() == before
    path.write_text(whole)
    assert group.run("adopt", "A").status == 0
    assert group.states() == {"A": "running", "B": "running"}
    assert group.qemus() == before


def test_what_is_known_of_shared_memory(lab: Lab) -> None:
    """It is said what is lost; the guest runs on, and all else works."""
    shmem = "<shmem name='box'><model type='ivshmem-plain'/><size unit='M'>4</size></shmem>"
    assert lab.run("up", "-d", lab.domain("A", devices=shmem)).status == 0
    before = lab.qemus()
    path = lab.runtime / "groups/A/fabric.json"
    assert path.stat().st_mode & 0o777 == 0o600
    kill(lab.supervisor("A"))
    path.write_text("{")

    done = lab.run("adopt", "A")

    assert done.status == 0
    assert done.error.startswith("group A: shmem 'box' was lost with the supervisor that had made")
    assert f"{path}: it is damaged" in done.error
    assert lab.states() == {"A": "running"}
    assert lab.qemus() == before
    assert lab.run("destroy", "A").status == 0
    lab.assert_nothing_left()


@pytest.mark.parametrize("content", ["", "12", "x y", "1 1", "-5 7\n", "9" * 400])
@pytest.mark.parametrize("name", ["domains/A/qemu.pid", "groups/A/supervisor.pid"])
def test_pid_files(name: str, content: str, group: Lab) -> None:
    """A live supervisor needs none, and its successor finds the QEMUs without."""
    before = group.qemus()
    pid = group.supervisor("A")
    (group.runtime / name).write_text(content)
    assert group.run("suspend", "A").status == 0
    assert group.run("resume", "A").status == 0

    os.kill(pid, signal.SIGKILL)
    assert group.run("adopt", "A").status == 0

    assert group.states() == {"A": "running", "B": "running"}
    assert group.qemus() == before


@contextlib.contextmanager
def filled(directory: Path) -> Generator[None]:
    """Fill the file system that *directory* is on."""
    path = directory / "filler"
    with pytest.raises(OSError, match="space"), path.open("wb", buffering=0) as file:
        _write_for_ever(file.fileno())
    yield
    path.unlink()


def _write_for_ever(descriptor: int) -> None:
    for size in (1 << 16, 1):
        with contextlib.suppress(OSError) if size > 1 else contextlib.nullcontext():
            while True:
                os.write(descriptor, b"x" * size)


@pytest.mark.parametrize("kind", ["run", "state"])
def test_a_disk_that_fills_while_a_group_runs(kind: str, lab: Lab) -> None:
    """Verbs work and guests run on; a successor, too, as far as it has to write nothing."""
    if os.getuid():
        pytest.skip("only root may mount")
    place = lab.root / kind
    place.mkdir(mode=0o700)
    options = "size=1M,mode=0700"
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], check=False)
    if done.returncode:
        pytest.skip("cannot mount")
    try:
        assert lab.run("up", "-d", lab.domain("A")).status == 0
        before = lab.qemus()
        with filled(place):
            assert lab.run("suspend", "A").status == 0
            assert lab.run("resume", "A").status == 0
            assert lab.states() == {"A": "running"}
            kill(lab.supervisor("A"))
            adopted = lab.run("adopt", "A")
            if adopted.status:
                assert "No space left on device" in adopted.err
            assert lab.qemus() == before
            assert lab.states() == {"A": "running"}
        assert lab.run("adopt", "A").status == 0
        assert lab.run("suspend", "A").status == 0
        assert lab.qemus() == before
        assert lab.run("destroy", "A").status == 0
        assert lab.files() == []
    finally:
        subprocess.run(["umount", "-l", place], check=True)
