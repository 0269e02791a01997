"""What libvirt makes of devices: what it takes for none, what it refuses, where it puts them.

libvirt 11.3 was asked about each of these, by `domxml-to-native` on a QEMU 7.2.
"""

from typing import Any, Final

import pytest

from tests.support.domains import device, errors, obstacles, options, translated
from tests.support.emulators import emulator

CARD: Final = "<interface type='user'><mac address='52:54:00:00:00:01'/>{}</interface>"
ISCSI: Final = (
    "<hostdev mode='subsystem' type='scsi'><source protocol='iscsi' name='iqn.t{}'>"
    "<host name='h' port='3260'/></source></hostdev>"
)
MDEV: Final = (
    "<hostdev mode='subsystem' type='mdev' model='vfio-pci'><source>"
    "<address uuid='c2177883-f1bb-47f0-914d-32a22e3a8804'/></source>{}</hostdev>"
)
USB: Final = (
    "<hostdev mode='subsystem' type='usb'><source>"
    "<address bus='1' device='2'/></source>{}</hostdev>"
)
ROUTE: Final = "<interface type='ethernet'><source>{}</source></interface>"
TPM: Final = (
    "<tpm model='tpm-crb'><backend type='external' version='1.2'>"
    "<source type='unix' mode='connect' path='/t'/></backend></tpm>"
)
VIDEO: Final = "<graphics type='vnc'/><video><model type='{}' heads='{}'/></video>"
VOLUME: Final = (
    "<disk type='block' device='lun'><source dev='/dev/a'/><target dev='vda' bus='virtio'/></disk>"
)


@pytest.mark.parametrize(
    ("model", "driver", "bus"),
    [
        ("virtio", "virtio-net-pci", "pci.1"),
        ("VirtIO", "virtio-net-pci", "pci.1"),
        ("E1000", "e1000", "pci.2"),
        ("am79c970a", "Am79C970A", "pci.2"),
        ("vmxnet3", "vmxnet3", "pci.2"),
        ("Usb-Net", "usb-net", "usb.0"),
        ("tulip", "tulip", "pci.1"),
        ("virtio-net-pci", "virtio-net-pci", "pci.1"),
    ],
)
def test_a_model_in_capitals_is_known_and_one_unheard_of_is_pci_express(
    model: str, driver: str, bus: str
) -> None:
    made = translated(CARD.format(f"<model type='{model}'/>"), machine="q35")
    assert device(made, "net0")["driver"] == driver
    assert device(made, "net0")["bus"] == bus


def test_driver_words_count_where_virtio_is_written() -> None:
    words = "<driver name='any' txmode='any' queues='x' event_idx='x' rx_queue_size='7'/>"
    for model in ("", "<model type='e1000'/>"):
        card = device(
            translated(CARD.format(model + words), arch="aarch64", machine="virt"), "net0"
        )
        assert not card.keys() & {"tx", "mq", "event_idx", "rx_queue_size"}
    written = "<model type='VIRTIO'/><driver txmode='timer' rx_queue_size='512'/>"
    card = device(translated(CARD.format(written)), "net0")
    assert (card["tx"], card["rx_queue_size"]) == ("timer", 512)


@pytest.mark.parametrize(
    "nothing",
    ["<mtu/>", "<mtu size='0'/>", "<coalesce/>", "<coalesce><rx/></coalesce>", "<script/>"],
)
def test_an_element_that_says_nothing_is_at_no_wrong_place(nothing: str) -> None:
    assert errors(CARD.format(nothing)) == []


@pytest.mark.parametrize(
    ("xml", "what"),
    [
        (
            CARD.format("<model type='e1000'/><driver packed='on'/>"),
            (
                "<interface>: iommu=, ats=, packed= and page_per_vq= are of virtio"
                " (<model type='virtio'/>)"
            ),
        ),
        (
            CARD.format("<model type='a b'/>"),
            "<model>: type='a b' is no name of a model (virtio, e1",
        ),
        (
            "<interface type='server'><source port='1'/><backend type='passt'/></interface>",
            "<backend>: type='passt' is not for type='server' (it is for user, vhostuser)",
        ),
        (
            CARD.format("<backend tap='/dev/net/tun'/>"),
            "<backend>: tap= is not for type='user' (network, bridge, ethernet)",
        ),
        (
            ROUTE.format("<route address='10.0.0.0' gateway='10.0.0.1'/>"),
            "<route>: that is not the address of a network (prefix=)",
        ),
        (
            ROUTE.format("<route address='10.0.0.1' prefix='8' gateway='10.0.0.1'/>"),
            "<route>: that is not the address of a network (prefix=)",
        ),
        (
            ROUTE.format("<route address='10.0.0.0' prefix='33' gateway='10.0.0.1'/>"),
            "<route>: that is not the address of a network (prefix=)",
        ),
        (
            ROUTE.format("<route address='::' gateway='fe80::1'/>"),
            "<route>: address='::' is no address of family='ipv4' (family='ipv6')",
        ),
        (
            ROUTE.format("<route family='ipv6' address='::' gateway='10.0.0.1'/>"),
            "<route>: gateway='10.0.0.1' is no address of family='ipv6'",
        ),
        (
            ROUTE.format("<route address='0.0.0.0' gateway='10.0.0.1' metric='0'/>"),
            "<route>: metric='0' is none (1 or more)",
        ),
        (
            ROUTE.format(
                "<route address='10.0.0.0' prefix='8' netmask='255.0.0.0' gateway='10.0.0.1'/>"
            ),
            "<route>: prefix= and netmask= are the same (keep one)",
        ),
        (
            ROUTE.format("<route family='ipx' address='0.0.0.0' gateway='10.0.0.1'/>"),
            "<route>: family='ipx' is unknown (ipv4 or ipv6)",
        ),
        (
            ROUTE.format("<ip address='any'/>"),
            "<ip>: address='any' is no address of family='ipv4'",
        ),
        (
            ROUTE.format("<ip address='10.0.0.1' prefix='64'/>"),
            "<ip>: prefix='64' is too long (at most 32)",
        ),
        (
            MDEV.format("<boot order='1'/>"),
            "<hostdev>: no guest boots from type='mdev' (remove <boot>)",
        ),
        (
            USB.format("<address type='unassigned'/>"),
            "<hostdev>: only a PCI device can be unassigned (remove <address>)",
        ),
        (
            f"{ISCSI.format('')}\n{ISCSI.format('')}",
            "<hostdev>: one iSCSI unit stands here twice (remove one)",
        ),
        (VIDEO.format("cirrus", 0), "<video>: model type='cirrus' has one head (virtio)"),
        (VIDEO.format("ramfb", 2), "<video>: model type='ramfb' has one head (virtio)"),
        (
            CARD.format("<model type='usb-net'/><rom bar='on'/>"),
            "<interface>: <rom> is for PCI cards (remove it)",
        ),
        (
            (
                "<disk type='nvme'><source type='pci' namespace='1' startupPolicy='optional'>"
                "<address bus='1' slot='0'/></source><target dev='vda'/></disk>"
            ),
            "<source>: startupPolicy='optional' is not for type='nvme'",
        ),
        (
            "<graphics type='vnc' autoport='no'/>",
            "<graphics>: port='None' is below 5900 (autoport='yes')",
        ),
        (
            "<graphics type='vnc' port='-1' autoport='no'/>",
            "<graphics>: port='-1' is below 5900 (autoport='yes')",
        ),
        (
            "<graphics type='vnc'/><graphics type='sdl'/>",
            "<graphics>: there is no <audio> (add one)",
        ),
        (
            "<graphics type='spice'/><serial type='spicevmc'/>",
            "type='spicevmc' is for channels (<channel>)",
        ),
        (
            "<tpm model='tpm-crb'><backend type='emulator' version='1.2'/></tpm>",
            "<tpm>: model='tpm-crb' needs version='2.0' (tpm-tis)",
        ),
        (
            (
                "<shmem name='m'><model type='ivshmem-doorbell'/><server path='/s'/>"
                "<size unit='MiB'>4</size></shmem>"
            ),
            "<shmem>: the server says the size (remove <size>)",
        ),
    ],
)
def test_what_libvirt_refuses(xml: str, what: str) -> None:
    assert any(what in message for message in errors(xml)), errors(xml)


@pytest.mark.parametrize(
    "good",
    [
        "<route address='10.1.0.0' prefix='16' gateway='10.0.0.2' metric='1'/>",
        "<route address='10.1.0.0' netmask='255.255.0.0' gateway='10.0.0.2'/>",
        "<route address='0.0.0.0' gateway='10.0.0.2'/>",
        "<route family='ipv6' address='fd00::' prefix='64' gateway='fd00::1'/>",
        "<ip family='ipv6' address='fd00::1' prefix='64'/>",
        "<ip address='fd00::1' prefix='64'/>",
    ],
)
def test_good_addresses_of_the_hosts_side_are_taken(good: str) -> None:
    assert errors(ROUTE.format(good)) == []


def test_controllers_of_scsi_units_stand_before_those_of_the_machine() -> None:
    made = translated(ISCSI.format(""), machine="q35")
    assert device(made, "pci.2")["driver"] == "pcie-pci-bridge"
    assert device(made, "scsi0")["bus"] == "pci.2"
    assert device(made, "usb")["bus"] == "pci.3"
    with_disk = "<disk type='file'><source file='a'/><target dev='sda' bus='scsi'/></disk>"
    assert device(translated(with_disk, machine="q35"), "usb")["bus"] == "pci.2"


def test_a_rom_is_for_whole_pci_devices() -> None:
    for xml in (MDEV, USB):
        card = device(translated(xml.format("<rom bar='on' file='/r'/>")), "hostdev0")
        assert not card.keys() & {"romfile", "rombar"}


@pytest.mark.parametrize(
    ("attributes", "channels", "expected"),
    [
        ("", "", {"port": "0"}),
        ("autoport='yes'", "", {"port": "5901"}),
        ("port='-1' tlsPort='-1'", "", {"port": "5901"}),
        ("autoport='yes' defaultMode='secure'", "", {"tls-port": "5902"}),
        ("tlsPort='-1' defaultMode='secure'", "", {"tls-port": "5902"}),
        ("port='5999' tlsPort='-1'", "", {"port": "5999", "tls-port": "5902"}),
        ("autoport='yes'", "secure", {"port": "5901", "tls-port": "5902"}),
        (
            "autoport='yes' defaultMode='secure'",
            "insecure",
            {"port": "5901", "tls-port": "5902"},
        ),
        ("autoport='yes' port='1' tlsPort='2'", "insecure", {"port": "5901"}),
        ("defaultMode='insecure'", "", {"port": "0"}),
    ],
)
def test_spice_takes_the_ports_that_its_channels_need(
    attributes: str, channels: str, expected: dict[str, str]
) -> None:
    channel = f"<channel name='main' mode='{channels}'/>" if channels else ""
    made = translated(f"<graphics type='spice' {attributes}>{channel}</graphics>")
    [spice] = options(made, "spice")
    assert {key: spice[key] for key in ("port", "tls-port") if key in spice} == expected


@pytest.mark.parametrize("listen", ["type='none'", "type='socket' socket='/s'"])
def test_a_vnc_server_without_a_port_has_no_websocket(listen: str) -> None:
    [vnc] = options(
        translated(f"<graphics type='vnc' websocket='5700'><listen {listen}/></graphics>"), "vnc"
    )
    assert "websocket" not in vnc


@pytest.mark.parametrize(
    ("xml", "expected"),
    [
        (
            "<serial type='udp'><source mode='connect' service='1'/></serial>",
            "udp,id=charserial0,host=,port=1,localaddr=,localport=0",
        ),
        ("<serial type='pty'><protocol type='tls'/></serial>", "pty,id=charserial0"),
        ("<redirdev bus='usb' type='dbus'/>", "dbus,id=charredir0,name=org.qemu.usbredir"),
        (
            "<serial type='pty'><alias name='ua-a.b'/></serial>",
            "pty,id=charserial0",
        ),
        ("<serial type='pty'><alias name='ua-A_1'/></serial>", "pty,id=charua-A_1"),
    ],
)
def test_back_ends(xml: str, expected: str) -> None:
    made = translated(xml)
    [option] = [option for option in made.plan.options if option.name == "chardev"]
    assert option.argv()[1] == expected


def test_a_volume_passes_scsi_commands_where_qemu_has_a_switch() -> None:
    assert device(translated(VOLUME), "virtio-disk0")["scsi"] is True
    [error] = errors(VOLUME, caps=emulator(props="virtio-blk-pci.scsi"))
    assert "can't pass SCSI commands through" in error


@pytest.mark.parametrize(
    ("inside", "ident", "expected"),
    [
        (
            "<target dev='sda' bus='scsi'/><vendor>X </vendor><product> y</product>",
            "scsi0-0-0",
            {"vendor": "X ", "product": " y"},
        ),
        (
            "<target dev='vda'/><blockio discard_granularity='0' logical_block_size='512'/>",
            "virtio-disk0",
            {"logical_block_size": 512, "discard_granularity": None},
        ),
        (
            "<driver name='qemu' type='aio' queue_size='0'/><target dev='vda'/>",
            "virtio-disk0",
            {"queue-size": None, "drive": "libvirt-1-storage"},
        ),
    ],
)
def test_disks(inside: str, ident: str, expected: dict[str, Any]) -> None:
    made = translated(f"<disk type='file'><source file='/a'/>{inside}</disk>")
    row = device(made, ident)
    assert {key: row.get(key) for key in expected} == expected


def test_a_power_adapter_is_shown_and_not_started() -> None:
    adapters = "".join(f"<controller type='scsi' index='{n}' model='ibmvscsi'/>" for n in range(2))
    poor = emulator(types=["spapr-vscsi"])
    made = translated(adapters, caps=poor)
    assert [device(made, f"scsi{number}")["reg"] for number in range(2)] == [0x2000, 0x3000]
    assert "bus" not in device(made, "scsi0")
    assert obstacles(adapters, caps=poor)[0] == (
        "vm.xml:6: <controller type='scsi'>: only pseries machines have model='ibmvscsi'"
        " (virtio-scsi)"
    )


def test_a_transitional_vsock_is_shown_and_not_started() -> None:
    xml, poor = (
        "<vsock model='virtio-transitional'/>",
        emulator(types=["vhost-vsock-pci-transitional"]),
    )
    assert device(translated(xml, caps=poor), "vsock0")["driver"] == "vhost-vsock-pci-transitional"
    assert obstacles(xml, caps=poor) == [
        "vm.xml:6: <vsock>: this QEMU has no vhost-vsock-pci-transitional (virtio)"
    ]


def test_an_external_tpm_has_the_version_of_its_program() -> None:
    assert device(translated(TPM), "tpm0")["driver"] == "tpm-crb"


def test_the_role_of_a_doorbell_is_its_servers_business() -> None:
    server = "<shmem name='m' role='master'><model type='ivshmem-doorbell'/>{}</shmem>"
    assert "master" not in device(translated(server.format("<server path='/s'/>")), "shmem0")
    assert device(translated(server.format("")), "shmem0")["master"] == "on"
