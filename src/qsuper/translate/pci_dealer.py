"""One run of dealing PCI places to a domain's devices.

Source: libvirt `qemuDomainCollectPCIAddress`, `qemuDomainValidateDevicePCISlotsChipsets`,
`qemuDomainAssignDevicePCISlots`.
"""

from collections.abc import Iterator
from typing import Final

from msgspec.structs import replace

from qsuper.errors import ConfigError, ConfigErrors
from qsuper.translate.model import Context, Device
from qsuper.translate.pci_topology import Topology
from qsuper.translate.places import PciAddress, PciKind

_I440FX_BOARD: Final = ((1, 0), (1, 3))  # ISA bridge, power management
_I440FX_IDE: Final = (1, 1)
_Q35_BOARD: Final = ((0x1F, 0), (0x1F, 3))  # ISA bridge, SMBus
_Q35_SATA: Final = (0x1F, 2)
_EARLY: Final = ("disk", "interface", "sound", "hostdev", "video")
"""The devices whose buses libvirt adds before those of others."""


class Dealer:
    """Deals the places of one run; `places` has them by number of the device."""

    def __init__(self, context: Context, topology: Topology, *, grows: bool) -> None:
        """Start with empty buses.

        Args:
            context: The domain; its controllers are those of *topology*.
            topology: The buses, filled as places are dealt.
            grows: Add buses where there is no place.
        """
        self.places: dict[int, PciAddress] = {}
        self.moved: dict[int, PciAddress] = {}
        """The devices on buses that were not there, and had to make room for a bridge's port."""
        self._context = context
        self._topology = topology
        self._grows = grows
        self._devices = context.domain.devices
        self._board = frozenset(_board(context))
        self._owners: dict[tuple[int, int, int], Device] = {}

    def reserve(self) -> None:
        """Take the places that the file itself names, and those of the board.

        Raises:
            ConfigErrors: a place is taken twice, or is none of this guest's.
        """
        errors: list[ConfigError] = []
        placed = [
            (number, device, device.address)
            for number, device in enumerate(self._devices)
            if isinstance(device.address, PciAddress)
        ]
        for number, device, address in sorted(placed, key=lambda row: row[1].TAG not in _EARLY):
            self._grow_to(number, device, address)
        for number, device, address in placed:
            try:
                self._reserve(device, self.moved.get(number, address))
            except ConfigError as error:
                errors.append(error)
        if errors:
            raise ConfigErrors(errors)
        for slot, function in self._board:
            self._topology.buses[0].take(slot, function)

    def deal_all(self) -> None:
        """Deal places to all that have none.

        Raises:
            ConfigError: no place is left.
        """
        wanting = [
            (number, device, kind)
            for number, device in enumerate(self._devices)
            if device.address is None and (kind := device.pci_kind(self._context)) is not None
        ]
        for number, device, kind in wanting:
            place = self._preferred(device, kind)
            if place is not None:
                self.places[number] = place
        for number, device, kind in sorted(wanting, key=lambda row: row[1].PCI_TURN):
            if number not in self.places:
                self.places[number] = self._placed(device, kind)

    def deal(self, kind: PciKind, function: int = 0) -> PciAddress | None:
        """Take the next place for *kind*; None if there is none."""
        place = self._topology.next(kind, function)
        if place is None and self._grows and self._topology.grown(kind):
            place = self._topology.next(kind, function)
        if place is not None:
            self._topology.buses[place.bus].take(place.slot, place.function, kind=kind)
        return place

    def _reserve(self, device: Device, address: PciAddress) -> None:
        kind = device.pci_kind(self._context)
        fault = self._topology.fault(address, kind)
        key = (address.bus, address.slot, address.function)
        other = self._owners.setdefault(key, device)
        if other is not device:
            fault = f"is used twice, also in line {other.at.line}"
        elif address.bus == 0 and key[1:] in self._board:
            fault = "is taken by the board"
        if fault:
            raise ConfigError(f"<{device.TAG}>: PCI address {_text(address)} {fault}", at=device.at)
        self._topology.buses[address.bus].take(address.slot, address.function, kind=kind)

    def _grow_to(self, number: int, device: Device, address: PciAddress) -> None:
        """Add the buses up to that of *address*, and move the device if it must."""
        kind = device.pci_kind(self._context)
        if kind is not None and self._grows and not address.domain:
            bus = self._topology.grow_to(address.bus, kind)
            if bus != address.bus:
                self.moved[number] = replace(address, bus=bus)

    def _preferred(self, device: Device, kind: PciKind) -> PciAddress | None:
        for place in device.pci_preferred(self._context):
            if place is None:
                found = self._placed(device, kind)
                # libvirt's dry run forgets this one and finds it another: a port is left over.
                return None if self._grows else found
            bus = self._topology.buses[place.bus]
            if place.slot not in bus.slots:
                bus.take(place.slot, place.function, kind=kind)
                return place
        return None

    def _placed(self, device: Device, kind: PciKind) -> PciAddress:
        function = device.pci_function
        first = None if function is None else self._first_companion(device)
        if function is not None and first is not None:
            place = replace(first, function=function, multifunction=None if function else True)
            bus = self._topology.buses[place.bus]
            if bus.has(place.slot, function):
                raise ConfigError(f"PCI address {_text(place)} is used twice", at=device.at)
            bus.take(place.slot, function)
            return place
        found = self.deal(kind, function or 0)
        if found is None:
            hint = "add a PCI controller, or take devices away"
            raise ConfigError(f"<{device.TAG}>: no PCI slot is left", at=device.at, hint=hint)
        return found

    def _first_companion(self, device: Device) -> PciAddress | None:
        """Give the place of the first controller that shares a slot with *device* and has one."""
        for number, other in enumerate(self._devices):
            if other.pci_function is not None and other.bus_key == device.bus_key:
                place = self.places.get(number, other.address)
                if isinstance(place, PciAddress):
                    return place
        return None


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


def _text(address: PciAddress) -> str:
    return f"{address.domain:04x}:{address.bus:02x}:{address.slot:02x}.{address.function:x}"
