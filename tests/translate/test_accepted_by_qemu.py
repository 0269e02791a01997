"""A real QEMU takes the disks and character devices that we describe to it."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from qsuper.fabric.group import Fabric
from qsuper.host.probe import capabilities
from qsuper.plan import GroupPlan
from qsuper.runtime.resources import Directories, inherited
from qsuper.translate.node import parse_xml
from qsuper.translate.passes import translate
from qsuper.translate.site import HostData
from tests.support.domains import domain

PATIENCE_S = 60
SESSION = "".join(
    json.dumps({"execute": command})
    for command in ("qmp_capabilities", "query-block", "query-chardev", "quit")
)
DEVICES = """
<disk type='file'><driver type='qcow2' cache='none' discard='unmap' detect_zeroes='unmap'
    error_policy='stop' iothread='1' queues='2'/><source file='top.qcow2'/>
  <backingStore type='file'><format type='qcow2'/><source file='base.qcow2'/><backingStore/>
  </backingStore><target dev='vda'/><serial>a b</serial><boot order='1'/></disk>
<disk type='file'><driver copy_on_read='on'/><source file='a,b.img'/><target dev='hda'/>
  <geometry cyls='100' heads='16' secs='63' trans='lba'/><wwn>5000c50015ea71ac</wwn></disk>
<disk type='file' device='cdrom'><target dev='hdc'/></disk>
<disk type='file' device='floppy'><source file='floppy.img'/><target dev='fda'/>
  <boot order='2'/></disk>
<disk type='file'><source file='c.img'><slices><slice type='storage' offset='512' size='4096'/>
  </slices></source><target dev='sda' bus='scsi'/><vendor>ACME</vendor>
  <blockio logical_block_size='512' physical_block_size='4096'/></disk>
<disk type='file'><source file='d.img'/><shareable/>
  <target dev='sdb' bus='sata' rotation_rate='7200'/></disk>
<disk type='file'><source file='e.img'/><target dev='sdc' bus='usb' removable='on'/></disk>
<disk type='dir'><driver type='fat'/><source dir='.'/><target dev='vdb'/><readonly/></disk>
<controller type='scsi' model='virtio-scsi'/>
<serial type='file'><source path='serial,0.txt'/><log file='serial0.log'/></serial>
<serial type='null'><target type='pci-serial'/></serial>
<serial type='null'><target type='usb-serial'/></serial>
<serial type='null'><target type='isa-debug'/><address type='isa' iobase='0x402'/></serial>
<parallel type='null'/>
<console type='unix'><source mode='bind' path='console.sock'/><target type='virtio'/></console>
<channel type='unix'><source mode='bind' path='a,b.sock'/>
  <target type='virtio' name='org.qemu.guest_agent.0'/></channel>
<channel type='unix'><source mode='connect' path='nobody.sock'>
  <reconnect enabled='yes' timeout='3'/></source><target type='virtio' name='x'/></channel>
<channel type='unix'><source mode='bind' path='forward.sock'/>
  <target type='guestfwd' address='10.0.2.1' port='4600'/></channel>
"""


@pytest.mark.qemu
def test_disks_and_character_devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    emulator = shutil.which("qemu-system-x86_64")
    if emulator is None or shutil.which("qemu-img") is None:
        pytest.skip("QEMU is not installed")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "vm").mkdir()
    for name in ("a,b.img", "c.img", "d.img", "e.img", "floppy.img"):
        (tmp_path / "vm" / name).write_bytes(bytes(1440 * 1024))
    for name, base in (("base.qcow2", []), ("top.qcow2", ["-b", "base.qcow2", "-F", "qcow2"])):
        command = ["qemu-img", "create", "-q", "-f", "qcow2", *base, name, "8M"]
        subprocess.run(command, cwd=tmp_path / "vm", check=True, timeout=PATIENCE_S)

    xml = domain(DEVICES, parts="<iothreads>1</iothreads>")
    root = parse_xml(xml, "vm.xml", str(tmp_path / "vm"))
    plan = translate(root, capabilities(emulator), HostData(machine_id="m")).plan
    directories = Directories(str(tmp_path), str(tmp_path))
    with inherited(directories, Fabric(GroupPlan(())), plan.name) as place:
        numbers = place.open(plan.resources())
        words = [word for option in plan.options for word in option.argv(numbers)]
        done = subprocess.run(
            [emulator, *words, "-S", "-monitor", "none", "-qmp", "stdio"],
            input=SESSION,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
            pass_fds=numbers.values(),
        )

    assert done.returncode == 0, done.stderr
    replies = [json.loads(line) for line in done.stdout.splitlines() if '"return": [' in line]
    blocks, chardevs = (reply["return"] for reply in replies)
    files = {row["qdev"].split("/")[-1] for row in blocks if row.get("inserted")}
    assert files >= {"scsi0-0-0-0", "ide0-0-0", "sata0-0-1", "fdc0-0-0"}
    ends = {row["label"]: row["filename"] for row in chardevs}
    assert ends.keys() >= {
        "charserial0",
        "charserial3",
        "charparallel0",
        "charchannel2",
        "charconsole1",
    }
    assert (tmp_path / "vm" / "serial,0.txt").exists()
    assert (tmp_path / "vm" / "serial0.log").exists()
    assert f"{tmp_path}/vm/a,b.sock" in ends["charchannel0"]
