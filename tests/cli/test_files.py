"""Files that the guest writes and the XML names: opened for QEMU, which never sees their paths."""

import json
import os
import select
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from qsuper.runtime.inotify import Inotify
from tests.support.pasted import pasted
from tests.support.supervisors import PATIENCE_S
from tests.support.ticking import write_domain

Run = Callable[..., tuple[int, str, str]]
Start = Callable[[str], None]

pytestmark = pytest.mark.qemu

OLD = "from before\n"


def domain(directory: Path, serial: str, name: str = "writer") -> str:
    return write_domain(directory, name, serial=serial)


def wait_for(path: Path, word: str) -> str:
    """Wait until *word* is in the file; give all of it."""
    with Inotify() as inotify:
        inotify.watch(str(path))
        while word not in (text := path.read_text()):
            assert select.select([inotify.fileno()], [], [], PATIENCE_S)[0], text
            inotify.read()
    return text


@pytest.fixture
def start(rundir: Path, qsuper: Run) -> Iterator[Start]:
    """Start the domain of a file, and end what was started."""

    def up(file: str) -> None:
        status, _, err = qsuper("up", "-d", file)
        assert status == 0, err

    yield up
    qsuper("destroy", "--all")


@pytest.mark.parametrize(
    ("serial", "name"),
    [
        ("<serial type='file'><source path='o,ut'{}/></serial>", "o,ut"),
        ("<serial type='pty'><log file='l og'{}/></serial>", "l og"),
        ("<serial type='null'><log file='l=og'{}/></serial>", "l=og"),
    ],
)
@pytest.mark.parametrize("append", ["", " append='off'", " append='on'"])
def test_what_was_there(
    serial: str, name: str, append: str, start: Start, qsuper: Run, tmp_path: Path
) -> None:
    """It is lost, or added to, by append=; each start of the domain anew."""
    path, is_kept = tmp_path / name, "on" in append
    path.write_text(OLD)
    file = domain(tmp_path, serial.format(append))

    start(file)
    first = wait_for(path, "tick 1\n")
    assert first.startswith(OLD + "tick 0\n" if is_kept else "tick 0\n")
    assert qsuper("destroy", "writer")[0] == 0
    kept = path.read_text() if is_kept else ""
    start(file)
    assert wait_for(path, f"{kept}tick 0\n").startswith(f"{kept}tick 0\n")


def test_who_may_read_them(start: Start, tmp_path: Path) -> None:
    """They are made for their owner alone, and QEMU holds them open: nothing names them again."""
    out, log = tmp_path / "out", tmp_path / "log"
    start(
        domain(
            tmp_path,
            "<serial type='file'><source path='out'/><log file='log' append='on'/></serial>",
        )
    )

    assert wait_for(out, "tick 1\n").startswith("tick 0\n")
    assert wait_for(log, "tick 1\n").startswith("tick 0\n")
    assert [path.stat().st_mode & 0o777 for path in (out, log)] == [0o600, 0o600]


def test_our_own_log_beside_them(start: Start, qsuper: Run, tmp_path: Path) -> None:
    """A port to a file has our log, too, as all have; one with a log of its own has not."""
    start(domain(tmp_path, "<serial type='file'><source path='out'/></serial>"))
    wait_for(tmp_path / "out", "tick 1\n")
    assert qsuper("logs", "writer")[1].startswith("tick 0\ntick 1\n")

    start(domain(tmp_path, "<serial type='file'><source path='b'/><log file='l'/></serial>", "own"))
    wait_for(tmp_path / "l", "tick 1\n")
    assert qsuper("logs", "own") == (1, "", "qsuper: own: no log of a console\n")


@pytest.mark.parametrize("what", ["fifo", "directory", "nowhere/x"])
def test_what_is_no_file(what: str, rundir: Path, qsuper: Run, tmp_path: Path) -> None:
    """It fails the start, and keeps nobody waiting."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "directory").mkdir()
    file = domain(tmp_path, f"<serial type='file'><source path='{what}'/></serial>")

    status, out, err = qsuper("up", "-d", file)

    assert (status, out) == (1, "")
    assert err.startswith(f"qsuper: writer: {tmp_path}/{what}: ")
    assert json.loads(qsuper("list", "--format", "json")[1])["domains"] == []


def test_the_pasted_lines_open_them(rundir: Path, qsuper: Run, tmp_path: Path) -> None:
    """A shell opens the files as `up` does, and a program is told which."""
    out, log = tmp_path / "o'ut", tmp_path / "l og"
    log.write_text(OLD)
    out.write_text(OLD)
    file = domain(
        tmp_path,
        "<serial type='file'><source path=\"o'ut\"/><log file='l og' append='on'/></serial>",
    )
    text = qsuper("translate", file)[1]
    [row] = json.loads(qsuper("translate", "--format", "json", file)[1])["domains"]
    assert row["files"] == [
        {"fd": 3, "path": str(out), "access": "write"},
        {"fd": 4, "path": str(log), "access": "append"},
    ]
    assert any(word.endswith("fd=3,opaque=serial0-source") for word in row["argv"])
    assert json.loads(qsuper("translate", "--format", "jsonl", file)[1])["files"] == row["files"]

    with pasted(text) as qemu:
        written = wait_for(out, "tick 1\n"), wait_for(log, "tick 1\n")
        complaints = qemu.communicate("quit\n", timeout=PATIENCE_S)[1]

    assert qemu.returncode == 0, complaints
    assert written[0].startswith("tick 0\n")
    assert written[1].startswith(OLD + "tick 0\n")


def test_what_only_up_can_make_is_said(rundir: Path, qsuper: Run, tmp_path: Path) -> None:
    card = (
        "<interface type='bridge'><source bridge='b'/><model type='virtio'/>"
        "<driver name='vhost'/></interface>"
    )
    lines = qsuper("translate", domain(tmp_path, card))[1].splitlines()
    assert lines[0] == "# only `qsuper up` can make: <tap b 0>, <vhost-net 0>"
