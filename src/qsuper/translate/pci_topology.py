"""PCI buses: what each sort accepts, and the slots of one guest's buses while they are dealt.

Source: libvirt `virDomainPCIAddressBusSetModel`, `virDomainPCIAddressFlagsCompatible`,
`virDomainPCIAddressGetNextAddr`; the PCI topology guidelines of its documentation.
"""

from collections.abc import Iterator
from typing import Final

from msgspec import Struct, field

from qsuper.translate.places import PciAddress, PciKind, PciModel

_LAST_SLOT: Final = 31
MOST_BUSES: Final = 256

_ENDPOINTS: Final = frozenset({PciKind.CONVENTIONAL, PciKind.EXPRESS, PciKind.INTEGRATED})
_BRIDGED: Final = frozenset({PciKind.CONVENTIONAL, PciKind.PCI_BRIDGE})


class BusRule(Struct, frozen=True):
    """What a sort of bus takes."""

    accepts: frozenset[PciKind]
    """What it takes; of endpoints, a user may put any where one kind is taken."""
    dealt: frozenset[PciKind]
    """What is put there without being asked to."""
    low: int
    high: int
    """The first and the last slot."""


_PORT: Final = BusRule(
    frozenset({PciKind.EXPRESS, PciKind.SWITCH_UPSTREAM, PciKind.PCIE_TO_PCI}),
    frozenset({PciKind.EXPRESS, PciKind.SWITCH_UPSTREAM, PciKind.PCIE_TO_PCI}),
    0,
    0,
)
_ON_PCIE_ROOT: Final = frozenset(
    {PciKind.ROOT_PORT, PciKind.DMI_BRIDGE, PciKind.PCIE_EXPANDER, PciKind.INTEGRATED}
)
_ON_PCI_ROOT: Final = _BRIDGED | {PciKind.EXPANDER, PciKind.INTEGRATED}
_ON_EXPANDER: Final = frozenset({PciKind.ROOT_PORT, PciKind.DMI_BRIDGE})
_ON_UPSTREAM: Final = frozenset({PciKind.SWITCH_DOWNSTREAM})

RULES: Final = {
    PciModel.PCI_ROOT: BusRule(_ON_PCI_ROOT, _ON_PCI_ROOT, 1, _LAST_SLOT),
    PciModel.PCI_BRIDGE: BusRule(_BRIDGED, _BRIDGED, 1, _LAST_SLOT),
    PciModel.EXPANDER: BusRule(_BRIDGED, _BRIDGED, 0, _LAST_SLOT),
    PciModel.PCIE_ROOT: BusRule(
        _ON_PCIE_ROOT | {PciKind.EXPRESS, PciKind.CONVENTIONAL}, _ON_PCIE_ROOT, 1, _LAST_SLOT
    ),
    PciModel.DMI_BRIDGE: BusRule(_BRIDGED, frozenset({PciKind.PCI_BRIDGE}), 0, _LAST_SLOT),
    PciModel.PCIE_TO_PCI: BusRule(_BRIDGED, _BRIDGED, 1, _LAST_SLOT),
    PciModel.ROOT_PORT: _PORT,
    PciModel.DOWNSTREAM: _PORT,
    PciModel.UPSTREAM: BusRule(_ON_UPSTREAM, _ON_UPSTREAM, 0, _LAST_SLOT),
    PciModel.PCIE_EXPANDER: BusRule(_ON_EXPANDER, _ON_EXPANDER, 0, _LAST_SLOT),
}


class Slot(Struct):
    """A slot that is in use."""

    functions: set[int] = field(default_factory=set[int])
    is_shared: bool = False
    """Only root ports are in it: more of them may be dealt its free functions."""


class PciBus:
    """One bus and what is taken of it."""

    def __init__(self, index: int, model: PciModel) -> None:
        self.index = index
        self.model = model
        self.rule = RULES[model]
        self.slots: dict[int, Slot] = {}
        self.has_port = False
        """A bridge that was added together with the port that it is plugged into."""

    @property
    def is_full(self) -> bool:
        """Whether every slot is in use."""
        return self.slots.keys() >= set(range(self.rule.low, self.rule.high + 1))

    def has(self, slot: int, function: int) -> bool:
        """Tell whether the function is taken."""
        return slot in self.slots and function in self.slots[slot].functions

    def take(self, slot: int, function: int, *, kind: PciKind | None = None) -> None:
        """Take a function."""
        if slot not in self.slots:
            self.slots[slot] = Slot(is_shared=kind is PciKind.ROOT_PORT)
        self.slots[slot].functions.add(function)

    def next(self, kind: PciKind, function: int = 0) -> PciAddress | None:
        """Give the lowest free place that may be dealt to a device of *kind*."""
        if kind not in self.rule.dealt:
            return None
        for slot in range(self.rule.low, self.rule.high + 1):
            if slot not in self.slots:
                return PciAddress(bus=self.index, slot=slot, function=function)
            if kind is PciKind.ROOT_PORT and self.slots[slot].is_shared:
                for free in range(8):
                    if free not in self.slots[slot].functions:
                        return PciAddress(bus=self.index, slot=slot, function=free)
        return None

    def accepts(self, kind: PciKind) -> bool:
        """Tell whether a user may put a device of *kind* here."""
        if kind in _ENDPOINTS or kind is PciKind.PCI_BRIDGE:
            return bool(self.rule.accepts & _ENDPOINTS)
        return kind in self.rule.accepts


class Topology:
    """All buses of a guest while places are dealt."""

    def __init__(self, buses: dict[int, PciModel], *, prefers_dmi: bool) -> None:
        """Start from the controllers that there are.

        Args:
            buses: The models by index; 0 is the root.
            prefers_dmi: QEMU has no pcie-to-pci-bridge.
        """
        self.is_express = buses[0] is PciModel.PCIE_ROOT
        self.to_pci = PciModel.DMI_BRIDGE if prefers_dmi else PciModel.PCIE_TO_PCI
        self.usual = PciModel.ROOT_PORT if self.is_express else PciModel.PCI_BRIDGE
        """What a bus is that nothing but a higher index brings about."""
        self.buses = [
            PciBus(index, buses.get(index, self.usual)) for index in range(max(buses) + 1)
        ]

    def next(self, kind: PciKind, function: int = 0) -> PciAddress | None:
        """Give the lowest free place for *kind* on the lowest bus that takes it."""
        for bus in self.buses:
            place = bus.next(kind, function)
            if place is not None:
                return place
        return None

    def grown(self, kind: PciKind) -> bool:
        """Add the buses that a device of *kind* needs; False where nothing would help."""
        models = tuple(self._growth(kind))
        if not models or len(self.buses) + len(models) > MOST_BUSES:
            return False
        for model in models:
            self._add(model)
        return True

    def grow_to(self, index: int, kind: PciKind) -> int:
        """Add buses until *index* exists, of the sort that a device of *kind* wants.

        Gives the bus for the device: the one behind where *index* is the port of an added bridge.
        """
        while len(self.buses) <= index:
            models = list(self._growth(kind)) or [self.usual]
            for model in models:
                self._add(model)
            if len(models) > 1 and len(self.buses) == index + len(models):
                return index + 1
        return index

    def fault(self, address: PciAddress, kind: PciKind | None) -> str:
        """Say why no device of *kind* can be at *address*; empty if it can."""
        if address.domain:
            return "is in a PCI domain that does not exist, only 0 does"
        if kind is PciKind.INTEGRATED and address.bus:
            return "is not on bus 0, where such a device is"
        if address.bus >= len(self.buses):
            return f"is on a bus that does not exist, the last is {len(self.buses) - 1}"
        bus = self.buses[address.bus]
        if not bus.rule.low <= address.slot <= bus.rule.high:
            return f"has a slot that a {bus.model} lacks, it has {bus.rule.low} to {bus.rule.high}"
        if kind is not None and not bus.accepts(kind):
            return f"is on a {bus.model}, which takes no {kind} device"
        return ""

    def _growth(self, kind: PciKind) -> Iterator[PciModel]:
        match kind:
            case PciKind.EXPRESS | PciKind.SWITCH_UPSTREAM:
                if self.is_express:
                    yield PciModel.ROOT_PORT
            case PciKind.CONVENTIONAL | PciKind.PCI_BRIDGE | PciKind.INTEGRATED:
                if any(PciKind.PCI_BRIDGE in bus.rule.accepts for bus in self.buses):
                    yield PciModel.PCI_BRIDGE
                elif self.to_pci is PciModel.PCIE_TO_PCI:
                    yield PciModel.ROOT_PORT
                    yield PciModel.PCIE_TO_PCI
                else:
                    yield PciModel.DMI_BRIDGE
                    yield PciModel.PCI_BRIDGE
            case _:
                return

    def _add(self, model: PciModel) -> None:
        bus = PciBus(len(self.buses), model)
        if model is PciModel.PCIE_TO_PCI and self.buses[-1].model is PciModel.ROOT_PORT:
            self.buses[-1].take(0, 0)  # this port is there for the bridge
            bus.has_port = True
        self.buses.append(bus)


_ADDED: Final = {
    PciModel.ROOT_PORT: PciKind.ROOT_PORT,
    PciModel.PCI_BRIDGE: PciKind.PCI_BRIDGE,
    PciModel.DMI_BRIDGE: PciKind.DMI_BRIDGE,
    PciModel.PCIE_TO_PCI: PciKind.PCIE_TO_PCI,
}


def controller_kind(model: PciModel) -> PciKind:
    """Tell how a controller that was added plugs in."""
    return _ADDED[model]
