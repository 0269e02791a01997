"""PCI: which device gets which slot, which buses are added, and which addresses are refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsuper.translate.places import PciAddress
from tests.support.domains import FIRST_DEVICE_LINE, device, errors, obstacles, options, translated
from tests.support.emulators import emulator

RNG = "<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>\n"
LSI = "<controller type='scsi' model='lsilogic'/>\n"
VIRTIO_SCSI = "<controller type='scsi' model='virtio-scsi'/>\n"
NO_BALLOON = "<memballoon model='none'/>\n"
NO_USB = "<controller type='usb' model='none'/>\n"


def at(slot: int, bus: int = 0, function: int = 0, more: str = "") -> str:
    return f"<address type='pci' bus='{bus}' slot='{slot}' function='{function}' {more}/>"


def rng(address: str) -> str:
    return RNG.replace("</rng>", f"{address}</rng>")


def places(devices: str, *, machine: str = "pc", arch: str = "x86_64") -> dict[str, str]:
    """Give the place of each device by its id: `bus addr`."""
    rows = options(translated(devices, machine=machine, arch=arch), "device")
    return {row["id"]: f"{row['bus']} {row['addr']}" for row in rows if "addr" in row}


def test_i440fx_has_its_board_in_slot_1() -> None:
    assert places(RNG) == {"usb": "pci.0 0x1.0x2", "balloon0": "pci.0 0x2", "rng0": "pci.0 0x3"}


def test_q35_puts_express_devices_on_ports_and_keeps_one_free() -> None:
    assert places(RNG, machine="q35") == {
        "pci.1": "pcie.0 0x1",
        "pci.2": "pcie.0 0x1.0x1",
        "pci.3": "pcie.0 0x1.0x2",
        "pci.4": "pcie.0 0x1.0x3",
        "usb": "pci.1 0x0",
        "balloon0": "pci.2 0x0",
        "rng0": "pci.3 0x0",
    }


def test_the_first_of_eight_ports_in_a_slot_is_multifunction() -> None:
    found = translated(RNG * 8, machine="q35")
    marked = [row["id"] for row in options(found, "device") if row.get("multifunction")]
    assert marked == ["pci.1", "pci.9"]
    assert device(found, "pci.9") == {
        "driver": "pcie-root-port",
        "port": 16,
        "chassis": 9,
        "id": "pci.9",
        "bus": "pcie.0",
        "multifunction": True,
        "addr": "0x2",
    }


@pytest.mark.parametrize("arch", ["aarch64", "riscv64"])
def test_virt_brings_a_bridge_for_a_conventional_device(arch: str) -> None:
    found = places(LSI + NO_BALLOON, machine="virt", arch=arch)
    assert found == {
        "pci.1": "pcie.0 0x1",
        "pci.2": "pci.1 0x0",
        "pci.3": "pcie.0 0x1.0x1",
        "scsi0": "pci.2 0x1",
    }


def test_without_the_new_bridge_the_old_one_serves() -> None:
    caps = emulator(types=["pcie-pci-bridge"])
    found = translated(LSI + NO_USB + NO_BALLOON, machine="q35", caps=caps)
    drivers = [row["driver"] for row in options(found, "device")]
    assert drivers == ["i82801b11-bridge", "pci-bridge", "pcie-root-port", "lsi"]
    assert device(found, "scsi0")["bus"] == "pci.2"


def test_a_bridge_comes_when_one_slot_is_left() -> None:
    """Slots 2 to 31 are 30: with 29 devices the spare slot still fits, with 30 it does not."""
    assert "pci.1" not in places(RNG * 28)
    found = places(RNG * 29)
    assert found["pci.1"] == "pci.0 0x2"
    assert found["rng28"] == "pci.1 0x1"


@given(st.integers(min_value=1, max_value=70), st.sampled_from(["pc", "q35"]), st.booleans())
def test_no_place_is_dealt_twice(count: int, machine: str, conventional: bool) -> None:
    """However many devices: each has a place of its own, on a bus that is there."""
    found = translated((LSI if conventional else RNG) * count, machine=machine)
    addresses = [
        (device.address.bus, device.address.slot, device.address.function)
        for device in found.domain.devices
        if isinstance(device.address, PciAddress)
    ]
    assert len(set(addresses)) == len(addresses)
    buses = {
        device.bus_key[1] for device in found.domain.devices if device.pci_model and device.bus_key
    }
    assert buses == set(range(len(buses)))
    assert {bus for bus, _, _ in addresses} <= buses


def test_a_named_bus_is_made_with_all_below_it() -> None:
    found = places(rng(at(6, bus=3)))
    assert [found[f"pci.{index}"] for index in (1, 2, 3)] == ["pci.0 0x2", "pci.0 0x3", "pci.0 0x4"]
    assert found["rng0"] == "pci.3 0x6"


def test_an_address_of_zeros_is_none() -> None:
    assert places(rng(at(0)))["rng0"] == "pci.0 0x3"


def test_function_0_says_that_there_are_more() -> None:
    found = translated(rng(at(9, function=1)) + rng(at(9)))
    assert device(found, "rng1")["multifunction"] is True
    assert "multifunction" not in device(found, "rng0")


def test_ich9_usb_fills_one_slot() -> None:
    models = ["ich9-uhci2", "ich9-ehci1", "ich9-uhci1", "ich9-uhci3"]
    xml = "\n".join(f"<controller type='usb' index='0' model='{model}'/>" for model in models)
    rows = options(translated(RNG + xml), "device")
    found = {row["driver"]: row["addr"] for row in rows if "usb" in row["driver"]}
    assert found == {
        "ich9-usb-uhci1": "0x2",
        "ich9-usb-uhci2": "0x2.0x1",
        "ich9-usb-uhci3": "0x2.0x2",
        "ich9-usb-ehci1": "0x2.0x7",
    }
    on_q35 = options(translated(xml, machine="q35"), "device")
    assert {row["addr"][:4] for row in on_q35 if "usb" in row["driver"]} == {"0x1d"}


@pytest.mark.parametrize(
    ("devices", "message"),
    [
        (rng(at(5)) + rng(at(5)), "0000:00:05.0 is used twice, also in line 6"),
        (rng(at(1)), "0000:00:01.0 is taken by the board"),
        (rng(at(1, function=2)), "is used twice"),
        (rng("<address type='pci' domain='1' bus='0' slot='3'/>"), "PCI domain that does not"),
        (rng("<address type='pci' bus='256' slot='3'/>"), "bus='256' is out of range"),
        (rng("<address type='pci' slot='0x20'/>"), "slot='0x20' is out of range"),
        (rng(at(0, bus=1)), "has a slot that a pci-bridge lacks, it has 1 to 31"),
        ("<controller type='pci' index='1' model='pcie-root-port'/>", "no PCI slot is left"),
        (
            "<controller type='pci' index='0' model='pcie-root'/>",
            "index 0 must be model='pci-root'",
        ),
        ("<controller type='pci' index='2' model='pci-root'/>", "can't have index 2"),
        ("<controller type='pci' index='2'/>", "model= is missing"),
        (f"<controller type='pci' index='0' model='pci-root'>{at(5)}</controller>", "no address"),
        ("<controller type='pci' index='-1' model='pci-bridge'/>", "index='-1' is out of range"),
    ],
)
def test_refused(devices: str, message: str) -> None:
    found = errors(devices)
    assert any(message in text for text in found), found


def test_all_wrong_addresses_are_reported_with_their_lines() -> None:
    found = errors(rng(at(5)) + rng(at(5)) + rng(at(6)) + rng(at(6)))
    assert [text.split(":")[1] for text in found] == [
        str(FIRST_DEVICE_LINE + 1),
        str(FIRST_DEVICE_LINE + 3),
    ]


def test_no_port_is_added_for_a_bridge_that_is_written() -> None:
    bridge = "<controller type='pci' index='1' model='pcie-to-pci-bridge'/>"
    port = "<controller type='pci' index='2' model='pcie-root-port'/>"
    assert "no PCI slot is left" in errors(bridge, machine="q35")[0]
    assert errors(bridge + port, machine="q35") == []


def test_a_controller_before_its_bus_is_shown_and_not_started() -> None:
    switch = "<controller type='pci' index='1' model='pcie-switch-upstream-port'/>"
    assert device(translated(switch, machine="q35"), "pci.1")["bus"] == "pci.2"
    assert "it has index 1 and is plugged into bus 2" in obstacles(switch, machine="q35")[0]
    bridges = (
        "<controller type='pci' index='1' model='pci-bridge'>"
        "<address type='pci' bus='2' slot='1'/></controller>"
        "<controller type='pci' index='2' model='pci-bridge'/>"
    )
    assert "it has index 1 and is plugged into bus 2" in errors(bridges)[0]


@pytest.mark.parametrize(("written", "bus"), [(1, "pci.2"), (2, "pci.2"), (3, "pci.3")])
def test_a_device_makes_room_for_the_port_of_its_bridge(written: int, bus: str) -> None:
    card = f"<sound model='ac97'><address type='pci' bus='{written}' slot='3'/></sound>"
    made = translated(card, machine="q35")
    assert (device(made, "sound0")["bus"], device(made, "sound0")["addr"]) == (bus, "0x3")
    assert device(made, "pci.1")["driver"] == "pcie-root-port"
    assert device(made, "pci.2")["driver"] == "pcie-pci-bridge"


def test_buses_of_cards_are_added_before_those_of_controllers() -> None:
    adapter = (
        "<controller type='scsi' index='0' model='lsilogic'>"
        "<address type='pci' bus='1' slot='3'/></controller>"
    )
    card = (
        "<interface type='user'><model type='virtio'/>"
        "<address type='pci' bus='3' slot='0'/></interface>"
    )
    assert errors(adapter, machine="q35") == []
    assert "has a slot that a pcie-root-port lacks" in errors(adapter + card, machine="q35")[0]


@pytest.mark.parametrize("bus", ["pcie.0", "pci.1"])
def test_a_bridge_may_be_written_where_a_card_may(bus: str) -> None:
    number, slot = (0, 5) if bus == "pcie.0" else (1, 0)
    bridge = (
        "<controller type='pci' index='1' model='pcie-root-port'/>"
        "<controller type='pci' index='2' model='pci-bridge'>"
        f"<address type='pci' bus='{number}' slot='{slot}'/></controller>"
    )
    assert device(translated(bridge, machine="q35"), "pci.2")["bus"] == bus


def test_a_device_of_the_root_is_on_bus_0() -> None:
    iommu = "<iommu model='virtio'><address type='pci' bus='1' slot='0'/></iommu>"
    found = errors(iommu, machine="q35", parts="<features><acpi/></features>")
    assert "is not on bus 0, where such a device is" in found[0]


def test_no_usb_takes_no_place() -> None:
    none = (
        "<controller type='usb' index='0' model='none'>"
        "<address type='pci' bus='0' slot='2'/></controller>"
    )
    assert device(translated(none), "balloon0")["addr"] == "0x2"


def test_a_machine_without_pci() -> None:
    assert "machine 'isapc' has no PCI" in errors(VIRTIO_SCSI, machine="isapc")[0]


@pytest.mark.parametrize(
    ("inside", "model", "message"),
    [
        ("<target chassisNr='3'/>", "pcie-root-port", "chassisNr> is nothing for"),
        ("<target chassis='3'/>", "dmi-to-pci-bridge", "chassis> is nothing for"),
        ("<target busNr='300'/>", "pcie-expander-bus", "busNr='300' is out of range"),
        ("<target><node>1</node></target>", "pcie-expander-bus", "NUMA node 1"),
        ("<model name='ioh3420'/>", "dmi-to-pci-bridge", "is no dmi-to-pci-bridge"),
        ("<target index='1'/>", "pcie-root-port", "<target index> is nothing for a pcie-root-port"),
    ],
)
def test_targets_that_do_not_fit(inside: str, model: str, message: str) -> None:
    xml = f"<controller type='pci' index='1' model='{model}'>{inside}</controller>"
    found = errors(xml, machine="q35")
    assert any(message in text for text in found), found


def test_the_expanders_bus_numbers_go_down_by_two() -> None:
    expander = "<controller type='pci' index='{}' model='pci-expander-bus'>{}</controller>"
    named = expander.format(2, "<target busNr='100'/>")
    found = translated(expander.format(1, "") + named + expander.format(3, ""))
    numbers = [row["bus_nr"] for row in options(found, "device") if row["driver"] == "pxb"]
    assert numbers == [98, 100, 96]


def test_a_companion_whose_function_is_taken() -> None:
    uhci = "<controller type='usb' index='5' model='ich9-uhci1'>{}</controller>"
    xml = uhci.format(at(5)) + "<controller type='usb' index='5' model='ich9-ehci1'/>"
    assert "0000:00:05.7 is used twice" in errors(rng(at(5, function=7)) + xml)[0]


def test_buses_are_not_without_end() -> None:
    assert "no PCI slot is left" in errors(RNG * 300, machine="q35")[0]


def test_a_user_may_put_any_device_on_any_endpoint_bus() -> None:
    port = "<controller type='pci' index='1' model='pcie-root-port'/>"
    card = f"<controller type='scsi' model='lsilogic'>{at(0, bus=1)}</controller>"
    assert device(translated(port + card, machine="q35"), "scsi0")["bus"] == "pci.1"


def test_a_switch_port_takes_no_bridge() -> None:
    ports = "".join(
        f"<controller type='pci' index='{index}' model='pcie-{model}'/>"
        for index, model in ((1, "root-port"), (2, "switch-upstream-port"))
    )
    bridge = f"<controller type='pci' index='3' model='pci-bridge'>{at(0, bus=2)}</controller>"
    assert "takes no pci-bridge device" in errors(ports + bridge, machine="q35")[0]


def test_q35_without_room_for_hot_plugging_on_the_root() -> None:
    root = "<controller type='pci' index='0' model='pcie-root'><target hotplug='on'/></controller>"
    assert "for i440fx machines only" in errors(root, machine="q35")[0]


def test_a_hole_that_is_not_the_roots_says_nothing() -> None:
    hole = "<pcihole64 unit='GiB'>2</pcihole64>"
    port = "<controller type='pci' index='1' model='pcie-root-port'>{}</controller>"
    plain = translated(port.format(""), machine="q35", caps=emulator())
    found = translated(port.format(hole), machine="q35", caps=emulator())
    assert found.notices == plain.notices
    assert options(found, "global") == options(plain, "global")
    assert options(found, "device") == options(plain, "device")


def test_a_user_may_put_a_bridge_where_endpoints_are() -> None:
    bridge = "<controller type='pci' index='9' model='pci-bridge'>{}</controller>"
    assert device(translated(bridge.format(at(5)), machine="q35"), "pci.9")["addr"] == "0x5"
    port = "<controller type='pci' index='1' model='pcie-root-port'/>"
    made = translated(port + bridge.format(at(0, bus=1)), machine="q35")
    assert device(made, "pci.9")["bus"] == "pci.1"


def test_what_is_integrated_is_on_the_first_bus() -> None:
    port = "<controller type='pci' index='1' model='pcie-root-port'/>"
    panic = f"<panic model='pvpanic'>{at(0, bus=1)}</panic>"
    [found] = errors(port + panic, machine="q35")
    assert "is not on bus 0, where such a device is" in found


def test_a_switch_may_have_a_lower_index_than_the_bus_it_is_on() -> None:
    switch = "<controller type='pci' index='1' model='pcie-switch-upstream-port'/>"
    made = translated(switch, machine="q35")
    assert device(made, "pci.1")["bus"] == "pci.2"
    assert device(made, "pci.2")["driver"] == "pcie-root-port"


def test_a_screen_that_finds_its_slot_taken_leaves_a_port_over() -> None:
    made = translated(
        "<shmem name='m'><model type='ivshmem-plain'/>"
        "<address type='pci' bus='0' slot='1'/></shmem><video><model type='virtio'/></video>",
        machine="q35",
    )
    rows = options(made, "device")
    ports = {row["id"] for row in rows if row["driver"] == "pcie-root-port"}
    assert device(made, "video0")["bus"] == "pci.1"
    assert ports - {row.get("bus") for row in rows} == {"pci.4", "pci.5"}
