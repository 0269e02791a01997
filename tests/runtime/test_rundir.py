"""Who owns a name, and where sockets are bound."""

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from qsuper.errors import QsuperError
from qsuper.runtime import rundir
from qsuper.runtime.process import Identity


def test_a_claimed_name_is_taken_until_released(rundir_path: Path) -> None:
    group = rundir.claim_group("G")
    domain = rundir.claim_domain("D", "G")
    with pytest.raises(QsuperError, match=f"under the supervisor with pid {os.getpid()}$"):
        rundir.claim_domain("D", "other")
    with pytest.raises(QsuperError, match="group 'G' runs already"):
        rundir.claim_group("G")
    domain.release()
    group.release()
    domain.release()
    assert list((rundir_path / "domains").iterdir()) == []
    assert list((rundir_path / "groups").iterdir()) == []


def test_what_a_dead_owner_left_is_cleared(rundir_path: Path) -> None:
    """The owner is another process that is killed while it holds the lock."""
    script = (
        "import os, signal; from qsuper.runtime import rundir;"
        "place = rundir.claim_domain('D', 'G'); place.write('rubbish', 'x');"
        "rundir.bind_listener(place.file('qmp.sock')); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    assert (rundir_path / "domains" / "D" / "rubbish").exists()
    place = rundir.claim_domain("D", "G")
    assert sorted(os.listdir(place.path)) == ["group", "lock"]
    place.release()


def test_a_domain_that_lives_without_supervisor_is_not_touched(rundir_path: Path) -> None:
    place = rundir.claim_domain("D", "G")
    place.write(rundir.QEMU_PID, f"{Identity.of(os.getpid())}\n")
    place.abandon()
    with pytest.raises(QsuperError, match=f"'D' still runs as pid {os.getpid()}; its super"):
        rundir.claim_domain("D", "G")
    # A pid that has been used again is another process.
    (Path(place.path) / rundir.QEMU_PID).write_text(f"{os.getpid()} 1\n")
    rundir.claim_domain("D", "G").release()


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\nb", "x" * 256])
def test_names(name: str) -> None:
    with pytest.raises(QsuperError, match="domain's name"):
        rundir.claim_domain(name, "G")


def test_a_long_path_is_linked(tmp_path: Path) -> None:
    path = str(tmp_path / ("x" * 100) / "a.sock")
    os.makedirs(os.path.dirname(path))
    (tmp_path / "run").mkdir()
    with rundir.bind_listener(path) as listener, rundir.connect(path):
        accepted, _ = listener.accept()
        accepted.close()
        assert len(listener.getsockname()) <= 107
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        rundir.remove_socket(path)
        assert not os.path.lexists(path)
        assert not os.path.lexists(listener.getsockname())


def test_a_dead_socket_is_replaced_and_a_living_one_is_not(tmp_path: Path) -> None:
    path = str(tmp_path / "a.sock")
    rundir.bind_listener(path).close()
    with rundir.bind_listener(path), pytest.raises(QsuperError, match="Address already in use"):
        rundir.bind_listener(path)


def test_a_runtime_directory_that_is_too_deep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("d" * 100)
    monkeypatch.setenv("QSUPER_RUNTIME_DIR", str(deep))
    with pytest.raises(QsuperError, match="set QSUPER_RUNTIME_DIR to a shorter path"):
        rundir.bind_listener(str(deep / "a.sock"))


@pytest.fixture
def rundir_path(tmp_path: Path) -> Path:
    return tmp_path / "run"


def test_connect_needs_a_listener(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        rundir.connect(str(tmp_path / "none.sock"))
    with socket.socket(socket.AF_UNIX) as unheard:
        unheard.bind(str(tmp_path / "deaf.sock"))
        with pytest.raises(ConnectionRefusedError):
            rundir.connect(str(tmp_path / "deaf.sock"))
