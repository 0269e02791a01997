"""Devices of the host and cards: what libvirt adds for them, refuses of them and does not look at.

libvirt 11.3 was asked about each of these, by `domxml-to-native` on a QEMU 10.0.
"""

import pytest

from tests.support.domains import device, errors, options, translated

ISCSI = (
    "<hostdev mode='subsystem' type='scsi'><source protocol='iscsi' name='iqn.1992-01.com.a/{}'>"
    "<host name='h' port='3260'/></source></hostdev>"
)
CARD = "<interface type='{}'><mac address='52:54:00:00:00:01'/>{}{}</interface>"
SOURCES = {
    "user": "",
    "vdpa": "<source dev='/dev/vhost-vdpa-0'/>",
    "hostdev": "<source><address type='pci' bus='35' slot='0' function='1'/></source>",
    "vhostuser": "<source type='unix' path='/v' mode='client'/>",
}
SHARED = "<memoryBacking><access mode='shared'/></memoryBacking>"
PCI = "<source><address bus='1' slot='0' function='0'/></source>"
MDEV = "<source><address uuid='53764d0e-85a0-42b4-af5c-2046b460b1dc'/></source>"


def controllers(xml: str, machine: str = "q35") -> list[str]:
    """Give the ids of the controllers and ports in the order of the command line, with drivers."""
    rows = options(translated(xml, machine=machine), "device")
    return [f"{row['id']} {row['driver']}" for row in rows if row["id"].startswith("scsi")]


def test_the_adapter_of_a_scsi_unit_is_added_before_those_without_an_index_get_one() -> None:
    own = "<controller type='scsi' {}model='virtio-scsi'/>"
    assert controllers(own.format("") + ISCSI.format(1)) == [
        "scsi1 virtio-scsi-pci",
        "scsi0 lsi",
    ]
    assert controllers(own.format("index='0' ") + ISCSI.format(1)) == ["scsi0 virtio-scsi-pci"]


def test_the_adapter_of_a_scsi_unit_is_placed_before_what_a_machine_has_anyway() -> None:
    made = translated(ISCSI.format(1), machine="q35")
    assert device(made, "scsi0")["bus"] == "pci.2"
    assert device(made, "pci.2")["driver"] == "pcie-pci-bridge"
    assert device(made, "usb")["bus"] == "pci.3"


@pytest.mark.parametrize(
    ("kind", "source", "words"),
    [
        ("pci", PCI, "model='virtio'"),
        ("pci", PCI, "sgio='filtered'"),
        ("usb", "<source><address bus='1' device='2'/></source>", "sgio='filtered'"),
        ("mdev", MDEV, "model='vfio-pci' sgio='unfiltered'"),
        ("scsi", ISCSI.partition("'scsi'>")[2].partition("</hostdev>")[0], "model='virtio'"),
    ],
)
def test_words_of_other_host_devices_are_an_error(kind: str, source: str, words: str) -> None:
    name = words.rsplit(maxsplit=1)[-1].partition("=")[0]
    assert errors(f"<hostdev mode='subsystem' type='{kind}' {words}>{source}</hostdev>") == [
        f"vm.xml:6: <hostdev>: {name}= is not for type='{kind}' (remove it)"
    ]


@pytest.mark.parametrize(
    ("kind", "inside", "message"),
    [
        ("vdpa", "<model type='e1000'/>", "<interface>: type='vdpa' needs a virtio model"),
        ("vdpa", "<backend tap='/t'/>", "<backend>: tap= is not for type='vdpa'"),
        ("vdpa", "<backend type='passt'/>", "<backend>: type='passt' is not for type='vdpa'"),
        ("user", "<backend tap='/t'/>", "<backend>: tap= is not for type='user'"),
        ("hostdev", "<backend type='passt'/>", "<backend>: type='passt' is not for type='hostdev'"),
        (
            "hostdev",
            "<bandwidth><inbound average='1'/></bandwidth>",
            "<bandwidth>: a device of the host has none to limit",
        ),
    ],
)
def test_what_a_card_of_another_type_has(kind: str, inside: str, message: str) -> None:
    [found] = errors(CARD.format(kind, SOURCES[kind], inside), parts=SHARED)
    assert found.startswith(f"vm.xml:6: {message} (")


@pytest.mark.parametrize("kind", ["vdpa", "vhostuser"])
def test_only_a_card_that_calls_itself_virtio_has_queues(kind: str) -> None:
    driver = "<driver queues='2' iommu='on'><host csum='off'/></driver>"
    xml = CARD.format(kind, SOURCES[kind], "{}" + driver)
    silent = device(translated(xml.format(""), parts=SHARED), "net0")
    assert {"mq", "csum"}.isdisjoint(silent)
    assert silent["iommu_platform"] is True
    said = device(translated(xml.format("<model type='virtio'/>"), parts=SHARED), "net0")
    assert (said["mq"], said["csum"], said["iommu_platform"]) == (True, False, True)


USB_CARD = CARD.format("user", "<model type='usb-net'/>", "{}")


@pytest.mark.parametrize("rom", ["<rom bar='off'/>", "<rom enabled='yes'/>"])
def test_a_rom_is_for_what_is_on_pci(rom: str) -> None:
    assert errors(USB_CARD.format(rom)) == [
        "vm.xml:6: <interface>: <rom> is for PCI cards (remove it)"
    ]
    assert errors(USB_CARD.format("<rom/>")) == []
    unit = ISCSI.format(1).replace("</hostdev>", f"{rom}</hostdev>")
    assert errors(unit) == ["vm.xml:6: <hostdev>: <rom> is for devices on PCI (remove it)"]


@pytest.mark.parametrize("kind", ["usb", "mdev"])
def test_a_rom_of_another_host_device_than_of_pci_says_nothing(kind: str) -> None:
    source = MDEV if kind == "mdev" else "<source><address bus='1' device='2'/></source>"
    words = "model='vfio-pci'" if kind == "mdev" else ""
    xml = f"<hostdev mode='subsystem' type='{kind}' {words}>{source}{{}}</hostdev>"
    made = translated(xml.format("<rom bar='off' file='/r'/>"))
    assert device(made, "hostdev0") == device(translated(xml.format("")), "hostdev0")


def test_on_arm_a_card_on_usb_is_made_by_net() -> None:
    usb = "<controller type='usb' model='qemu-xhci'/>"
    made = translated(usb + USB_CARD.format(""), arch="aarch64", machine="virt")
    [card] = options(made, "net")
    assert (card["model"], card["id"]) == ("usb-net", "net0")
