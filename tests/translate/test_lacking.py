"""What this QEMU, this machine or this host lacks, and the words that only others have."""

import pytest

from qsuper.translate.site import HostData
from tests.support.domains import device, errors, options, translated
from tests.support.emulators import emulator

UNIT = (
    "<hostdev mode='subsystem' type='scsi' managed='no'><source><adapter name='scsi_host{}'/>"
    "<address bus='0' target='2' unit='5'/></source>{}</hostdev>\n"
)
HOST = HostData(machine_id="m", scsi_generic={"0:0:2:5": "/dev/sg3", "1:0:2:5": "/dev/sg4"})
CONTROLLER = "<controller type='scsi' index='0' model='{}'/>\n"
PLACE = "<address type='drive' controller='0' bus='0' target='{}' unit='{}'/>"


@pytest.mark.parametrize(
    ("xml", "lacking", "what"),
    [
        (
            "<crypto model='virtio' type='qemu'><backend model='builtin'/></crypto>",
            "cryptodev-backend-builtin",
            "<crypto>: this QEMU has no back end 'builtin'",
        ),
        (
            "<filesystem><source dir='/a'/><target dir='t'/></filesystem>",
            "virtio-9p-pci",
            "<filesystem>: this QEMU has no driver type='path'",
        ),
        (
            (
                "<hostdev mode='subsystem' type='pci'><source>"
                "<address domain='0' bus='3' slot='1' function='0'/></source></hostdev>"
            ),
            "vfio-pci",
            "<hostdev>: this QEMU has no type='pci'",
        ),
        (
            (
                "<interface type='hostdev'><source>"
                "<address type='pci' domain='0' bus='3' slot='1' function='0'/>"
                "</source></interface>"
            ),
            "vfio-pci",
            "<interface>: this QEMU has no vfio-pci",
        ),
        (
            "<pstore backend='acpi-erst'><size>8</size></pstore>",
            "acpi-erst",
            "<pstore>: this machine has no acpi-erst (q35 has)",
        ),
        ("<redirdev bus='usb' type='pty'/>", "usb-redir", "this QEMU has no usb-redir"),
        (
            "<rng model='virtio'><backend model='random'/></rng>",
            "rng-random",
            "<rng>: this QEMU has no back end model='random'",
        ),
        (
            "<shmem name='m'><model type='ivshmem-doorbell'/><server path='/s'/></shmem>",
            "ivshmem-doorbell",
            "this QEMU has no model type='ivshmem-doorbell'",
        ),
        (
            "<smartcard mode='host'/>",
            "ccid-card-emulated",
            "<smartcard>: this QEMU has no mode='host'",
        ),
        ("<vsock><cid address='3'/></vsock>", "vhost-vsock-pci", "this QEMU has no vsock"),
        ("<watchdog model='i6300esb'/>", "i6300esb", "this QEMU has no model='i6300esb'"),
        (
            "<video><model type='qxl'/></video>",
            "qxl-vga",
            "<video>: this QEMU has no model type='qxl'",
        ),
        ("<tpm><backend type='passthrough'/></tpm>", "tpm-tis", "has no model='tpm-tis'"),
    ],
)
def test_what_this_qemu_lacks(xml: str, lacking: str, what: str) -> None:
    found = errors(xml, caps=emulator(types=[lacking]))
    assert any(message.startswith("vm.xml:6: ") and what in message for message in found), found


@pytest.mark.parametrize(
    ("xml", "machine", "arch", "what"),
    [
        ("<panic/>", "virt", "riscv64", "machine 'virt' has no default for model= (pvpanic)"),
        (
            "<tpm><backend type='emulator' version='1.2'/></tpm>",
            "virt",
            "aarch64",
            "only x86 guests have version='1.2' (version='2.0')",
        ),
    ],
)
def test_what_this_machine_lacks(xml: str, machine: str, arch: str, what: str) -> None:
    found = errors(xml, machine=machine, arch=arch)
    assert any(message.startswith("vm.xml:6: ") and what in message for message in found), found


@pytest.mark.parametrize(
    ("xml", "what"),
    [
        (
            (
                "<rng model='virtio'><backend model='random'/>"
                "<address type='pci' slot='9'><zpci uid='5'/></address></rng>"
            ),
            "<zpci>: only s390x guests have it (remove it)",
        ),
        (
            (
                "<hostdev mode='subsystem' type='usb' rawio='yes'><source><vendor id='0x1'/>"
                "<product id='0x2'/></source></hostdev>"
            ),
            "rawio= is not for type='usb' (remove it)",
        ),
        (
            (
                "<hostdev mode='subsystem' type='mdev' model='vfio-pci' display='on'><source>"
                "<address uuid='c2177883-f1bb-47f0-914d-32a22e3a8804'/></source></hostdev>"
            ),
            "display='on' needs <graphics> (add one)",
        ),
        ("<redirdev bus='pci' type='pty'/>", "<redirdev>: bus='pci' is unknown (usb)"),
        ("<pstore backend='x'><size>8</size></pstore>", "backend='x' is unknown (acpi-erst)"),
        (
            "<tpm><backend type='external'><source type='tcp' path='/s'/></backend></tpm>",
            "<source>: type='tcp' is unknown (unix)",
        ),
        ("<tpm><backend type='emulator'/></tpm>" * 2, "<tpm>: there can be one"),
        (
            "<controller type='usb' model='none'/><controller type='usb' index='1' model='ehci'/>",
            "model='none' beside other USB controllers",
        ),
        ("<video><model type='vga' heads='2'/></video>", "model type='vga' has one head (virtio)"),
        (
            "<video><model type='virtio' blob='on'/></video>",
            "blob='on' needs memory from a memfd (<memoryBacking><source type='memfd'/>)",
        ),
        (
            "<video><model type='vga'><acceleration accel2d='yes'/></model></video>",
            "<acceleration>: accel2d='yes' is not for QEMU",
        ),
        (
            (
                "<disk type='block' device='lun'><driver type='qcow2'/><source dev='/d'/>"
                "<target dev='sda' bus='scsi'/></disk>"
            ),
            "device='lun' needs format 'raw'",
        ),
        (
            (
                "<disk type='file'><source file='/a'/><geometry cyls='1' heads='1' secs='1'/>"
                "<target dev='sda' bus='usb'/></disk>"
            ),
            "a disk with bus='usb' has no <geometry>",
        ),
        (
            (
                "<disk type='file'><source file='/a'/><geometry cyls='1' trans='lba'/>"
                "<target dev='vda'/></disk>"
            ),
            "only IDE disks have a <geometry trans=>",
        ),
        (
            (
                "<disk type='file'><source file='/a'/><acpi index='5'/>"
                "<target dev='sda' bus='sata'/></disk>"
            ),
            "only PCI devices have an <acpi index=> (remove it)",
        ),
        (
            "<disk type='file'><source file='/a'/><acpi index='0'/><target dev='vda'/></disk>",
            "<acpi>: index='0' is out of range (1..16383)",
        ),
    ],
)
def test_words_that_only_others_have(xml: str, what: str) -> None:
    found = errors(xml)
    assert len(set(found)) == 1, found
    assert found[0].startswith("vm.xml:6: ")
    assert what in found[0]


@pytest.mark.parametrize(
    ("labels", "what"),
    [
        ("<seclabel/>", "attribute 'model' is missing (selinux, apparmor or dac)"),
        ("<seclabel type='x' model='dac'/>", "type='x' is unknown (one of default, none, dynamic,"),
        ("<seclabel type='static' model='dac'/>", "type='static' needs a <label> (add it)"),
        ("<seclabel type='none' model='dac' relabel='yes'/>", "type='none' has nothing to relabel"),
        ("<seclabel type='dynamic' model='dac' relabel='no'/>", "type='dynamic' always relabels"),
        ("<seclabel type='none' model='dac'/>" * 2, "model='dac' is given twice (one of each)"),
        ("<seclabel type='none'/><seclabel type='none' model='dac'/>", "'model' is missing"),
    ],
)
def test_labels_that_contradict_themselves(labels: str, what: str) -> None:
    [found] = errors("", parts=labels)
    assert found.startswith("vm.xml:3: <seclabel>: ")
    assert what in found


@pytest.mark.parametrize(
    "labels",
    [
        "<seclabel type='none'/>",
        "<seclabel type='dynamic'/>",
        "<seclabel model='dac'/>",
        "<seclabel type='static' model='dac' relabel='yes'><label>+7:+7</label></seclabel>",
        "<seclabel type='none' model='dac'/><seclabel type='none' model='selinux'/>",
    ],
)
def test_labels_are_the_hosts_business(labels: str) -> None:
    assert translated("", parts=labels).plan.options == translated("").plan.options


def test_a_guest_may_have_two_file_systems_of_a_name() -> None:
    """Libvirt lets it pass, and QEMU starts."""
    xml = "<filesystem><source dir='/a'/><target dir='t'/></filesystem>\n" * 2
    made = translated(xml)
    assert [device(made, f"fs{number}")["mount_tag"] for number in range(2)] == ["t", "t"]
    text = "<filesystem>: <target dir='t'/> stands here twice, and the guest finds one of them"
    said = [str(notice) for notice in made.notices]
    assert {f"vm.xml:{line}: {text}" for line in (6, 7)} <= set(said)


def test_a_unit_of_the_host_is_found_by_its_place() -> None:
    made = translated(UNIT.format(0, ""), host=HOST)
    node = options(made, "blockdev")[-1]
    assert (node["driver"], node["filename"]) == ("host_device", "/dev/sg3")
    assert device(made, "hostdev0")["drive"] == node["node-name"]


@pytest.mark.parametrize(
    ("xml", "what"),
    [
        (UNIT.format(7, ""), "the host has no SCSI unit 7:0:2:5 (see `lsscsi`)"),
        (UNIT.format(0, "") * 2, "0:0:2:5 stands here twice (remove one)"),
        (
            UNIT.format(0, PLACE.format(0, 1)) + UNIT.format(1, PLACE.format(0, 1)),
            "vm.xml:7: <hostdev>: its place is taken, by line 6",
        ),
        (
            UNIT.format(0, PLACE.format(0, 0))
            + f"<disk>{PLACE.format(0, 0)}<source file='/a'/><target dev='sda'/></disk>",
            "vm.xml:6: <hostdev>: its place is taken, by a disk",
        ),
        (
            UNIT.format(0, PLACE.format(0, 9)) + CONTROLLER.format("lsilogic"),
            "its SCSI controller has no such place",
        ),
        (UNIT.format(0, "<address type='pci' slot='9'/>"), "<address type=> does not fit"),
        (UNIT.format(0, "").replace("subsystem", "capabilities"), "mode='capabilities'"),
    ],
)
def test_a_unit_of_the_host_that_is_wrong(xml: str, what: str) -> None:
    found = errors(xml, host=HOST)
    assert any(what in message for message in found), found
    assert all(message.startswith(("vm.xml:6: ", "vm.xml:7: ")) for message in found)
