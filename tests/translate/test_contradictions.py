"""What libvirt refuses because two things that are said do not go together."""

import pytest
from msgspec.structs import replace

from tests.support.domains import device, errors, obstacles, translated
from tests.support.emulators import emulator

BRIDGE = "<interface type='bridge'><source bridge='b'/>{}</interface>"
LABELLED = "<disk type='file'><source file='/a'>{}</source><target dev='vda' bus='virtio'/></disk>"
PORT = "<serial type='file'><source path='/a'>{}</source></serial>"
MIRROR = (
    "<disk type='file'><source file='/a'/><target dev='vda' bus='virtio'/>"
    "<mirror type='file'><source file='/b'>{}</source></mirror></disk>"
)
NONE = "<seclabel type='none' model='selinux'/>"
RELABELLED = "<seclabel type='static' model='selinux' relabel='yes'><label>a</label></seclabel>"
STATIC = "<seclabel type='static' model='selinux'><label>a</label></seclabel>"
PARTITION = "<resource><partition>/m</partition></resource>"
PEER = "<interface type='ethernet'><source><ip address='10.0.0.1' peer='{}'/></source></interface>"
LUN = "<disk type='block' device='lun'><source dev='/a'/><target dev='sda' bus='scsi' {}/></disk>"
HOST_CARD = "<interface type='hostdev'><source>{}</source></interface>"
HOST_PCI = (
    "<hostdev type='pci'><source {}><address bus='1' slot='0' function='0'/></source></hostdev>"
)
HOST_SCSI = (
    "<hostdev type='scsi'><source startupPolicy='requisite'><adapter name='scsi_host0'/>"
    "<address bus='0' target='0' unit='0'/></source></hostdev>"
)
OVS = "<virtualport type='openvswitch'/>"


@pytest.mark.parametrize(
    ("devices", "parts", "what"),
    [
        (BRIDGE.format(f"<port isolated='yes'/>{OVS}"), "", "for a port of type='openvswitch'"),
        (BRIDGE.format("<virtualport type='none'/>"), "", "type='none' is unknown"),
        ("<interface type='user'><port isolated='yes'/></interface>", "", "for type='user'"),
        (
            "<input type='keyboard' bus='virtio' model='virtio-transitional'/>",
            "",
            "type='keyboard' has no model='virtio-transitional'",
        ),
        (LABELLED.format("<seclabel model='selinux' labelskip='yes'/>"), STATIC, "relabelled"),
        (LABELLED.format("<seclabel model='selinux' relabel='no'/>"), NONE, "relabelled"),
        (PORT.format("<seclabel model='selinux' relabel='no'/>"), STATIC, "relabelled"),
        ("", "<features><htm state='off'/></features>", "only pseries guests have it"),
        ("", "<features><hpt resizing='enabled'/></features>", "only pseries guests have it"),
        ("", "<resource/>", "<resource>: it says nothing (<partition>/machine</partition>)"),
        ("", "<resource><partition/><fibrechannel/></resource>", "it says nothing"),
        ("", f"{PARTITION}{PARTITION}", "<resource>: there is only one"),
        (BRIDGE.format("<bandwidth classID='2'/>"), "", "classID= is for a network's own file"),
        (PEER.format("fe80::1"), "", "peer='fe80::1' is no address of the same family"),
        (PEER.format("x"), "", "peer='x' is no address of the same family"),
        (HOST_PCI.format("startupPolicy='optional'"), "", "startupPolicy= is for USB devices"),
        ("<panic><address type='pci'/></panic>", "", "model='isa' has no such <address>"),
        (HOST_SCSI, "", "startupPolicy= is for USB devices"),
        (LUN.format("removable='off'"), "", "removable= is for USB and SCSI disks"),
        (
            HOST_CARD.format("<address bus='3' slot='1' function='0'/>"),
            "",
            "attribute 'type' is missing",
        ),
        (
            HOST_CARD.format("<address type='usb' bus='3'/>"),
            "",
            "attribute 'device' is missing",
        ),
    ],
)
def test_it_is_refused(devices: str, parts: str, what: str) -> None:
    [error] = errors(devices, parts=parts)
    assert what in error


@pytest.mark.parametrize(
    ("devices", "parts"),
    [
        (LABELLED.format("<seclabel relabel='no'/>"), STATIC),
        (MIRROR.format("<seclabel model='selinux' relabel='no'/>"), STATIC),
        (LABELLED.format("<seclabel model='dac' relabel='no'/>"), STATIC),
        (LABELLED.format("<seclabel model='selinux' relabel='no'/>"), ""),
        (LABELLED.format("<seclabel model='selinux' relabel='no'/>"), RELABELLED),
        (BRIDGE.format("<port isolated='yes'/>"), ""),
        (BRIDGE.format(f"<port isolated='no'/>{OVS}"), ""),
        ("<input type='keyboard' bus='virtio' model='virtio'/>", ""),
        ("", PARTITION),
        ("", "<resource><fibrechannel appid='x'/></resource>"),
        ("", "<features><hpt/></features>"),
        (BRIDGE.format("<bandwidth/>"), ""),
        (PEER.format("10.0.0.2"), ""),
        (LUN.format(""), ""),
        (HOST_PCI.format(""), ""),
        (HOST_CARD.format("<vendor/><product/><address bus='3' device='3'/>"), ""),
        (
            HOST_CARD.format("<address type='usb' bus='3' device='3'/>").replace(
                "</source>", "</source><driver name='xen'/>"
            ),
            "",
        ),
        ("<video><model type='none'><resolution x='0' y='5'/></model></video>", ""),
        ("<video><model type='none'><acceleration rendernode='/x'/></model></video>", ""),
        ("<controller type='fdc' index='1'/>", ""),
    ],
)
def test_each_by_itself_is_not(devices: str, parts: str) -> None:
    assert errors(devices, parts=parts) == []


def test_a_floppy_controller_that_the_machine_has_not_has_no_effect() -> None:
    made = translated("<controller type='fdc'/>", machine="virt", arch="aarch64")
    assert any("no such floppy controller: it has no effect" in str(said) for said in made.notices)


def test_a_network_card_on_usb_is_a_usb_device_of_the_host() -> None:
    source = "<address type='usb' bus='3' device='4'/>"
    card = HOST_CARD.format(source).replace(
        "</source>", "</source><boot order='1'/><rom bar='on'/>"
    )
    found = device(translated(card), "hostdev0")
    expected = {"driver": "usb-host", "hostdevice": "/dev/bus/usb/003/004", "bootindex": 1}
    assert found == {**expected, "id": "hostdev0", "bus": "usb.0", "port": "1"}


@pytest.mark.parametrize("kind", ["usb", "pci"])
def test_a_host_card_needs_no_model_of_the_emulator(kind: str) -> None:
    card = HOST_CARD.format(f"<address type='{kind}' bus='3' device='4'/>")
    assert obstacles(card, caps=emulator(types=[""])) == []


def test_the_place_of_a_host_device_is_zero_where_nothing_is_said() -> None:
    card = HOST_CARD.format("<address type='pci' slot='3'/>")
    assert device(translated(card), "hostdev0")["host"] == "0000:00:03.0"


def test_a_whole_cpu_that_the_emulator_has_not() -> None:
    caps = replace(emulator("riscv64"), cpu_models={"tcg": frozenset({"rv64"})})
    found = errors("", machine="virt", arch="riscv64", parts="<cpu mode='maximum'/>", caps=caps)
    assert found == ["vm.xml:3: <cpu>: the emulator has no mode='maximum' (remove <cpu>)"]
