"""The smaller families: what QEMU is told of them."""

import pytest

from qsuper.translate.site import HostData
from tests.support.domains import device, obstacles, options, translated

UUID = "c2177883-f1bb-47f0-914d-32a22e3a8800"


@pytest.mark.parametrize(
    ("xml", "ident", "expected"),
    [
        (
            "<iommu model='intel'><driver intremap='on' aw_bits='39'/></iommu>",
            "iommu0",
            {"driver": "intel-iommu", "intremap": "on", "aw-bits": 39},
        ),
        (
            "<pstore backend='acpi-erst'><size>8</size></pstore>",
            "pstore0",
            {"memdev": "mempstore0"},
        ),
        (
            (
                "<hostdev mode='subsystem' type='mdev' model='vfio-pci'><source>"
                f"<address uuid='{UUID}'/></source></hostdev>"
            ),
            "hostdev0",
            {"driver": "vfio-pci", "display": "off"},
        ),
        (
            (
                "<hostdev mode='subsystem' type='mdev' model='vfio-pci' ramfb='on'><source>"
                f"<address uuid='{UUID}'/></source></hostdev>"
            ),
            "hostdev0",
            {"driver": "vfio-pci-nohotplug", "display": "off", "ramfb": True},
        ),
        (
            "<shmem name='m'><model type='ivshmem-doorbell'/><server path='/s'/></shmem>",
            "shmem0",
            {"ioeventfd": True},
        ),
        (
            (
                "<shmem name='m'><model type='ivshmem-doorbell'/><server path='/s'/>"
                "<msi ioeventfd='off'/></shmem>"
            ),
            "shmem0",
            {"ioeventfd": False},
        ),
    ],
)
def test_what_qemu_is_told(xml: str, ident: str, expected: dict[str, object]) -> None:
    row = device(translated(xml, machine="q35"), ident)
    assert {key: row.get(key) for key in expected} == expected


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("", {"driver": "pvpanic"}),
        ("<address type='isa'/>", {"driver": "pvpanic", "ioport": 0}),
        ("<address type='isa' iobase='505'/>", {"driver": "pvpanic", "ioport": 0x505}),
    ],
)
def test_a_panic_devices_port(address: str, expected: dict[str, object]) -> None:
    made = translated(f"<panic model='isa'>{address}</panic>")
    assert expected in options(made, "device")


def test_a_record_of_crashes_has_a_file_anyway() -> None:
    host = HostData(machine_id="m", nvram_dir="/nvram")
    made = translated("<pstore backend='acpi-erst'><size>8</size></pstore>", host=host)
    backend = options(made, "object")[-1]
    assert (backend["mem-path"], backend["size"]) == ("/nvram/vm_PSTORE.raw", 8192)


def test_two_cards_watch_the_guest() -> None:
    made = translated("<watchdog model='i6300esb'/>" * 2)
    places = [device(made, f"watchdog{number}")["addr"] for number in range(2)]
    assert len(set(places)) == 2


def test_a_builtin_crypto_device_has_one_queue() -> None:
    """Libvirt writes more, and QEMU does not start."""
    crypto = "<crypto model='virtio' type='qemu'><backend model='builtin' queues='{}'/></crypto>"
    text = "vm.xml:6: <crypto>: the back end 'builtin' has one queue (queues='1')"
    assert obstacles(crypto.format(2)) == [text]
    assert obstacles(crypto.format(1)) == []
    assert "queues" not in options(translated(crypto.format(0)), "object")[-1]


@pytest.mark.parametrize("kind", ["pty", "file"])
def test_random_numbers_come_by_any_character_device(kind: str) -> None:
    backend = f"<backend model='egd' type='{kind}'><source path='/x'/></backend>"
    made = translated(f"<rng model='virtio'>{backend}</rng>")
    assert options(made, "chardev")[0]["id"] == options(made, "object")[-1]["chardev"]


@pytest.mark.parametrize("rate", ["<rate/>", "<rate bytes='0'/>"])
def test_a_rate_of_nothing_is_no_limit(rate: str) -> None:
    made = translated(f"<rng model='virtio'>{rate}<backend model='random'/></rng>")
    assert "max-bytes" not in device(made, "rng0")


def test_a_vsock_address_is_derived_where_none_is_given() -> None:
    assert device(translated("<vsock><cid/></vsock>"), "vsock0")["guest-cid"] > 2


def test_a_lease_is_nobodys_here() -> None:
    xml = "<lease><lockspace>s</lockspace><key>k</key><target path='/x'/></lease>"
    said = [str(notice) for notice in translated(xml).notices]
    assert "vm.xml:6: <lease>: there is no lock manager here: nothing keeps others off" in said


def test_a_smartcard_gets_a_reader() -> None:
    made = translated("<smartcard mode='host'/>")
    assert device(made, "ccid0")["driver"] == "usb-ccid"
    assert device(made, "smartcard0")["bus"] == "ccid0.0"


def test_certificates_have_a_database_anyway() -> None:
    certificates = "".join(f"<certificate>{name}</certificate>" for name in "abc")
    made = translated(f"<smartcard mode='host-certificates'>{certificates}</smartcard>")
    card = device(made, "smartcard0")
    assert (card["cert1"], card["cert3"], card["db"]) == ("a", "c", "/etc/pki/nssdb")
