"""PCI slots for all devices: a dry run that adds the buses they need, then the real dealing.

Source: libvirt `qemuDomainAssignPCIAddresses`.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from qsuper.errors import ConfigError, ConfigErrors
from qsuper.translate.controllers import inserted, supply
from qsuper.translate.families import FAMILIES
from qsuper.translate.model import Context, Device, Need
from qsuper.translate.parse import ordered
from qsuper.translate.pci_topology import MOST_BUSES, Topology, controller_kind
from qsuper.translate.places import PciAddress, PciKind, PciModel

_I440FX_BOARD: Final = ((1, 0), (1, 3))  # ISA bridge, power management
_I440FX_IDE: Final = (1, 1)
_Q35_BOARD: Final = ((0x1F, 0), (0x1F, 3))  # ISA bridge, SMBus
_Q35_SATA: Final = (0x1F, 2)

Places = dict[int, PciAddress]
"""By number of the device."""


def assign_pci(context: Context) -> Context:
    """Deal PCI slots; adds PCI controllers.

    Raises:
        ConfigErrors: an address is taken twice, or is none of this guest's.
        ConfigError: no slot is left.
    """
    if _models(context).get(0) is None:
        return context
    context = _with_controllers(context, _dry_run(context))
    return _dealt(context)


def _dry_run(context: Context) -> Topology:
    """Find out which buses the guest needs."""
    given = max(_models(context))
    topology = _topology(context)
    dealer = _Dealer(context, topology, grows=True)
    dealer.reserve()
    has_room = any(not _is_full(context, index) for index in _models(context))
    if has_room and not topology.is_express:
        dealer.deal(PciKind.CONVENTIONAL)  # room for a bridge, should there be need of one
    dealer.deal_all()
    grew = len(topology.buses) > given + 1
    if topology.is_express and given == 0 and grew:
        dealer.deal(PciKind.EXPRESS)  # a free port for a device plugged in later
    known = _models(context)
    index = 1
    while index < len(topology.buses):
        model = topology.buses[index].model
        if index not in known and not _has_its_port(topology, index):
            dealer.deal(controller_kind(model))
        index += 1
    return topology


def _has_its_port(topology: Topology, index: int) -> bool:
    """Tell whether the bridge was added together with a port that waits for it."""
    return (
        topology.buses[index].model is PciModel.PCIE_TO_PCI
        and topology.buses[index - 1].model is PciModel.ROOT_PORT
        and topology.buses[index - 1].has(0, 0)
    )


def _is_full(context: Context, index: int) -> bool:
    """Tell whether the file itself fills the bus to the last slot."""
    rule = Topology(_models(context), prefers_dmi=False).buses[index].rule
    taken = {
        device.address.slot
        for device in context.domain.devices
        if isinstance(device.address, PciAddress) and device.address.bus == index
    }
    return taken.issuperset(range(rule.low, rule.high + 1))


def _dealt(context: Context) -> Context:
    dealer = _Dealer(context, _topology(context), grows=False)
    dealer.reserve()
    dealer.deal_all()
    devices = [
        replace(device, address=dealer.places.get(number, device.address))
        for number, device in enumerate(context.domain.devices)
    ]
    return _with(context, tuple(_multifunction(devices)))


class _Dealer:
    """Deals the places of one run."""

    def __init__(self, context: Context, topology: Topology, *, grows: bool) -> None:
        self.context = context
        self.topology = topology
        self.grows = grows
        self.devices = context.domain.devices
        self.places: Places = {}
        self.shared: dict[tuple[str, int], PciAddress] = {}
        """Where the functions of one slot are that belong together."""

    def reserve(self) -> None:
        """Take what the file itself and the board take."""
        errors: list[ConfigError] = []
        owners: dict[tuple[int, int, int], Device] = {}
        for device in self.devices:
            if isinstance(device.address, PciAddress):
                problem = self._reserve(device, device.address, owners)
                if problem is not None:
                    errors.append(problem)
        if errors:
            raise ConfigErrors(errors)
        for slot, function in _board(self.context):
            self.topology.buses[0].take(slot, function)

    def _reserve(
        self, device: Device, address: PciAddress, owners: dict[tuple[int, int, int], Device]
    ) -> ConfigError | None:
        kind = device.pci_kind(self.context)
        if address.domain:
            return ConfigError(f"{_text(address)}: only PCI domain 0 exists", at=device.at)
        if address.bus >= len(self.topology.buses) and self.grows and kind:
            self.topology.grow_to(address.bus, kind)
        if address.bus >= len(self.topology.buses):
            return ConfigError(f"{_text(address)}: there is no PCI bus {address.bus}", at=device.at)
        bus = self.topology.buses[address.bus]
        if not bus.rule.low <= address.slot <= bus.rule.high:
            hint = f"{bus.rule.low}..{bus.rule.high}"
            return ConfigError(
                f"{_text(address)}: a {bus.model} has no such slot", at=device.at, hint=hint
            )
        if kind is not None and not bus.accepts(kind):
            text = f"{_text(address)}: a {bus.model} takes no {kind} device"
            return ConfigError(text, at=device.at)
        key = (address.bus, address.slot, address.function)
        other = owners.setdefault(key, device)
        if other is not device:
            text = f"PCI address {_text(address)} is used twice, also in line {other.at.line}"
            return ConfigError(text, at=device.at)
        if (address.slot, address.function) in _board(self.context) and address.bus == 0:
            return ConfigError(f"{_text(address)} is taken by the board", at=device.at)
        bus.take(address.slot, address.function, kind=kind)
        if device.pci_function is not None and device.bus_key:
            self.shared.setdefault(device.bus_key, address)
        return None

    def deal_all(self) -> None:
        """Deal places to all that have none."""
        wanting = [
            (number, device, kind)
            for number, device in enumerate(self.devices)
            if device.address is None and (kind := device.pci_kind(self.context)) is not None
        ]
        for number, device, kind in wanting:
            self._prefer(number, device, kind)
        for number, device, kind in sorted(wanting, key=lambda row: row[1].PCI_TURN):
            if number not in self.places:
                self.places[number] = self._deal(device, kind)

    def deal(self, kind: PciKind) -> PciAddress | None:
        """Take the next place for *kind*, growing if need be."""
        place = self.topology.next(kind)
        if place is None and self.grows and self.topology.grown(kind):
            place = self.topology.next(kind)
        if place is not None:
            self.topology.buses[place.bus].take(place.slot, place.function, kind=kind)
        return place

    def _prefer(self, number: int, device: Device, kind: PciKind) -> None:
        if device.pci_function is not None and device.bus_key in self.shared:
            return
        for place in device.pci_preferred(self.context):
            if place.bus < len(self.topology.buses):
                bus = self.topology.buses[place.bus]
                if place.slot not in bus.slots:
                    bus.take(place.slot, place.function, kind=kind)
                    self.places[number] = place
                    if device.pci_function is not None and device.bus_key:
                        self.shared[device.bus_key] = place
                    return

    def _deal(self, device: Device, kind: PciKind) -> PciAddress:
        function = device.pci_function
        if function is not None and device.bus_key in self.shared:
            first = self.shared[device.bus_key]
            place = replace(first, function=function, multifunction=None)
            bus = self.topology.buses[place.bus]
            if bus.has(place.slot, function):
                raise ConfigError(f"PCI address {_text(place)} is taken", at=device.at)
            bus.take(place.slot, function)
            return place
        place = self.deal(kind)
        if place is None:
            hint = "add a PCI controller, or take devices away"
            raise ConfigError(f"no PCI slot is left for a {kind} device", at=device.at, hint=hint)
        if function is not None and device.bus_key:
            bus = self.topology.buses[place.bus]
            bus.slots[place.slot].functions = {function}
            place = replace(place, function=function)
            self.shared[device.bus_key] = place
        return place


def _topology(context: Context) -> Topology:
    prefers_dmi = not context.site.caps.has_type("pcie-pci-bridge")
    return Topology(_models(context), prefers_dmi=prefers_dmi)


def _models(context: Context) -> dict[int, PciModel]:
    return {
        device.bus_key[1]: device.pci_model
        for device in context.domain.devices
        if device.pci_model is not None and device.bus_key and device.bus_key[1] < MOST_BUSES
    }


def _board(context: Context) -> Iterator[tuple[int, int]]:
    """Give the slots and functions on bus 0 that the machine itself fills."""
    site = context.site
    keys = {device.bus_key for device in context.domain.devices}
    if site.is_i440fx:
        yield from _I440FX_BOARD
        if ("ide", 0) not in keys:
            yield _I440FX_IDE
    elif site.is_q35:
        yield from _Q35_BOARD
        if ("sata", 0) not in keys:
            yield _Q35_SATA


def _with_controllers(context: Context, topology: Topology) -> Context:
    """Add the controllers of the buses that the dry run found wanting."""
    known = _models(context)
    devices = context.domain.devices
    for bus in topology.buses:
        if bus.index not in known:
            made = supply(FAMILIES, Need("pci", bus.index, bus.model), context.domain.at)
            devices = inserted(devices, made.defaulted(context))
    return _with(context, ordered(devices))


def _with(context: Context, devices: tuple[Device, ...]) -> Context:
    return replace(context, domain=replace(context.domain, devices=devices))


def _multifunction(devices: list[Device]) -> Iterator[Device]:
    """Mark function 0 of every slot that has others."""
    shared = {
        (device.address.bus, device.address.slot)
        for device in devices
        if isinstance(device.address, PciAddress) and device.address.function
    }
    for device in devices:
        address = device.address
        if (
            isinstance(address, PciAddress)
            and address.function == 0
            and address.multifunction is None
            and (address.bus, address.slot) in shared
        ):
            yield replace(device, address=replace(address, multifunction=True))
        else:
            yield device


def _text(address: PciAddress) -> str:
    return f"{address.domain:04x}:{address.bus:02x}:{address.slot:02x}.{address.function:x}"
