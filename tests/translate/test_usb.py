"""USB: controllers by default, ports, hubs that are added, and what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsuper.translate.places import UsbAddress
from tests.support.domains import device, errors, options, translated
from tests.support.emulators import emulator

TABLET = "<input type='tablet' bus='usb'/>\n"
HUB = "<hub type='usb'/>\n"


def tablet(port: str, bus: int = 0) -> str:
    where = f"<address type='usb' bus='{bus}' port='{port}'/>"
    return f"<input type='tablet' bus='usb'>{where}</input>\n"


def hub(port: str) -> str:
    return f"<hub type='usb'><address type='usb' bus='0' port='{port}'/></hub>\n"


@pytest.mark.parametrize(
    ("machine", "arch", "lacking", "driver"),
    [
        ("pc", "x86_64", (), "piix3-usb-uhci"),
        ("q35", "x86_64", (), "qemu-xhci"),
        ("q35", "x86_64", ("qemu-xhci",), "nec-usb-xhci"),
        ("q35", "x86_64", ("qemu-xhci", "nec-usb-xhci"), "ich9-usb-ehci1"),
        ("q35", "x86_64", ("qemu-xhci", "nec-usb-xhci", "ich9-usb-ehci1"), None),
        ("virt", "aarch64", (), None),
        ("virt", "riscv64", (), None),
    ],
)
def test_the_controller_that_a_machine_has_by_itself(
    machine: str, arch: str, lacking: tuple[str, ...], driver: str | None
) -> None:
    caps = emulator(arch, types=lacking)
    rows = options(translated("", machine=machine, arch=arch, caps=caps), "device")
    assert [row["driver"] for row in rows if row["id"] == "usb"] == ([driver] if driver else [])


@pytest.mark.parametrize(
    ("machine", "arch", "lacking", "driver"),
    [
        ("q35", "x86_64", (), "piix3-usb-uhci"),
        ("virt", "aarch64", (), "qemu-xhci"),
        ("virt", "aarch64", ("qemu-xhci",), "nec-usb-xhci"),
        ("virt", "riscv64", (), "piix3-usb-uhci"),
        ("virt", "riscv64", ("piix3-usb-uhci",), "pci-ohci"),
    ],
)
def test_a_controller_without_a_model(
    machine: str, arch: str, lacking: tuple[str, ...], driver: str
) -> None:
    caps = emulator(arch, types=lacking)
    found = translated("<controller type='usb'/>", machine=machine, arch=arch, caps=caps)
    assert device(found, "usb")["driver"] == driver


def test_devices_get_the_lowest_port_and_hubs_are_added() -> None:
    found = translated(TABLET * 5)
    assert device(found, "hub0")["port"] == "1"
    assert [device(found, f"input{n}")["port"] for n in range(5)] == [
        "2",
        "1.1",
        "1.2",
        "1.3",
        "1.4",
    ]


@given(st.integers(min_value=1, max_value=60))
def test_every_device_has_a_port_of_its_own(count: int) -> None:
    """Hubs and controllers together have room for all, whatever the number."""
    domain = translated(TABLET * count).domain
    found = [each.address for each in domain.devices if isinstance(each.address, UsbAddress)]
    assert len(set(found)) == len(found) >= count
    hubs = {
        each.address.port
        for each in domain.devices
        if each.TAG == "hub"
        if isinstance(each.address, UsbAddress)
    }
    above = {address.port.rpartition(".")[0] for address in found if address.port}
    assert above - {""} <= hubs


def test_a_full_controller_leads_to_the_next() -> None:
    more = "<controller type='usb' index='0'/><controller type='usb' index='1' model='ehci'/>"
    found = translated(more + TABLET * 3)
    assert device(found, "input2")["bus"] == "usb1.0"
    assert device(found, "input2")["port"] == "1"


def test_a_named_bus_is_kept() -> None:
    more = "<controller type='usb' index='1' model='ehci'/>"
    found = translated(
        more + "<input type='tablet' bus='usb'><address type='usb' bus='1'/></input>"
    )
    assert device(found, "input0")["bus"] == "usb1.0"


def test_hubs_may_stand_in_any_order() -> None:
    found = translated(tablet("1.3.2") + hub("1.3") + hub("1"))
    assert device(found, "input0")["port"] == "1.3.2"


def test_xhci_ports() -> None:
    found = translated("<controller type='usb' model='qemu-xhci' ports='15'/>" + TABLET * 14)
    assert device(found, "usb")["p2"] == device(found, "usb")["p3"] == 15
    assert not [row for row in options(found, "device") if row["driver"] == "usb-hub"]


def test_companions_name_their_controller() -> None:
    xml = """<controller type='usb' model='ich9-ehci1'><alias name='ua-main'/></controller>
      <controller type='usb' model='ich9-uhci2'/>"""
    rows = options(translated(xml), "device")
    companion = next(row for row in rows if row["driver"] == "ich9-usb-uhci2")
    assert companion["masterbus"] == "ua-main.0"
    assert companion["firstport"] == 2
    assert "id" not in companion


@pytest.mark.parametrize(
    ("devices", "message"),
    [
        (tablet("1") * 2, "USB port 1 of bus 0 is used twice"),
        (tablet("3"), "does not exist (1..2)"),
        (tablet("1.2.3"), "there is no hub at port 1.2"),
        (tablet("1", bus=4), "there is no USB bus 4"),
        (tablet("x"), "'x' is no USB port"),
        (tablet("1.1.1.1.1"), "'1.1.1.1.1' is no USB port"),
        ("<controller type='usb' model='none'/>" + TABLET, "the domain has no USB"),
        ("<controller type='usb' model='none'/>" + HUB, "the domain has no USB"),
        ("<controller type='usb' model='qemu-xhci' ports='16'/>", "has at most 15"),
        ("<controller type='usb' model='ehci' ports='6'/>", "for nec-xhci and qemu-xhci only"),
        ("<controller type='usb' index='2' model='ich9-uhci1'/>", "no main controller"),
        ("<controller type='usb' model='warp'/>", "model='warp' is unknown"),
        ("<controller type='usb' index='1' model='ehci'/>\n" * 2, "have index 1, also in line 6"),
        ("<hub type='pci'/>", "type='pci' is not supported"),
    ],
)
def test_refused(devices: str, message: str) -> None:
    found = errors(devices)
    assert any(message in text for text in found), found


def test_companions_without_an_index_belong_together() -> None:
    models = ("ich9-uhci1", "ich9-ehci1", "ich9-ehci1", "ich9-uhci2")
    xml = "".join(f"<controller type='usb' model='{model}'/>" for model in models)
    rows = [row for row in options(translated(xml), "device") if "usb" in row["driver"]]
    assert [(row["driver"], row.get("id", row.get("masterbus"))) for row in rows] == [
        ("ich9-usb-ehci1", "usb"),
        ("ich9-usb-uhci1", "usb.0"),
        ("ich9-usb-ehci1", "usb1"),
        ("ich9-usb-uhci2", "usb1.0"),
    ]


def test_devices_of_all_kinds_take_their_turn() -> None:
    """Hubs, disks, cards, sound, host devices, readers, serial ports, inputs, redirection."""
    xml = f"""<controller type='usb' index='0' model='piix3-uhci'/>
      <redirdev bus='usb' type='pty'/><sound model='usb'/>
      <serial type='pty'><target type='usb-serial'/></serial>{TABLET}
      <controller type='ccid'/>
      <disk type='file'><source file='a'/><target dev='sda' bus='usb'/></disk>
      <hostdev mode='subsystem' type='usb'><source><address bus='1' device='2'/></source></hostdev>
      <interface type='user'><model type='usb-net'/></interface>{HUB}"""
    rows = options(translated(xml), "device")
    found = {row["port"]: row["driver"] for row in rows if "port" in row}
    assert list(dict(sorted(found.items(), key=lambda item: (len(item[0]), item[0]))).values()) == [
        "usb-hub",
        "usb-storage",
        "usb-net",
        "usb-audio",
        "usb-host",
        "usb-ccid",
        "usb-serial",
        "usb-tablet",
        "usb-redir",
    ]
