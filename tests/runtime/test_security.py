"""What a guest's QEMU has of the host, and who may steer the supervisor."""

import json
import os
import re
import socket
import stat
import sys
from pathlib import Path

import pytest

from qsuper import paths
from tests.support.supervised import QEMU, domain, group, log, pair, supervised

pytestmark = pytest.mark.qemu

_ANONYMOUS = re.compile(r"anon_inode:\[?(eventfd|eventpoll|signalfd|io_uring)\]?|/memfd:tcg-jit.*")
"""What QEMU makes for itself."""


def targets(pid: int) -> list[str]:
    return [os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir()]


def listeners() -> dict[str, str]:
    """Give the paths of all UNIX sockets by their inodes."""
    rows = (line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:])
    return {f"socket:[{row[6]}]": row[7] for row in rows if len(row) > 7}


def test_descriptors_of_a_qemu() -> None:
    """Its logs, its monitors with one connection each, its disk; nothing of the supervisor's."""
    with supervised(pair()) as supervisor:
        pid = supervisor.pid("A")
        directory = paths.domain_dir("A")
        known = listeners()
        found = [known.get(target, target) for target in targets(pid)]
        found = [target for target in found if not _ANONYMOUS.fullmatch(target)]
        disk = next(t for t in found if t.endswith("tick-x86_64.img"))
        expected = {
            "/dev/null",
            disk,
            str(log("A", "qemu.log")),
            str(log("A")),
            *(f"{directory}/{name}.sock" for name in ("qmp", "sync", "monitor")),
        }
        assert set(found) == expected


def test_descriptors_at_its_start(tmp_path: Path) -> None:
    """What it inherits is standard input, output and error, and what its arguments name."""
    seen = tmp_path / "seen"
    emulator = tmp_path / "emulator"
    emulator.write_text(f"""#!{sys.executable} -S
import os, sys
held = [n for n in map(int, os.listdir("/proc/self/fd")) if os.path.exists(f"/proc/self/fd/{{n}}")]
open({str(seen)!r}, "w").write(repr(sorted(held)))
os.execv({QEMU!r}, [{QEMU!r}, *sys.argv[1:]])
""")
    emulator.chmod(0o700)
    with supervised(group([(domain("A", emulator=str(emulator)), [])])):
        argv = json.loads(Path(paths.domain_dir("A"), "argv.json").read_text())
        named = {int(n) for word in argv for n in re.findall(r"(?:^|,)fd=(\d+)", word)}
        assert len(named) == 4  # three monitors and the console's log
        assert set(json.loads(seen.read_text())) == {0, 1, 2} | named


def test_the_sandbox_holds() -> None:
    """Every thread is under seccomp, and QEMU can start no process."""
    with supervised(group([(domain("A"), [])])) as supervisor:
        pid = supervisor.pid("A")
        for task in Path(f"/proc/{pid}/task").iterdir():
            assert "Seccomp:\t2" in (task / "status").read_text()
            assert "NoNewPrivs:\t1" in (task / "status").read_text()
        argv = json.loads(Path(paths.domain_dir("A"), "argv.json").read_text())
        line = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
        assert argv[argv.index("-sandbox") + 1] == line


def test_modes_of_files_and_directories() -> None:
    """Nobody else can read or write anything, whatever the umask."""
    before = os.umask(0)
    try:
        with supervised(pair()) as supervisor:
            roots = [Path(paths.runtime_dir()), Path(paths.state_dir())]
            places = [*roots, *(path for root in roots for path in root.rglob("*"))]
            assert len(places) > 20
            for path in places:
                found = path.lstat()
                if not stat.S_ISLNK(found.st_mode):
                    assert not found.st_mode & 0o077, f"{path}: {found.st_mode:o}"
            assert supervisor.state("A") == "running"
    finally:
        os.umask(before)


def test_another_user_is_refused() -> None:
    """Even where the directories let it through: the socket tells who it is."""
    if os.getuid():
        pytest.skip("only root may become somebody else")
    with supervised(group([(domain("A"), [])])) as supervisor:
        directory = paths.group_dir("A")
        control = os.path.join(directory, "control.sock")
        os.chmod(directory, 0o711)
        os.chmod(control, 0o666)
        place = os.open(directory, os.O_PATH)
        read, write = os.pipe()
        if not (child := os.fork()):
            try:
                os.setgroups([])
                os.setresgid(65534, 65534, 65534)
                os.setresuid(65534, 65534, 65534)
                with socket.socket(socket.AF_UNIX) as client:
                    client.settimeout(10)
                    client.connect(f"/proc/self/fd/{place}/control.sock")
                    os.write(write, b"connected " + client.recv(100))
            except OSError as error:
                os.write(write, str(error).encode())
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        said = os.read(read, 1000)
        for descriptor in (place, read, write):
            os.close(descriptor)
        os.chmod(directory, 0o700)
        assert said == b"connected "
        assert supervisor.state("A") == "running"
