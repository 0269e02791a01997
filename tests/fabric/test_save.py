"""Whole groups to a directory and back, with what they share."""

import mmap
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

from qsuper.errors import QsuperError
from qsuper.host import saved
from qsuper.host.load import Settings, load_group
from qsuper.plan import GroupPlan, Vector
from tests.support.fabric import (
    CONFIGS,
    both,
    by,
    joined,
    load,
    private,
    ticking,
    wait_event,
    wait_signals,
)
from tests.support.places import small
from tests.support.supervised import (
    Supervisor,
    leftovers,
    supervised,
    ticks,
    wait_log,
    wait_ticks,
)

pytestmark = [pytest.mark.qemu, pytest.mark.usefixtures("rundir")]

MIB = 1 << 20
needs_qemu_img = pytest.mark.skipif(not shutil.which("qemu-img"), reason="no qemu-img here")


def count_of(memory: mmap.mmap, peer: int) -> int:
    """Give how many signals a peer has had; all read 0 as their own number."""
    count: int = struct.unpack_from("<I", memory, peer * 64)[0]
    return count


@both
def test_a_group_is_saved_and_restored(tmp_path: Path, which: str) -> None:
    directory = tmp_path / "saved"
    with supervised(load(tmp_path, "mailbox", by(which, private))) as supervisor:
        wait_log("mailbox", "mailbox 0\n")
        with joined(supervisor, "mailbox") as client:
            ticking(client)
            wait_log("mailbox-dependency", "signal ")
            client.memory[4096:4100] = b"kept"
            answer = supervisor.ask("save", domain="mailbox", directory=str(directory))
            assert answer["domains"] == {"mailbox": "shut off", "mailbox-dependency": "shut off"}
            assert answer["left-out"] == {}
            count = count_of(client.memory, 0)
        assert supervisor.wait_ended() == 0
    assert sorted(path.name for path in directory.iterdir()) == [
        "mailbox-dependency.state",
        "mailbox.memory",
        "mailbox.state",
        "plan.json",
    ]
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in directory.iterdir())
    assert leftovers() == []
    with supervised(saved.load(str(directory)), paused=True) as supervisor:
        assert supervisor.state("mailbox") == "paused"
        with joined(supervisor, "mailbox") as client:
            assert client.memory[4096:4100] == b"kept"
            assert count_of(client.memory, 0) == count
            supervisor.ask("resume", domain="mailbox")
            wait_signals("mailbox-dependency", 3)
    with supervised(saved.load(str(directory))) as supervisor:  # as often as one likes
        assert supervisor.state("mailbox") == "running"
        wait_signals("mailbox-dependency", 3)


@both
def test_shared_main_memory_is_saved_once(tmp_path: Path, which: str) -> None:
    """Neither the memory nor its windows are in the members' states."""
    directory = tmp_path / "saved"
    with supervised(load(tmp_path, "amp-boot", by(which, private))) as supervisor:
        wait_log("amp-boot", "firmware copied")
        wait_ticks("amp-boot-dependency", 2)
        supervisor.ask("save", domain="amp-boot", directory=str(directory))
        before = ticks("amp-boot-dependency")
    memories = [path for path in directory.glob("*.memory") if path.name.startswith("ram")]
    assert sum(path.stat().st_size for path in memories) == 80 * MIB
    for path in directory.glob("*.state"):
        assert path.stat().st_size < MIB
    assert sum(path.stat().st_blocks * 512 for path in directory.iterdir()) < 8 * MIB
    with supervised(saved.load(str(directory))) as supervisor:
        assert supervisor.state("amp-boot-dependency") == "running"
        wait_ticks("amp-boot-dependency", 3)
        wait_log("amp-boot-dependency", f"tick {before + 2}\n")
    assert leftovers() == []


@both
def test_a_member_that_waits_for_its_boot_signal_still_does(tmp_path: Path, which: str) -> None:
    directory = tmp_path / "saved"
    edit = by(which, private)
    with supervised(load(tmp_path, "amp-boot", edit), paused=True) as supervisor:
        assert supervisor.state("amp-boot-dependency") == "prelaunch"
        supervisor.ask("resume", domain="amp-boot")
        supervisor.ask("suspend", domain="amp-boot")
        # Whether its primary has rung by now or not: one that has is not forgotten.
        supervisor.ask("save", domain="amp-boot", directory=str(directory))
    with supervised(saved.load(str(directory))) as supervisor:
        supervisor.ask("resume", domain="amp-boot")
        wait_ticks("amp-boot-dependency", 3)


def test_signals_that_nobody_has_taken_are_saved(tmp_path: Path) -> None:
    """What has rung the supervisor boots the dependency, and rings again after a restore."""
    plan = load(tmp_path, "amp-boot")
    rung = (Vector(share="mailbox", number=0),)
    with supervised(replace(plan, rung=rung), paused=True) as supervisor:
        wait_event("amp-boot-dependency", lambda each: each["event"] == "BOOTED")
        assert supervisor.state("amp-boot") == "prelaunch"


@both
def test_plain_shared_memory(tmp_path: Path, which: str) -> None:
    """QEMU itself loads no such state: its firmware had mapped the memory, a new QEMU has not."""
    path = tmp_path / "plain.xml"
    path.write_text(by(which)(PLAIN))
    directory = tmp_path / "saved"
    with supervised(load_group([str(path)], Settings()).group) as supervisor:
        wait_ticks("plain", 1)
        supervisor.ask("save", domain="plain", directory=str(directory))
        before = ticks("plain")
    assert (directory / "box.memory").stat().st_size == MIB
    with supervised(saved.load(str(directory))) as supervisor:
        wait_log("plain", f"tick {before + 2}\n")


PLAIN = f"""<domain type='qemu'>
  <name>plain</name>
  <memory unit='MiB'>16</memory>
  <os><type arch='x86_64' machine='pc'>hvm</type><boot dev='fd'/></os>
  <devices>
    <disk type='file' device='floppy'>
      <driver name='qemu' type='raw'/>
      <source file='{CONFIGS}/guests/tick-x86_64.img'/><target dev='fda' bus='fdc'/><readonly/>
    </disk>
    <serial type='pty'/>
    <shmem name='box' role='master'><model type='ivshmem-plain'/><size unit='M'>1</size></shmem>
  </devices>
</domain>
"""


def test_save_and_restore_as_commands(tmp_path: Path) -> None:
    load(tmp_path, "mailbox", private)

    def qsuper(*words: str) -> str:
        argv = [sys.executable, "-m", "qsuper", *words]
        done = subprocess.run(
            argv, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    qsuper("up", "-d", "mailbox.xml")
    try:
        told = " (with mailbox-dependency)\n"
        assert qsuper("save", "mailbox", "saved") == f"Domain 'mailbox' saved to saved{told}"
        assert qsuper("list", "--format", "json").count("running") == 0
        assert qsuper("restore", "saved") == f"Domain 'mailbox' restored{told}"
        assert qsuper("domstate", "mailbox-dependency") == "running\n"
    finally:
        qsuper("destroy", "--all")


def disk(path: Path, kind: str) -> str:
    return f"""<disk type='file' device='disk'>
      <driver name='qemu' type='{kind}'/><source file='{path}'/><target dev='vda' bus='virtio'/>
    </disk>"""


def write_disk(supervisor: Supervisor, pattern: int) -> None:
    """Have the primary's QEMU write to its disk."""
    device = "/machine/peripheral/virtio-disk0/virtio-backend"
    words = {"command-line": f'qemu-io -d {device} "write -P {pattern} 0 64k"'}
    command = {"execute": "human-monitor-command", "arguments": words}
    assert not supervisor.ask("qmp", domain="mailbox", command=command)


def qemu_io(path: Path, command: str) -> str:
    """Read or write a disk that no QEMU uses; what this gives has `failed` in it or not."""
    argv = ["qemu-io", "-c", command, str(path)]
    return subprocess.run(argv, check=False, capture_output=True, text=True).stdout


def snapshots(path: Path) -> str:
    argv = ["qemu-img", "snapshot", "-l", "-U", str(path)]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def with_disk(tmp_path: Path, kind: str) -> tuple[GroupPlan, Path]:
    path = tmp_path / f"disk.{kind}"
    argv = ["qemu-img", "create", "-q", "-f", kind, str(path), "4M"]
    subprocess.run(argv, check=True)

    def edit(text: str) -> str:
        if "<name>mailbox</name>" not in text:
            return private(text)
        return private(text).replace("<memballoon", f"{disk(path, kind)}<memballoon", 1)

    return load(tmp_path, "mailbox", edit), path


@needs_qemu_img
def test_disks_go_back_to_what_they_held(tmp_path: Path) -> None:
    directory = tmp_path / "saved"
    plan, path = with_disk(tmp_path, "qcow2")
    with supervised(plan) as supervisor:
        wait_log("mailbox", "mailbox ")
        write_disk(supervisor, 17)
        answer = supervisor.ask("save", domain="mailbox", directory=str(directory))
        assert answer["left-out"] == {}
    assert "qsuper-" in snapshots(path)
    assert "failed" not in qemu_io(path, "read -P 17 0 64k")
    qemu_io(path, "write -P 99 0 64k")
    assert "verification failed" in qemu_io(path, "read -P 17 0 64k")
    with supervised(saved.load(str(directory))) as supervisor:
        assert supervisor.state("mailbox") == "running"
    assert "failed" not in qemu_io(path, "read -P 17 0 64k")


@needs_qemu_img
def test_what_is_not_in_a_save_is_said(tmp_path: Path) -> None:
    plan, path = with_disk(tmp_path, "raw")
    with supervised(plan) as supervisor:
        directory = str(tmp_path / "saved")
        answer = supervisor.ask("save", domain="mailbox", directory=directory)
        assert answer["left-out"] == {"mailbox": [str(path)]}


@needs_qemu_img
def test_a_save_that_fails_leaves_no_snapshot(tmp_path: Path) -> None:
    plan, path = with_disk(tmp_path, "qcow2")
    with supervised(plan) as supervisor:
        wait_log("mailbox", "mailbox ")
        with pytest.raises(QsuperError, match="No such file"):
            supervisor.ask("save", domain="mailbox", directory=str(tmp_path / "no" / "saved"))
        with (
            small(tmp_path / "full", "size=64k") as full,
            pytest.raises(QsuperError, match="No space"),
        ):
            supervisor.ask("save", domain="mailbox", directory=str(full / "saved"))
        assert supervisor.state("mailbox") == "running"
        write_disk(supervisor, 23)
    assert "qsuper-" not in snapshots(path)
