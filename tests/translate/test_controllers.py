"""Controllers other than PCI and USB, the balloon, virtio-serial ports and smartcard readers."""

from typing import Any

import pytest

from tests.support.domains import device, errors, options, translated
from tests.support.emulators import emulator

DISK = "<disk type='file'><source file='a.img'/><target dev='{}' bus='{}'/></disk>\n"
CHANNEL = "<channel type='pty'><target type='virtio' name='c'/></channel>\n"


def scsi(inside: str = "", more: str = "model='virtio-scsi'") -> str:
    return f"<controller type='scsi' {more}>{inside}</controller>\n"


def drivers(devices: str, **kwargs: Any) -> list[str]:  # noqa: ANN401 - as `translated`
    return [row["driver"] for row in options(translated(devices, **kwargs), "device")]


@pytest.mark.parametrize(
    ("model", "driver"),
    [
        ("lsilogic", "lsi"),
        ("lsisas1068", "mptsas1068"),
        ("lsisas1078", "megasas"),
        ("vmpvscsi", "pvscsi"),
        ("virtio-scsi", "virtio-scsi-pci"),
        ("virtio-transitional", "virtio-scsi-pci-transitional"),
        ("virtio-non-transitional", "virtio-scsi-pci-non-transitional"),
        ("dc390", "dc390"),
        ("am53c974", "am53c974"),
    ],
)
def test_scsi_models(model: str, driver: str) -> None:
    assert device(translated(scsi(more=f"model='{model}'")), "scsi0")["driver"] == driver


@pytest.mark.parametrize(("lacking", "driver"), [((), "lsi"), (("lsi53c895a",), "virtio-scsi-pci")])
def test_scsi_without_a_model(lacking: tuple[str, ...], driver: str) -> None:
    found = translated(DISK.format("sda", "scsi"), caps=emulator(types=lacking))
    assert device(found, "scsi0")["driver"] == driver


def test_scsi_driver_attributes() -> None:
    driver = (
        "<driver queues='4' cmd_per_lun='50' max_sectors='512' ioeventfd='on' iommu='on' ats='off'"
        " packed='on' page_per_vq='off' iothread='1'/>"
    )
    props = device(translated(scsi(driver), parts="<iothreads>1</iothreads>"), "scsi0")
    assert props == {
        "driver": "virtio-scsi-pci",
        "iothread": "iothread1",
        "num_queues": 4,
        "cmd_per_lun": 50,
        "max_sectors": 512,
        "ioeventfd": True,
        "iommu_platform": True,
        "ats": False,
        "packed": True,
        "page-per-vq": False,
        "id": "scsi0",
        "bus": "pci.0",
        "addr": "0x2",
    }


def test_queues_mapped_to_iothreads() -> None:
    mapping = """<driver queues='2'><iothreads><iothread id='2'><queue id='0'/></iothread>
      <iothread id='1'><queue id='1'/></iothread></iothreads></driver>"""
    props = device(translated(scsi(mapping), parts="<iothreads>2</iothreads>"), "scsi0")
    assert props["iothread-vq-mapping"] == [
        {"iothread": "iothread2", "vqs": [0]},
        {"iothread": "iothread1", "vqs": [1]},
    ]


def test_a_disk_implies_all_controllers_up_to_its_own() -> None:
    found = drivers(DISK.format("sdo", "scsi") + "<memballoon model='none'/>")
    assert found.count("lsi") == 3


def test_implied_controllers_stand_with_their_kind() -> None:
    """The one that the disk implies comes before the one with the higher index."""
    more = scsi(more="index='1' model='virtio-scsi'") + "<controller type='virtio-serial'/>"
    found = translated(more + DISK.format("sda", "scsi"))
    assert device(found, "scsi0")["addr"] == "0x2"
    assert device(found, "scsi1")["addr"] == "0x3"
    assert device(found, "virtio-serial0")["addr"] == "0x4"


def test_indexes_are_dealt_where_they_are_missing() -> None:
    more = "<controller type='virtio-serial'/><controller type='virtio-serial' index='0'/>"
    found = translated(more)
    assert device(found, "virtio-serial1")["addr"] == "0x2"


def test_sata() -> None:
    on_q35 = drivers(DISK.format("sdg", "sata"), machine="q35")
    assert on_q35.count("ahci") == 1
    assert drivers(DISK.format("sda", "sata")).count("ahci") == 1


def test_virtio_serial_ports() -> None:
    more = "<controller type='virtio-serial' ports='3' vectors='4'/>"
    found = translated(more + CHANNEL * 3)
    assert device(found, "virtio-serial0")["max_ports"] == 3
    assert device(found, "virtio-serial0")["vectors"] == 4
    places = {row["id"]: (row["bus"], row["nr"]) for row in options(found, "device") if "nr" in row}
    assert places == {
        "channel0": ("virtio-serial0.0", 1),
        "channel1": ("virtio-serial0.0", 2),
        "channel2": ("virtio-serial1.0", 1),
    }


def test_users_names_reach_the_buses() -> None:
    more = "<controller type='virtio-serial'><alias name='ua-ports'/></controller>"
    found = translated(more + CHANNEL)
    assert device(found, "ua-ports")["driver"] == "virtio-serial-pci"
    assert device(found, "channel0")["bus"] == "ua-ports.0"


def test_floppies_on_q35_bring_their_controller() -> None:
    floppy = "<disk type='file' device='floppy'><source file='a'/><target dev='fda'/>{}</disk>"
    rows = options(translated(floppy.format("<boot order='2'/>"), machine="q35"), "device")
    assert {"driver": "isa-fdc", "bootindexA": 2} in rows


def test_balloon() -> None:
    xml = """<memballoon model='virtio-non-transitional' autodeflate='on' freePageReporting='on'>
      <stats period='5'/><driver iommu='on'/></memballoon>"""
    assert device(translated(xml, machine="q35"), "balloon0") == {
        "driver": "virtio-balloon-pci-non-transitional",
        "iommu_platform": True,
        "id": "balloon0",
        "bus": "pci.2",
        "addr": "0x0",
        "deflate-on-oom": True,
        "free-page-reporting": True,
    }


@pytest.mark.parametrize(
    ("machine", "arch", "has_one"),
    [("pc", "x86_64", True), ("virt", "riscv64", True), ("virt", "aarch64", False)],
)
def test_the_balloon_that_nobody_asked_for(machine: str, arch: str, has_one: bool) -> None:
    assert ("virtio-balloon-pci" in drivers("", machine=machine, arch=arch)) is has_one


def test_virtio_mmio_on_an_arm_board_without_pci() -> None:
    found = drivers("<memballoon model='virtio'/>", machine="vexpress-a9", arch="aarch64")
    assert found == ["virtio-balloon-device"]


@pytest.mark.parametrize(
    ("devices", "message"),
    [
        (scsi("<driver queues='-1'/>"), "queues='-1' is out of range"),
        (scsi("<driver queues='2'/>", "model='lsilogic'"), "<driver queues> is for virtio-scsi"),
        (scsi("<driver iothread='3'/>"), "there is no iothread 3"),
        (scsi(more="model='buslogic'"), "model='buslogic' is not supported"),
        (scsi(more="index='0' model='virtio-scsi'") * 2, "two scsi controllers have index 0"),
        ("<controller type='ide' index='1'/>", "has a single IDE controller"),
        ("<controller type='virtio-serial' ports='-1'/>", "ports='-1' is out of range"),
        (
            "<controller type='virtio-serial'><driver iothread='1'/></controller>",
            "iothread= is for",
        ),
        ("<controller type='xenbus'/>", "type='xenbus' is not supported"),
        ("<controller type=''/>", "type='' is not supported"),
        ("<controller type='ide' model='x'/>", "model='x' is unknown (piix3, piix4, ich6)"),
        ("<controller type='sata' model='x'/>", "model='x' is unknown (remove it)"),
        ("<controller type='fdc' model='x'/>", "model='x' is unknown (remove it)"),
        ("<controller type='ccid' model='x'/>", "model='x' is unknown (remove it)"),
        ("<controller type='virtio-serial' model='x'/>", "model='x' is unknown (virtio, virtio-t"),
        ("<controller type='usb'><driver queues='4'/></controller>", "queues= is for virtio-scsi"),
        ("<controller type='ccid'><driver iothread='1'/></controller>", "iothread= is for virtio"),
        (
            "<controller type='pci' model='pci-root'><driver ioeventfd='on'/></controller>",
            "ioeventfd= is for virtio-scsi controllers only",
        ),
        (
            "<controller type='sata'><driver><iothreads/></driver></controller>",
            "<iothreads> is for virtio-scsi controllers only",
        ),
        (
            "<controller type='usb' model='ehci'><master startport='2'/></controller>",
            "<master>: only the companions of ich9-ehci1 have it (ich9-uhci1)",
        ),
        (scsi("<driver><iothreads><iothread id='1'/></iothreads></driver>"), "no iothread 1"),
        ("<memballoon model='xen'/>", "model='xen' is unknown"),
        ("<memballoon model='virtio'/>\n<memballoon model='virtio'/>", "there can be only one"),
    ],
)
def test_refused(devices: str, message: str) -> None:
    found = errors(devices)
    assert any(message in text for text in found), found
    assert all(text.startswith(("vm.xml:6: ", "vm.xml:7: ")) for text in found)


def test_a_controller_is_for_ide_where_nothing_is_said() -> None:
    assert drivers("<controller/>") == drivers("<controller type='ide' model='piix3'/>")


@pytest.mark.parametrize("ports", [0, 32, 5000])
def test_as_many_ports_as_are_asked_for(ports: int) -> None:
    """Whether it can have them is QEMU's to say."""
    made = translated(f"<controller type='virtio-serial' index='0' ports='{ports}'/>")
    assert device(made, "virtio-serial0")["max_ports"] == ports


def test_ide_is_refused_where_there_is_none() -> None:
    assert any("has no IDE" in text for text in errors(DISK.format("hda", "ide"), machine="q35"))


def test_a_place_for_ide_or_sata_that_the_board_does_not_have() -> None:
    place = "<address type='pci' bus='0' slot='7'/>"
    ide = f"<controller type='ide' index='0'>{place}</controller>"
    assert any("must be bus 0, slot 1, function 1" in text for text in errors(ide))
    sata = f"<controller type='sata' index='0'>{place}</controller>"
    assert any("slot 0x1f, function 2" in text for text in errors(sata, machine="q35"))


@pytest.mark.parametrize(
    ("lacking", "devices", "message"),
    [
        ("ich9-ahci", "<controller type='sata'/>", "this QEMU has no ahci"),
        ("lsi53c895a", scsi(more="model='lsilogic'"), "this QEMU has no lsi"),
        ("piix3-usb-uhci", "<controller type='usb'/>", "none of the default models"),
        ("usb-ehci", "<controller type='usb' model='ehci'/>", "this QEMU has no usb-ehci"),
        ("pci-bridge", "<controller type='pci' index='1' model='pci-bridge'/>", "no pci-bridge"),
        ("lsi53c895a virtio-scsi-device", scsi(more=""), "none of the default models"),
    ],
)
def test_what_the_emulator_lacks(lacking: str, devices: str, message: str) -> None:
    found = errors(devices, caps=emulator(types=lacking.split()))
    assert any(message in text for text in found), found


@pytest.mark.parametrize(
    ("channels", "message"),
    [
        (("0 0 1", "0 0 1"), "virtio-serial port 1 is taken"),
        (("0 0 40",), "virtio-serial port 40 is taken or does not exist"),
    ],
)
def test_ports_that_are_not_there(channels: tuple[str, ...], message: str) -> None:
    xml = "<controller type='virtio-serial' index='0'/>"
    for channel in channels:
        controller, bus, port = channel.split()
        place = f"controller='{controller}' bus='{bus}' port='{port}'"
        address = f"<address type='virtio-serial' {place}/>"
        xml += CHANNEL.replace("</channel>", f"{address}</channel>")
    found = errors(xml)
    assert any(message in text for text in found), found


@pytest.mark.parametrize(
    ("inside", "message"),
    [
        (
            "<driver iothread='1'><iothreads><iothread id='1'/></iothreads></driver>",
            "together with",
        ),
        ("<driver><iothreads><iothread id='1'/><iothread id='1'/></iothreads></driver>", "twice"),
    ],
)
def test_iothreads_of_scsi(inside: str, message: str) -> None:
    found = errors(scsi(inside), parts="<iothreads>1</iothreads>")
    assert any(message in text for text in found), found


def test_a_disk_on_a_controller_beyond_all() -> None:
    place = "<address type='drive' controller='300' bus='0' target='0' unit='0'/>"
    disk = DISK.format("sda", "scsi").replace("</disk>", f"{place}</disk>")
    assert any("scsi controller 300" in text for text in errors(disk))


@pytest.mark.parametrize(
    ("devices", "machine", "message"),
    [
        (
            "<controller type='usb' model='ehci'><address type='isa'/></controller>",
            "pc",
            "not on a bus with such an <address> (type='pci', or none)",
        ),
        (
            "<hub type='usb'><address type='pci' slot='5'/></hub>",
            "pc",
            "not on a bus with such an <address> (type='usb', or none)",
        ),
        (
            "<controller type='usb' index='0'><address type='pci' slot='5'/></controller>",
            "pc",
            "the address must be bus 0, slot 1, function 2",
        ),
        (
            "<controller type='pci' model='pcie-root'><pcihole64>1</pcihole64></controller>",
            "virt",
            "has no <pcihole64> to set",
        ),
        (scsi(more="index='0' model='virtio-scsi'").strip() * 2, "pc", "two scsi controllers"),
    ],
)
def test_places_that_are_none(devices: str, machine: str, message: str) -> None:
    found = errors(devices, machine=machine, arch="aarch64" if machine == "virt" else "x86_64")
    assert any(message in text for text in found), found
