"""`qsuper doctor`."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qsuper.errors import QsuperError
from qsuper.host import health, kvm
from qsuper.paths import check_parent

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def bare(tmp_path: Path, rundir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with one emulator, and a KVM that runs guests."""
    assert not rundir.exists()
    directory = tmp_path / "bin"
    directory.mkdir()
    (directory / "qemu-system-x86_64").symlink_to("/usr/bin/qemu-system-x86_64")
    monkeypatch.setenv("PATH", str(directory))
    monkeypatch.setattr(health, "kvm_fault", str)
    return directory


def findings(qsuper: Run) -> tuple[int, dict[str, Any]]:
    status, out, err = qsuper("doctor", "--format", "json")
    assert err == ""
    content = json.loads(out)
    assert content["sound"] is (status == 0)
    return status, {each["check"]: each for each in content["findings"]}


@pytest.mark.qemu
def test_a_sound_host(qsuper: Run) -> None:
    status, found = findings(qsuper)

    assert status == 0, found
    assert found["emulators"]["found"].endswith("answers for x86_64")
    assert found["kvm"] == {"check": "kvm", "health": "ok", "found": "a guest runs", "mend": ""}


@pytest.mark.qemu
def test_what_is_only_lacking_is_no_failure(qsuper: Run) -> None:
    """A helper that no domain may ever want."""
    status, found = findings(qsuper)

    assert status == 0
    assert found["swtpm"]["health"] == "lacks"
    assert "apt install swtpm" in found["swtpm"]["mend"]
    assert "swtpm" in qsuper("doctor")[1]


@pytest.mark.qemu
def test_what_members_need_to_stop_together(qsuper: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    before = os.sched_getscheduler(0)
    allowed = findings(qsuper)[1]["real time"]["health"] == "ok"
    assert os.sched_getscheduler(0) == before
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    except PermissionError:
        assert not allowed
    else:
        assert allowed
    monkeypatch.setattr(health, "is_allowed", bool)
    assert "CAP_SYS_NICE" in findings(qsuper)[1]["real time"]["mend"]


@pytest.mark.qemu
@pytest.mark.parametrize(("scope", "uid", "is_sound"), [(0, 1, True), (1, 1, False), (1, 0, True)])
def test_who_may_take_doorbells_over(
    tmp_path: Path,
    qsuper: Run,
    monkeypatch: pytest.MonkeyPatch,
    scope: int,
    uid: int,
    is_sound: bool,
) -> None:
    (tmp_path / "scope").write_text(f"{scope}\n")
    monkeypatch.setattr(health, "_YAMA", str(tmp_path / "scope"))
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    found = findings(qsuper)[1]["taking over"]
    assert (found["health"] == "ok") == is_sound
    assert ("ptrace_scope" in found["found"]) != is_sound


def test_no_emulators(bare: Path, qsuper: Run) -> None:
    (bare / "qemu-system-x86_64").unlink()

    status, found = findings(qsuper)

    assert status == 1
    assert found["emulators"]["health"] == "broken"
    assert "apt install" in found["emulators"]["mend"]


def test_an_emulator_that_does_not_answer(bare: Path, qsuper: Run) -> None:
    path = bare / "qemu-system-x86_64"
    path.unlink()
    path.write_text("#!/bin/sh\necho no library >&2\nexit 1\n")
    path.chmod(0o700)

    status, found = findings(qsuper)

    assert status == 1
    assert "no library" in found["emulators"]["found"]


@pytest.mark.qemu
def test_a_runtime_directory_open_to_others(rundir: Path, qsuper: Run) -> None:
    rundir.mkdir()
    rundir.chmod(0o755)

    status, found = findings(qsuper)

    assert status == 1
    assert "open to others" in found["runtime directory"]["found"]


def test_kvm_is_judged_by_a_guest() -> None:
    """Here it runs or it does not; in both cases it is told in time."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        assert "/dev/kvm" in kvm.kvm_fault()
        return
    fault = kvm.kvm_fault()
    assert fault == "" or "guests crawl" in fault


def test_a_guest_that_does_little_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that what counts as slow is slow, and not wrong."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        pytest.skip("no KVM here")
    monkeypatch.setattr(kvm, "_CODE", b"\xe6\x80\xf4")
    assert kvm.kvm_fault() == ""


@pytest.mark.parametrize(("mode", "is_safe"), [(0o700, True), (0o1777, True), (0o777, False)])
def test_who_may_replace_a_directory(
    mode: int,
    is_safe: bool,
    tmp_path: Path,
) -> None:
    tmp_path.chmod(mode)
    if is_safe:
        check_parent(str(tmp_path / "run"))
        return
    with pytest.raises(QsuperError, match="others can replace it"):
        check_parent(str(tmp_path / "run"))
