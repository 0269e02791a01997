"""Machines of other architectures as the guest finds them, with what they have of their own."""

import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

from tests.support.seen import Boots, Seen, xml
from tests.support.supervised import PATIENCE_S

pytestmark = pytest.mark.qemu

AAVMF: Final = Path("/usr/share/AAVMF/AAVMF_CODE.fd")
OPENSBI: Final = "/usr/share/qemu/opensbi-riscv64-generic-fw_dynamic.bin"
COMMON: Final = """
<controller type='usb' model='qemu-xhci' ports='8'/>
<controller type='scsi' model='virtio-scsi'/>
<disk type='file'><driver type='raw'/><source file='vda'/><target dev='vda' bus='virtio'/>
<serial>V1</serial><boot order='1'/></disk>
<disk type='file'><driver type='raw'/><source file='sda'/><target dev='sda' bus='scsi'/></disk>
<disk type='file' device='cdrom'><driver type='raw'/><source file='sdb'/>
<target dev='sdb' bus='scsi'/><readonly/></disk>
<interface type='user'><mac address='52:54:00:aa:bb:02'/><model type='virtio'/></interface>
<serial type='pty'/>
<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
<input type='tablet' bus='usb'/><input type='keyboard' bus='usb'/>
<video><model type='virtio'/></video>
<graphics type='vnc'><listen type='socket' socket='vnc.sock'/></graphics>
<sound model='ich9'><audio id='1'/></sound><audio id='1' type='none'/>
<memballoon model='virtio'/>
<rng model='virtio'><backend model='builtin'/></rng>
"""
DEVICES: Final = {
    "pci.1": "1b36:000c",
    "usb": "1b36:000d",
    "scsi0": "1af4:1048",
    "virtio-disk0": "1af4:1042",
    "net0": "1af4:1041",
    "virtio-serial0": "1af4:1043",
    "video0": "1af4:1050",
    "sound0": "8086:293e",
    "balloon0": "1af4:1045",
    "rng0": "1af4:1044",
}


def needs(arch: str) -> pytest.MarkDecorator:
    """Skip where there is no QEMU for an architecture."""
    emulator = f"qemu-system-{arch}"
    return pytest.mark.skipif(not shutil.which(emulator), reason=f"{emulator} is not installed")


def images(boot: Boots) -> None:
    for name in ("vda", "sda", "sdb"):
        boot.image(name)


def check_common(vm: Seen) -> None:
    """See that the devices that every board can have are there."""
    tree = vm.tree()
    assert {name: tree[name]["pci"] for name in DEVICES} == DEVICES
    wanted = {
        "virtio-disk0:serial": "V1",
        "virtio-disk0:bootindex": 1,
        "net0:mac": "52:54:00:aa:bb:02",
        "usb:p3": 8,
        "channel0:name": "org.qemu.guest_agent.0",
        "scsi0-0-0-0:type": "scsi-hd",
        "scsi0-0-0-1:type": "scsi-cd",
    }
    assert vm.alike(wanted) == wanted


@needs("aarch64")
@pytest.mark.skipif(not AAVMF.exists(), reason="qemu-efi-aarch64 is not installed")
def test_aarch64_virt_with_uefi(boot: Boots) -> None:
    images(boot)
    parts = (
        "<vcpu>2</vcpu><features><acpi/><gic version='3'/><pmu state='off'/></features>"
        "<cpu mode='custom' match='exact'><model>cortex-a57</model></cpu>"
    )
    devices = f"{COMMON}<iommu model='smmuv3'/><panic model='pvpanic'/>"
    text = xml(devices, arch="aarch64", machine="virt", parts=parts)
    plain = "<firmware><feature enabled='no' name='secure-boot'/></firmware>"
    with boot(text.replace("<os>", f"<os firmware='efi'>{plain}")) as vm:
        check_common(vm)
        wanted = {
            "/machine:gic-version": "3",
            "/machine:iommu": "smmuv3",
            "/machine/unattached/device[0]:type": "cortex-a57-arm-cpu",
            "/machine/unattached/device[0]:pmu": False,
        }
        assert vm.alike(wanted) == wanted
        nodes = {row["node-name"]: row for row in vm.qmp("query-named-block-nodes", flat=True)}
        assert Path(nodes[vm.get("/machine:pflash0")]["file"]) == AAVMF
        variables = nodes[vm.get("/machine:pflash1")]
        assert not variables["ro"]
        assert Path(variables["file"]).is_relative_to(boot.root)
        assert vm.tree()["pvpanic-pci"]["pci"] == "1b36:0011"
        assert len(vm.qmp("query-cpus-fast")) == 2


@needs("aarch64")
def test_aarch64_virt_without(boot: Boots) -> None:
    """A kernel and nothing else; an old interrupt controller, virtio-mmio, plugged memory."""
    (boot.root / "Image").write_bytes(b"\x00" * 64 * 1024)
    system = "<kernel>Image</kernel><cmdline>console=ttyAMA0</cmdline>"
    parts = (
        "<vcpu>2</vcpu><features><gic version='2'/></features>"
        "<cpu mode='maximum'><numa><cell id='0' cpus='0' memory='64' unit='MiB'/>"
        "<cell id='1' cpus='1' memory='64' unit='MiB'/></numa></cpu>"
    )
    devices = (
        "<memballoon model='none'/><controller type='usb' model='none'/>"
        "<rng model='virtio'><backend model='builtin'/><address type='virtio-mmio'/></rng>"
    )
    with boot(xml(devices, arch="aarch64", machine="virt", system=system, parts=parts)) as vm:
        wanted = {
            "/machine:gic-version": "2",
            "/machine:kernel": str(boot.root / "Image"),
            "/machine:append": "console=ttyAMA0",
            "rng0:type": "virtio-rng-device",
            "/machine/unattached/device[0]:type": "max-arm-cpu",
        }
        assert vm.alike(wanted) == wanted
        nodes = {row["cpu-index"]: row["props"]["node-id"] for row in vm.qmp("query-cpus-fast")}
        assert nodes == {0: 0, 1: 1}


@needs("arm")
def test_a_board_with_a_card(boot: Boots) -> None:
    """vexpress: virtio over MMIO alone, and an SD card."""
    boot.image("card", size="4M")
    boot.image("vda")
    devices = (
        "<disk type='file'><driver type='raw'/><source file='card'/><target dev='sda' bus='sd'/>"
        "</disk><disk type='file'><driver type='raw'/><source file='vda'/>"
        "<target dev='vda' bus='virtio'/></disk><serial type='pty'/>"
        "<interface type='user'><mac address='52:54:00:aa:bb:03'/><model type='virtio'/>"
        "</interface><memballoon model='none'/>"
    )
    with boot(xml(devices, arch="armv7l", machine="vexpress-a9")) as vm:
        blocks = vm.qmp("query-block")
        sizes = {row["inserted"]["image"]["virtual-size"] for row in blocks if "inserted" in row}
        assert sizes == {4 << 20, 1 << 20}
        wanted = {
            "virtio-disk0:type": "virtio-blk-device",
            "net0:type": "virtio-net-device",
            "net0:mac": "52:54:00:aa:bb:03",
        }
        assert vm.alike(wanted) == wanted


@needs("riscv64")
def test_riscv64_virt(boot: Boots) -> None:
    images(boot)
    tree = boot.root / "board.dtb"
    subprocess.run(
        ["qemu-system-riscv64", "-machine", f"virt,dumpdtb={tree}"],
        check=True,
        capture_output=True,
        timeout=PATIENCE_S,
    )
    (boot.root / "Image").write_bytes(bytes(64 << 10))
    system = (
        f"<loader type='rom'>{OPENSBI}</loader><kernel>Image</kernel>"
        "<initrd>vda</initrd><cmdline>root=/dev/vda</cmdline><dtb>board.dtb</dtb>"
    )
    parts = "<vcpu>3</vcpu><cpu mode='custom' match='exact'><model>rv64</model></cpu>"
    with boot(xml(COMMON, arch="riscv64", machine="virt", system=system, parts=parts)) as vm:
        check_common(vm)
        wanted = {
            "/machine:firmware": OPENSBI,
            "/machine:kernel": str(boot.root / "Image"),
            "/machine:initrd": str(boot.root / "vda"),
            "/machine:append": "root=/dev/vda",
            "/machine:dtb": str(tree),
        }
        assert vm.alike(wanted) == wanted
        assert vm.get("/machine/soc0/harts[0]:type") == "rv64-riscv-cpu"
        assert len(vm.qmp("query-cpus-fast")) == 3
        [backing] = vm.qmp("query-memdev")
        assert (backing["id"], backing["size"]) == ("riscv_virt_board.ram", 128 << 20)


@needs("i386")
def test_a_pc_of_32_bits(boot: Boots) -> None:
    boot.image("hda")
    devices = (
        "<disk type='file'><driver type='raw'/><source file='hda'/><target dev='hda' bus='ide'/>"
        "</disk><memballoon model='none'/>"
    )
    with boot(xml(devices, arch="i686", machine="pc")) as vm:
        assert vm.qmp("query-target") == {"arch": "i386"}
        assert vm.get("ide0-0-0:type") == "ide-hd"
        [processor] = vm.qmp("query-cpus-fast")
        assert processor["target"] == "i386"
