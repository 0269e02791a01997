"""What is there before the guest's own system: firmware, kernel, boot order, clock, descriptions.

What QEMU hands to a PC's firmware is read from fw_cfg's ports, as the firmware reads it.
"""

import calendar
import shutil
import subprocess
import time
from pathlib import Path
from typing import Final

import pytest

from tests.support.seen import NOTHING, Boots, Seen, xml
from tests.support.supervised import GUESTS, PATIENCE_S

pytestmark = pytest.mark.qemu

CODE: Final = Path("/usr/share/OVMF/OVMF_CODE_4M.fd")
VARIABLES: Final = Path("/usr/share/OVMF/OVMF_VARS_4M.fd")
needs_ovmf = pytest.mark.skipif(not CODE.exists(), reason="ovmf is not installed")

ADJUSTMENT_S: Final = -10 * 86400 + 123
INITRD_SIZE: Final = 0x0B  # QEMU include/standard-headers/linux/qemu_fw_cfg.h
BOOT_MENU: Final = 0x0E

TOLD: Final = (
    "opt/org.example/a",
    "opt/org.example/b",
    "bootorder",
    "etc/boot-menu-wait",
    "etc/boot-fail-wait",
    "etc/smbios/smbios-tables",
)


def flash(vm: Seen) -> dict[str, tuple[str, bool]]:
    """Give the images in flash, each with whether it may not be written."""
    return {
        name: (row["file"], row["ro"])
        for row in vm.qmp("query-named-block-nodes", flat=True)
        if (name := row["node-name"]).startswith("libvirt-pflash") and row["drv"] != "file"
    }


@needs_ovmf
def test_uefi_by_its_kind(boot: Boots) -> None:
    """Chosen by its descriptor; the variables are made from its template, and kept."""
    text = xml(NOTHING, parts="<features><acpi/></features>").replace(
        "<os>", "<os firmware='efi'><firmware><feature enabled='no' name='secure-boot'/></firmware>"
    )
    with boot(text) as vm:
        images = flash(vm)
        (code, readonly), (kept, writable) = (
            images[name] for name in sorted(images, key=lambda each: "pflash1" in each)[:2]
        )
        assert (code, readonly, writable) == (str(CODE), True, False)
        assert Path(kept).is_relative_to(boot.root)
        assert Path(kept).read_bytes() == VARIABLES.read_bytes()
    assert Path(kept).exists()


@needs_ovmf
def test_uefi_by_name(boot: Boots) -> None:
    """With SMM and variables in qcow2, made from a raw template beforehand."""
    variables = boot.root / "vars.qcow2"
    subprocess.run(
        ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(VARIABLES), str(variables)],
        check=True,
        timeout=PATIENCE_S,
    )
    system = (
        "<loader readonly='yes' secure='yes' type='pflash'>"
        f"{CODE.with_name('OVMF_CODE_4M.secboot.fd')}</loader>"
        f"<nvram format='qcow2'>{variables}</nvram>"
    )
    parts = "<features><acpi/><smm state='on'><tseg unit='MiB'>16</tseg></smm></features>"
    with boot(xml(NOTHING, system=system, parts=parts)) as vm:
        names = {row["node-name"]: row for row in vm.qmp("query-named-block-nodes", flat=True)}
        assert vm.get("/machine:smm") == "on"
        assert vm.get("/machine:pflash1") in names
        assert names[vm.get("/machine:pflash1")]["drv"] == "qcow2"
        bridge = vm.tree()["mch"]
        assert bridge["extended-tseg-mbytes"] == "16 (0x10)"


def test_a_rom(boot: Boots) -> None:
    """A BIOS image of one's own, without any flash."""
    rom = boot.root / "bios.bin"
    shutil.copyfile("/usr/share/seabios/bios-256k.bin", rom)
    with boot(xml(NOTHING, machine="pc", system=f"<loader type='rom'>{rom}</loader>")) as vm:
        assert vm.get("/machine:firmware") == str(rom)
        assert flash(vm) == {}


def test_what_firmware_is_told(boot: Boots) -> None:
    """A kernel, the order of what else to boot, descriptions of the system and files for it."""
    kernel = boot.root / "kernel"
    shutil.copyfile("/usr/share/qemu/linuxboot.bin", kernel)
    header = bytearray(4096)
    header[0x1F1] = 4
    header[0x1FE:0x200] = b"\x55\xaa"
    header[0x202:0x206] = b"HdrS"
    header[0x206:0x208] = b"\x0c\x02"
    header[0x211] = 1
    header[0x22C:0x230] = (0x37FFFFFF).to_bytes(4, "little")
    kernel.write_bytes(header + b"kernel" * 100)
    (boot.root / "initrd").write_bytes(b"initrd" * 7)
    (boot.root / "provision").write_bytes(b"from a file")
    boot.image("vda")
    slic = b"SLIC" + (44).to_bytes(4, "little") + bytes(36)
    (boot.root / "slic").write_bytes(slic)
    system = (
        "<kernel>kernel</kernel><initrd>initrd</initrd><cmdline>console=ttyS0,1 -- a=b</cmdline>"
        "<bootmenu enable='yes' timeout='3210'/><bios useserial='yes' rebootTimeout='123'/>"
        "<smbios mode='sysinfo'/><acpi><table type='slic'>slic</table></acpi>"
    )
    parts = (
        "<genid>0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0</genid>"
        "<sysinfo type='smbios'><bios><entry name='vendor'>Bios, Inc.</entry></bios>"
        "<system><entry name='serial'>S=1,2</entry><entry name='uuid'>"
        "6d2d6ac4-7a3f-4a5e-9c62-3a0c6f0e4b11</entry></system>"
        "<baseBoard><entry name='asset'>Board 7</entry></baseBoard>"
        "<chassis><entry name='manufacturer'>Chassis GmbH</entry></chassis>"
        "<oemStrings><entry>first</entry><entry>second, third</entry></oemStrings></sysinfo>"
        "<sysinfo type='fwcfg'><entry name='opt/org.example/a'>text, and=more</entry>"
        "<entry name='opt/org.example/b' file='provision'/></sysinfo>"
        "<features><acpi/><vmcoreinfo state='on'/></features>"
        "<pm><suspend-to-mem enabled='no'/><suspend-to-disk enabled='yes'/></pm>"
    )
    devices = (
        f"{NOTHING}<disk type='file'><driver type='raw'/><source file='vda'/>"
        "<target dev='vda' bus='virtio'/><boot order='2'/></disk>"
        "<interface type='user'><model type='virtio'/><boot order='1'/></interface>"
        "<serial type='null'/>"
    )
    with boot(xml(devices, machine="pc", system=system, parts=parts)) as vm:
        files = vm.firmware_files(*TOLD)
        assert files["opt/org.example/a"] == b"text, and=more"
        assert files["opt/org.example/b"] == b"from a file"
        order = files["bootorder"].decode().strip("\0").splitlines()
        assert order == [
            "/rom@genroms/linuxboot_dma.bin",
            "/pci@i0cf8/ethernet@2/ethernet-phy@0",
            "/pci@i0cf8/scsi@3/disk@0,0",
            "HALT",
        ]
        assert int.from_bytes(files["etc/boot-menu-wait"][:2], "little") == 3210
        assert int.from_bytes(files["etc/boot-fail-wait"], "little") == 123
        assert "etc/vmcoreinfo" in files
        generation = vm.qmp("query-vm-generation-id")
        assert generation == {"guid": "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"}
        tables = files["etc/smbios/smbios-tables"]
        for text in (b"Bios, Inc.", b"S=1,2", b"Board 7", b"Chassis GmbH", b"first\0second, third"):
            assert text + b"\0" in tables
        assert bytes.fromhex("c46a2d6d3f7a5e4a9c623a0c6f0e4b11") in tables
        assert vm.firmware_number(BOOT_MENU) == 1
        wanted = {
            "/machine:kernel": str(kernel),
            "/machine:initrd": str(boot.root / "initrd"),
            "/machine:append": "console=ttyS0,1 -- a=b",
        }
        assert vm.alike(wanted) == wanted
        assert vm.firmware_number(INITRD_SIZE) == 42
        power = vm.tree()["PIIX4_PM"]
        assert (power["disable_s3"], power["disable_s4"]) == ("1 (0x1)", "0 (0x0)")


def test_a_board_of_old_boot_devices(boot: Boots) -> None:
    """`<boot dev=>` orders the devices themselves."""
    boot.image("vda")
    boot.image("iso")
    system = "<boot dev='cdrom'/><boot dev='hd'/><boot dev='network'/>"
    devices = (
        f"{NOTHING}<disk type='file'><driver type='raw'/><source file='vda'/>"
        "<target dev='vda' bus='virtio'/></disk>"
        "<disk type='file' device='cdrom'><driver type='raw'/><source file='iso'/>"
        "<target dev='sda' bus='sata'/></disk>"
        "<interface type='user'><model type='e1000'/></interface>"
    )
    with boot(xml(devices, system=system)) as vm:
        wanted = {"sata0-0-0:bootindex": 1, "virtio-disk0:bootindex": 2, "net0:bootindex": 3}
        assert vm.alike(wanted) == wanted


def test_clocks(boot: Boots) -> None:
    """A clock that begins on a day long ago, and timers that are there or not."""
    timers = (
        "<timer name='rtc' tickpolicy='catchup'/><timer name='pit' tickpolicy='delay'/>"
        "<timer name='hpet' present='no'/>"
    )
    parts = (
        f"<features><acpi/></features><clock offset='absolute' start='1000000000'>{timers}</clock>"
    )
    with boot(xml(NOTHING, parts=parts)) as vm:
        now = vm.get("/machine:rtc-time")
        assert (1900 + now["tm_year"], now["tm_mon"] + 1, now["tm_mday"]) == (2001, 9, 9)
        tree = vm.tree()
        assert "hpet" not in tree
        assert tree["mc146818rtc"]["lost_tick_policy"] == "slew"
    parts = (
        "<features><acpi/></features>"
        f"<clock offset='variable' basis='utc' adjustment='{ADJUSTMENT_S}'>"
        "<timer name='hpet' present='yes'/></clock>"
    )
    with boot(xml(NOTHING, parts=parts)) as vm:
        assert "hpet" in vm.tree()
        now = vm.get("/machine:rtc-time")
        date = (1900 + now["tm_year"], now["tm_mon"] + 1, now["tm_mday"], now["tm_hour"])
        shown_s = calendar.timegm((*date, now["tm_min"], now["tm_sec"]))
        assert abs(shown_s - ADJUSTMENT_S - time.time()) < PATIENCE_S


def test_machine_switches(boot: Boots) -> None:
    parts = (
        "<features><acpi/><vmport state='off'/><ps2 state='off'/><smm state='off'/>"
        "<tcg><tb-cache unit='MiB'>64</tb-cache></tcg></features>"
    )
    devices = "<memballoon model='none'/><controller type='usb' model='qemu-xhci'/>"
    with boot(xml(devices, parts=parts)) as vm:
        wanted = {"/machine:vmport": "off", "/machine:smm": "off", "/machine:i8042": False}
        assert vm.alike(wanted) == wanted
        assert vm.qmp("query-name") == {"name": "seen"}
        assert vm.qmp("query-uuid") == {"UUID": "6d2d6ac4-7a3f-4a5e-9c62-3a0c6f0e4b11"}
        assert vm.qmp("query-kvm")["enabled"] is False


def test_more_than_libvirt_knows(boot: Boots) -> None:
    """`<qemu:commandline>` and `<qemu:override>`."""
    extra = (
        "<qemu:commandline><qemu:arg value='-device'/><qemu:arg value='edu,id=extra,addr=0x1b'/>"
        "<qemu:env name='QSUPER_SEEN' value='here'/></qemu:commandline>"
        "<qemu:override><qemu:device alias='ua-dice'><qemu:frontend>"
        "<qemu:property name='max-bytes' type='unsigned' value='9'/>"
        "<qemu:property name='period' type='unsigned' value='77'/></qemu:frontend></qemu:device>"
        "</qemu:override>"
    )
    devices = (
        f"{NOTHING}<rng model='virtio'><backend model='builtin'/><alias name='ua-dice'/></rng>"
    )
    text = xml(devices).replace("</domain>", f"{extra}</domain>")
    with boot(text) as vm:
        wanted = {"ua-dice:max-bytes": 9, "ua-dice:period": 77}
        assert vm.alike(wanted) == wanted
        assert vm.places()["extra"] == "pcie.0 1b.0 1234:11e8"
        [qemu] = boot.lab.qemus()
        assert b"QSUPER_SEEN=here" in Path(f"/proc/{qemu}/environ").read_bytes().split(b"\0")


def test_a_guest_that_runs(boot: Boots) -> None:
    """What is seen is not of paused machines alone: one boots from its floppy and says so."""
    disk = (
        "<disk type='file' device='floppy'><driver type='raw'/>"
        f"<source file='{GUESTS}/tick-x86_64.img'/><target dev='fda' bus='fdc'/><readonly/></disk>"
        "<serial type='pty'/>"
    )
    text = xml(disk + NOTHING, machine="pc", system="<boot dev='fd'/>")
    with boot(text) as vm:
        log = boot.lab.state / "qsuper" / "seen" / "serial0.log"
        vm.qmp("cont")
        boot.lab.wait_text(log, "tick 1")
