"""`<controller type='pci'>`: roots, bridges, ports, switches, expanders.

Source: libvirt `formatdomain.rst`, "Controllers"; `qemuBuildControllerPCIDevProps`.
"""

from collections.abc import Iterator
from typing import ClassVar, Final, Self

from msgspec.structs import replace

from qsuper.errors import ConfigError
from qsuper.location import Location
from qsuper.options import Option, Value
from qsuper.translate.controllers import UNINDEXED, refuse_scsi_words
from qsuper.translate.devices.base import Context, Device, common, placed
from qsuper.translate.model import Need
from qsuper.translate.node import Node
from qsuper.translate.places import PciAddress, PciKind, PciModel

_KIND: Final = {
    PciModel.PCI_BRIDGE: PciKind.PCI_BRIDGE,
    PciModel.DMI_BRIDGE: PciKind.DMI_BRIDGE,
    PciModel.PCIE_TO_PCI: PciKind.PCIE_TO_PCI,
    PciModel.ROOT_PORT: PciKind.ROOT_PORT,
    PciModel.UPSTREAM: PciKind.SWITCH_UPSTREAM,
    PciModel.DOWNSTREAM: PciKind.SWITCH_DOWNSTREAM,
    PciModel.EXPANDER: PciKind.EXPANDER,
    PciModel.PCIE_EXPANDER: PciKind.PCIE_EXPANDER,
}
_DRIVERS: Final = {
    PciModel.PCI_BRIDGE: ("pci-bridge",),
    PciModel.DMI_BRIDGE: ("i82801b11-bridge",),
    PciModel.PCIE_TO_PCI: ("pcie-pci-bridge",),
    PciModel.ROOT_PORT: ("pcie-root-port", "ioh3420"),
    PciModel.UPSTREAM: ("x3130-upstream",),
    PciModel.DOWNSTREAM: ("xio3130-downstream",),
    PciModel.EXPANDER: ("pxb",),
    PciModel.PCIE_EXPANDER: ("pxb-pcie",),
}
"""QEMU's names; the first that this QEMU has is taken."""
_ROOTS: Final = (PciModel.PCI_ROOT, PciModel.PCIE_ROOT)
_EXPANDERS: Final = (PciModel.EXPANDER, PciModel.PCIE_EXPANDER)
_PORTS: Final = (PciModel.ROOT_PORT, PciModel.DOWNSTREAM)
_FIRST_FREE_BUS_NR: Final = 256
_DMI_SLOT: Final = 0x1E


class PciController(Device, frozen=True, kw_only=True):
    """A PCI bus with what gives it."""

    TAG: ClassVar[str] = "controller"
    ALIAS: ClassVar[str] = "pci"

    index: int = UNINDEXED
    model: PciModel | None = None
    driver: str | None = None
    """`<model name=>`: QEMU's name."""
    chassis_nr: int | None = None
    chassis: int | None = None
    port: int | None = None
    bus_nr: int | None = None
    node: int | None = None
    """The guest's NUMA node."""
    hotplug: bool | None = None
    mem_reserve_kib: int | None = None
    has_target_index: bool = False
    hole_kib: int | None = None
    """Size of the hole above 4 GiB, `<pcihole64>`."""

    @classmethod
    def claims(cls, node: Node) -> bool:
        return node.get("type") == "pci"

    @classmethod
    def parse(cls, node: Node) -> Self:
        target = node.child("target")
        refuse_scsi_words(node.child("driver"))
        name = node.child("model")
        is_root = node.get("model") in _ROOTS
        hole = node.child("pcihole64") if is_root else None
        if not is_root:
            node.accept("pcihole64")
        numa = target.child("node") if target is not None else None
        index = node.integer("index", low=0, high=255)
        model = node.enum("model", PciModel, None)
        if model in _ROOTS and node.child("address") is not None:
            raise node.error(f"a {model} has no address", hint="remove <address>")
        return cls(
            **common(node),
            index=UNINDEXED if index is None else index,
            model=model,
            driver=name.get("name") if name is not None else None,
            chassis_nr=_number(target, "chassisNr", 1, 255),
            chassis=_number(target, "chassis", 0, 255),
            port=_number(target, "port", 0, 255),
            bus_nr=_number(target, "busNr", 1, 254),
            node=numa.integer_text(low=0) if numa is not None else None,
            hotplug=target.on_off("hotplug") if target is not None else None,
            mem_reserve_kib=_number(target, "memReserve", 0, 2**43),
            has_target_index=target is not None and "index" in target.attributes,
            hole_kib=hole.bytes_text() // 1024 if hole is not None else None,
        )

    @classmethod
    def missing(cls, context: Context) -> Iterator[Self]:
        site = context.site
        if any(device.bus_key == ("pci", 0) for device in context.domain.devices):
            return
        if site.has_pcie_root or site.has_pci_root:
            root = PciModel.PCIE_ROOT if site.has_pcie_root else PciModel.PCI_ROOT
            yield cls(at=context.domain.at, index=0, model=root)

    @classmethod
    def supplied(cls, need: Need, at: Location) -> Self | None:
        if need.kind != "pci":
            return None
        return cls(at=at, index=need.index, model=PciModel(need.model) if need.model else None)

    def defaulted(self, context: Context) -> Self:
        del context
        return replace(self, alias="") if self.model in _ROOTS else self  # QEMU names the bus

    def indexed(self, index: int) -> Self:
        return replace(self, index=index)

    @property
    def bus_key(self) -> tuple[str, int]:
        return ("pci", self.index)

    @property
    def pci_model(self) -> PciModel | None:
        return self.model

    def pci_kind(self, context: Context) -> PciKind | None:
        del context
        return _KIND.get(self.model) if self.model else None

    def pci_preferred(self, context: Context) -> Iterator[PciAddress | None]:
        if self.model is PciModel.DMI_BRIDGE and context.site.is_q35:
            yield PciAddress(bus=0, slot=_DMI_SLOT)

    def stem(self, context: Context) -> str:
        if self.model is PciModel.PCIE_ROOT:
            return "pcie.0"
        site = context.site
        return f"pci.{self.index}" if site.is_x86 or site.is_virt else "pci"

    def problems(self, context: Context) -> Iterator[ConfigError]:
        if self.model is None:
            yield self._wrong("model= is missing")
        elif (self.index == 0) != (self.model in _ROOTS):
            yield self._wrong(f"model='{self.model}' can't have index {self.index}", "roots have 0")
        elif self.index == 0:
            yield from self._root_problems(context)
        has_hole = context.site.is_q35 or context.site.is_i440fx
        if self.hole_kib is not None and not has_hole:
            yield self._wrong(f"machine '{context.site.machine}' has no <pcihole64> to set")
        if self.model is PciModel.PCI_BRIDGE:
            yield from self._late_bus()
        yield from self._target_problems()
        cells = [cell.number for cell in context.domain.numa.cells]
        if self.node is not None and self.node not in cells:
            yield self._wrong(f"NUMA node {self.node} is not in <cpu><numa>")
        if self.index > 0 and self.model and not self._driver(context):
            yield self._wrong(f"this QEMU has no {' or '.join(self._drivers())}")

    def obstacles(self, context: Context) -> Iterator[ConfigError]:
        del context
        if self.model is not PciModel.PCI_BRIDGE:
            yield from self._late_bus()

    def _late_bus(self) -> Iterator[ConfigError]:
        """Give the fault of a controller whose bus comes after it on the command line."""
        if self.index and isinstance(self.address, PciAddress) and self.address.bus >= self.index:
            text = f"it has index {self.index} and is plugged into bus {self.address.bus}"
            yield self._wrong(text, "a controller's index must be above that of its bus")

    def details(self, context: Context) -> Iterator[tuple[str, str | int | None]]:
        del context
        yield "@type", self.ALIAS
        yield "@index", self.index
        yield "@model", self.model

    def options(self, context: Context) -> Iterator[Option]:
        if self.index == 0:
            if self.hole_kib is not None:
                host = "q35-pcihost" if context.site.is_q35 else "i440FX-pcihost"
                yield Option.keyed("global", {f"{host}.pci-hole64-size": f"{self.hole_kib}K"})
            if self.hotplug is not None:
                yield Option.keyed("global", {"PIIX4_PM.acpi-root-pci-hotplug": self.hotplug})
            return
        driver = {"driver": self._driver(context) or ""}
        yield Option.json("device", driver | self._props(context) | placed(self, context))

    def _props(self, context: Context) -> dict[str, Value]:
        reserve = None if self.mem_reserve_kib is None else self.mem_reserve_kib * 1024
        match self.model:
            case PciModel.PCI_BRIDGE:
                number = self.index if self.chassis_nr is None else self.chassis_nr
                return {"chassis_nr": number, "mem-reserve": reserve}
            case PciModel.ROOT_PORT | PciModel.DOWNSTREAM:
                return {
                    "port": self._port(),
                    "chassis": self.index if self.chassis is None else self.chassis,
                    "hotplug": self.hotplug,
                    "mem-reserve": reserve,
                }
            case PciModel.EXPANDER | PciModel.PCIE_EXPANDER:
                return {"bus_nr": self._bus_nr(context), "numa_node": self.node}
            case _:
                return {}

    def _port(self) -> int | None:
        if self.port is not None or not isinstance(self.address, PciAddress):
            return self.port
        if self.model is PciModel.DOWNSTREAM:
            return self.address.slot
        return self.address.slot * 8 + self.address.function

    def _bus_nr(self, context: Context) -> int:
        """Give the bus number: two below the lowest that an expander before this one has."""
        lowest = _FIRST_FREE_BUS_NR
        others = [device for device in context.domain.devices if isinstance(device, PciController)]
        expanders = [other for other in others if other.model in _EXPANDERS]
        lowest = min([lowest, *(other.bus_nr for other in expanders if other.bus_nr is not None)])
        for other in expanders:
            if other.bus_nr is None:
                lowest -= 2
            if other.index == self.index:
                break
        return lowest if self.bus_nr is None else self.bus_nr

    def _drivers(self) -> tuple[str, ...]:
        if self.driver:
            return (self.driver,)
        return _DRIVERS.get(self.model, ()) if self.model else ()

    def _driver(self, context: Context) -> str | None:
        have = (name for name in self._drivers() if context.site.caps.has_type(name))
        return next(have, None)

    def _root_problems(self, context: Context) -> Iterator[ConfigError]:
        site = context.site
        wanted = PciModel.PCIE_ROOT if site.has_pcie_root else PciModel.PCI_ROOT
        if self.hotplug is not None and not site.is_i440fx:
            yield self._wrong("<target hotplug> of the root is for i440fx machines only")
        if not (site.has_pcie_root or site.has_pci_root):
            return  # QEMU knows whether this board has PCI
        if self.model is not wanted:
            text = f"index 0 must be model='{wanted}' on machine '{site.machine}'"
            yield self._wrong(text, f"not '{self.model}'")

    def _target_problems(self) -> Iterator[ConfigError]:
        model = self.model
        rows = (
            ("index", self.has_target_index or None, False),  # of pseries machines' buses
            ("chassisNr", self.chassis_nr, model is PciModel.PCI_BRIDGE),
            ("chassis", self.chassis, model in _PORTS),
            ("port", self.port, model in _PORTS),
            ("hotplug", self.hotplug, model in (PciModel.PCI_ROOT, *_PORTS)),
            ("busNr", self.bus_nr, model in _EXPANDERS),
            ("node", self.node, model in _EXPANDERS),
            ("memReserve", self.mem_reserve_kib, model in (PciModel.PCI_BRIDGE, *_PORTS)),
        )
        for name, value, fits in rows:
            if value is not None and not fits:
                yield self._wrong(f"<target {name}> is nothing for a {model}")
        known = _DRIVERS.get(model, ()) if model else ()
        if self.driver and self.driver not in known:
            hint = f"one of {', '.join(known)}" if known else "remove <model>"
            yield self._wrong(f"<model name='{self.driver}'> is no {model}", hint)

    def _wrong(self, text: str, hint: str = "") -> ConfigError:
        return ConfigError(f"<controller type='pci'>: {text}", at=self.at, hint=hint)


def _number(target: Node | None, name: str, low: int, high: int) -> int | None:
    return target.integer(name, low=low, high=high) if target is not None else None
