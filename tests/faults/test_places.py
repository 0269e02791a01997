"""Directories that are not what they should be, and file systems that are full."""

import os
from pathlib import Path

import pytest

from tests.support.lab import Lab
from tests.support.places import small

pytestmark = pytest.mark.qemu

both = pytest.mark.parametrize("words", [["-d"], []], ids=["detached", "foreground"])
as_root = pytest.mark.skipif(os.getuid() != 0, reason="needs root")


def open_to_others(path: Path) -> str:
    path.mkdir(mode=0o700)
    path.chmod(0o755)
    return f"open to others (chmod 0700 {path})"


def somebody_elses(path: Path) -> str:
    path.mkdir(mode=0o700)
    os.chown(path, 12345, -1)
    return "belongs to uid 12345, not to us (uid 0)"


def link(path: Path) -> str:
    path.with_name("target").mkdir(mode=0o700)
    path.symlink_to("target")
    return "a symbolic link, and must be a directory itself"


def dangling_link(path: Path) -> str:
    path.symlink_to("nowhere")
    return "a symbolic link, and must be a directory itself"


def file(path: Path) -> str:
    path.touch()
    return "not a directory"


@pytest.mark.parametrize(
    "make", [open_to_others, pytest.param(somebody_elses, marks=as_root), link, dangling_link, file]
)
@pytest.mark.parametrize(
    "words", [["up", "-d"], ["up"], ["list"], ["destroy", "a"], ["info", "a"], ["console", "a"]]
)
def test_runtime_directory_that_is_not_ours_alone(lab: Lab, words: list[str], make: object) -> None:
    """No verb trusts what stands there, and nobody's directory is changed."""
    assert callable(make)
    runtime = lab.root / "r"
    said = make(runtime)
    before = os.lstat(runtime)
    given = [lab.domain("a")] if words[0] == "up" else []

    done = lab.run(*words, *given, env={"QSUPER_RUNTIME_DIR": str(runtime)})

    assert (done.status, done.out) == (1, "")
    assert done.error == f"{runtime}: {said}"
    after = os.lstat(runtime)
    assert (after.st_mode, after.st_uid) == (before.st_mode, before.st_uid)
    assert not runtime.is_dir() or not list(runtime.iterdir())


@both
def test_link_inside_the_runtime_directory(lab: Lab, words: list[str]) -> None:
    lab.runtime.mkdir(mode=0o700)
    groups = lab.runtime / "groups"
    said = link(groups)

    done = lab.run("up", *words, lab.domain("a"))

    assert done.error == f"{groups}: {said}"
    groups.unlink()
    (lab.runtime / "target").rmdir()


@both
def test_runtime_directory_that_cannot_be_made(lab: Lab, words: list[str]) -> None:
    (lab.root / "file").touch()
    runtime = lab.root / "file" / "below"

    done = lab.run("up", *words, lab.domain("a"), env={"QSUPER_RUNTIME_DIR": str(runtime)})

    assert (done.status, done.out) == (1, "")
    assert done.error == (
        f"{runtime}: cannot be made: {lab.root}/file: File exists"
        " (QSUPER_RUNTIME_DIR can name another place)"
    )
    assert lab.run("list", env={"QSUPER_RUNTIME_DIR": str(runtime)}) == (0, "", "")


@both
@pytest.mark.parametrize("blocked", ["state", "state/qsuper", "state/qsuper/a"])
def test_state_directory_that_cannot_be_made(lab: Lab, words: list[str], blocked: str) -> None:
    place = lab.root / blocked
    place.parent.mkdir(parents=True, exist_ok=True)
    place.touch()

    done = lab.run("up", *words, lab.domain("a"))

    assert (done.status, done.out) == (1, "")
    assert done.error.startswith(f"{lab.state}/qsuper/a")
    assert done.error.endswith(" (XDG_STATE_HOME says where logs are kept)")


@both
@pytest.mark.parametrize("name", ["qemu.log", "serial0.log", "events.jsonl"])
def test_log_that_cannot_be_opened(lab: Lab, words: list[str], name: str) -> None:
    path = lab.state / "qsuper" / "a" / name
    path.mkdir(parents=True)

    done = lab.run("up", *words, lab.domain("a"))

    assert (done.status, done.out) == (1, "")
    assert done.error.endswith(f"{path}: Is a directory")


@as_root
@pytest.mark.parametrize("kind", ["nr_inodes", "size"])
def test_every_point_at_which_the_runtime_directory_can_be_full(lab: Lab, kind: str) -> None:
    """With a little more room each time, until there is enough: never anything left."""
    lab.domain("b")
    file = lab.domain("a", "b")
    room, started = 0, False
    for room in range(3, 60):
        limit = f"size={room * 4}k" if kind == "size" else f"nr_inodes={room}"
        with small(lab.runtime, limit):
            done = lab.run("up", "-d", file)
            if started := done.status == 0:
                assert lab.run("destroy", "a").status == 0
            else:
                assert done.status == 1
                assert "No space left on device" in done.error
                assert str(lab.runtime) in done.error
            lab.assert_nothing_left()
        if started:
            break
    assert started
    assert room > 4


@as_root
def test_full_state_directory(lab: Lab) -> None:
    """The logs have no room: the guests run all the same, or the start says why not."""
    with small(lab.state, "size=4k"):
        (lab.state / "filling").write_bytes(b"x" * 4096)
        done = lab.run("up", "-d", lab.domain("a"))
        if done.status:
            assert "No space left on device" in done.error
        else:
            assert lab.states() == {"a": "running"}
            assert lab.run("destroy", "a").status == 0
        lab.assert_nothing_left()
