"""`<controller type='usb'>`.

Source: libvirt `formatdomain.rst`, "Controllers"; `qemuDomainControllerDefPostParse`,
`qemuBuildControllerUSBDevProps`.
"""

from collections.abc import Iterator
from enum import StrEnum, unique
from typing import ClassVar, Final, Self

from msgspec.structs import replace

from qsuper.errors import ConfigError
from qsuper.location import Location
from qsuper.options import Option, Value
from qsuper.translate.controllers import UNINDEXED, refuse_scsi_words
from qsuper.translate.devices.base import Context, Device, common, placed
from qsuper.translate.model import Need
from qsuper.translate.node import Node
from qsuper.translate.places import PciAddress, PciKind, PciTurn
from qsuper.translate.site import Site


@unique
class UsbModel(StrEnum):
    """libvirt's names of the controllers."""

    PIIX3_UHCI = "piix3-uhci"
    PIIX4_UHCI = "piix4-uhci"
    EHCI = "ehci"
    ICH9_EHCI1 = "ich9-ehci1"
    ICH9_UHCI1 = "ich9-uhci1"
    ICH9_UHCI2 = "ich9-uhci2"
    ICH9_UHCI3 = "ich9-uhci3"
    VT82C686B_UHCI = "vt82c686b-uhci"
    PCI_OHCI = "pci-ohci"
    NEC_XHCI = "nec-xhci"
    QEMU_XHCI = "qemu-xhci"
    NONE = "none"
    """No USB at all."""


_DRIVER: Final = {
    UsbModel.PIIX3_UHCI: "piix3-usb-uhci",
    UsbModel.PIIX4_UHCI: "piix4-usb-uhci",
    UsbModel.EHCI: "usb-ehci",
    UsbModel.ICH9_EHCI1: "ich9-usb-ehci1",
    UsbModel.ICH9_UHCI1: "ich9-usb-uhci1",
    UsbModel.ICH9_UHCI2: "ich9-usb-uhci2",
    UsbModel.ICH9_UHCI3: "ich9-usb-uhci3",
    UsbModel.VT82C686B_UHCI: "vt82c686b-usb-uhci",
    UsbModel.PCI_OHCI: "pci-ohci",
    UsbModel.NEC_XHCI: "nec-usb-xhci",
    UsbModel.QEMU_XHCI: "qemu-xhci",
}
_PORTS: Final = {
    UsbModel.PIIX3_UHCI: 2,
    UsbModel.PIIX4_UHCI: 2,
    UsbModel.VT82C686B_UHCI: 2,
    UsbModel.EHCI: 6,
    UsbModel.ICH9_EHCI1: 6,
    UsbModel.PCI_OHCI: 3,
    UsbModel.NEC_XHCI: 4,
    UsbModel.QEMU_XHCI: 4,
}
_FUNCTION: Final = {
    UsbModel.ICH9_EHCI1: 7,
    UsbModel.ICH9_UHCI1: 0,
    UsbModel.ICH9_UHCI2: 1,
    UsbModel.ICH9_UHCI3: 2,
}
_FIRST_PORT: Final = {UsbModel.ICH9_UHCI1: 0, UsbModel.ICH9_UHCI2: 2, UsbModel.ICH9_UHCI3: 4}
"""Of the companions: the port of the main controller from which on they serve."""
_XHCI: Final = (UsbModel.NEC_XHCI, UsbModel.QEMU_XHCI)
_MOST_XHCI_PORTS: Final = 15
_ARM_BOARDS: Final = ("versatilepb", "realview")
"""Arm boards that have USB without being asked."""
_I440FX_PLACE: Final = PciAddress(bus=0, slot=1, function=2)
_Q35_SLOTS: Final = (0x1D, 0x1A)


class UsbController(Device, frozen=True, kw_only=True):
    """A USB controller, or the word that there is none."""

    TAG: ClassVar[str] = "controller"
    ALIAS: ClassVar[str] = "usb"
    PCI_TURN: ClassVar[int] = PciTurn.CONTROLLER

    index: int = UNINDEXED
    model: UsbModel | None = None
    ports: int | None = None
    first_port: int | None = None
    """`<master startport=>` of a companion."""

    @classmethod
    def claims(cls, node: Node) -> bool:
        return node.get("type") == "usb"

    @classmethod
    def parse(cls, node: Node) -> Self:
        index = node.integer("index", low=0, high=255)
        master = node.child("master")
        refuse_scsi_words(node.child("driver"))
        model = node.enum("model", UsbModel, None)
        if master is not None and model not in _FIRST_PORT:
            raise master.error("only the companions of ich9-ehci1 have it", hint="ich9-uhci1")
        return cls(
            **common(node),
            index=UNINDEXED if index is None else index,
            model=model,
            ports=node.integer("ports", low=0),
            first_port=(master.integer("startport", low=0) or 0) if master is not None else None,
        )

    @classmethod
    def missing(cls, context: Context) -> Iterator[Self]:
        site = context.site
        if any(device.bus_key == ("usb", 0) for device in context.domain.devices):
            return
        if site.is_q35:
            yield cls(at=context.domain.at, index=0, model=_q35_model(site))
        elif site.is_i440fx:
            yield cls(at=context.domain.at, index=0)
        elif site.is_arm and site.machine.startswith(_ARM_BOARDS):
            model = _first(site, UsbModel.PCI_OHCI) or UsbModel.NONE
            yield cls(at=context.domain.at, index=0, model=model)

    @classmethod
    def supplied(cls, need: Need, at: Location) -> Self | None:
        return cls(at=at, index=need.index) if need.kind == "usb" else None

    def defaulted(self, context: Context) -> Self:
        site = context.site
        model = self.model or _default_model(site)
        first_port = self.first_port
        if first_port is None and model:
            first_port = _FIRST_PORT.get(model)
        address = None if model is UsbModel.NONE else self.address
        device = replace(self, model=model, first_port=first_port, address=address)
        if self.address is None and device._is_on_board(site):  # noqa: SLF001 - of this class
            return replace(device, address=_I440FX_PLACE)
        return device

    def _is_on_board(self, site: Site) -> bool:
        """Whether it is a function of the i440fx' own chip."""
        return self.index == 0 and self.model is UsbModel.PIIX3_UHCI and site.is_i440fx

    def indexed(self, index: int) -> Self:
        return replace(self, index=index)

    @property
    def bus_key(self) -> tuple[str, int]:
        return ("usb", self.index)

    @property
    def is_companion(self) -> bool:
        return self.model in _FIRST_PORT

    @property
    def pci_function(self) -> int | None:
        return _FUNCTION.get(self.model) if self.model else None

    def usb_ports(self) -> int:
        if self.model in _XHCI and self.ports:
            return self.ports
        return _PORTS.get(self.model, 0) if self.model else 0

    def pci_kind(self, context: Context) -> PciKind | None:
        if self.model is UsbModel.NONE:
            return None
        express = context.site.has_pcie_root and self.model in _XHCI
        return PciKind.EXPRESS if express else PciKind.CONVENTIONAL

    def pci_preferred(self, context: Context) -> Iterator[PciAddress | None]:
        if self.model is UsbModel.ICH9_UHCI1 and context.site.is_q35:
            for slot in _Q35_SLOTS:
                yield PciAddress(bus=0, slot=slot, multifunction=True)

    def stem(self, context: Context) -> str:
        del context
        if self.is_companion:
            return f"usb-companion{self.index}-{self.first_port}"  # not written
        return f"usb{self.index or ''}"

    def problems(self, context: Context) -> Iterator[ConfigError]:
        if self.model is UsbModel.NONE:
            others = [d for d in context.domain.devices if d.bus_key and d.bus_key[0] == "usb"]
            if len(others) > 1:
                yield self._wrong("model='none' beside other USB controllers")
            return
        if self.model is None:
            yield self._wrong("this QEMU has none of the default models", "write model=")
        elif not context.site.caps.has_type(_DRIVER[self.model]):
            yield self._wrong(f"this QEMU has no {_DRIVER[self.model]}", "write another model=")
        place = self.address
        if (
            self._is_on_board(context.site)
            and isinstance(place, PciAddress)
            and replace(place, multifunction=None) != _I440FX_PLACE
        ):
            yield self._wrong("the address must be bus 0, slot 1, function 2", "remove it")
        if self.ports is not None and self.model not in _XHCI:
            yield self._wrong("ports= is for nec-xhci and qemu-xhci only")
        elif self.ports is not None and self.ports > _MOST_XHCI_PORTS:
            text = f"ports='{self.ports}': {self.model} has at most {_MOST_XHCI_PORTS}"
            yield self._wrong(text)
        if self.is_companion and self._main(context) is None:
            yield self._wrong("no main controller (ich9-ehci1) has this index")

    def details(self, context: Context) -> Iterator[tuple[str, str | int | None]]:
        del context
        yield "@type", self.ALIAS
        yield "@index", self.index
        yield "@model", self.model
        yield "master@startport", self.first_port

    def options(self, context: Context) -> Iterator[Option]:
        if self.model is None or self.model is UsbModel.NONE:
            return
        props: dict[str, Value] = placed(self, context)
        if self.is_companion:
            del props["id"]
            main = self._main(context)
            bus = f"{main.alias}.0" if main else None
            props = {"masterbus": bus, "firstport": self.first_port} | props
        elif self.ports is not None:
            props |= {"p2": self.ports, "p3": self.ports}
        named: dict[str, Value] = {"driver": _DRIVER[self.model]}
        yield Option.json("device", named | props)

    def _main(self, context: Context) -> Device | None:
        for device in context.domain.devices:
            if device.bus_key == self.bus_key and not device.is_companion:
                return device
        return None

    def _wrong(self, text: str, hint: str = "") -> ConfigError:
        return ConfigError(f"<controller type='usb'>: {text}", at=self.at, hint=hint)


def _first(site: Site, *models: UsbModel) -> UsbModel | None:
    return next((model for model in models if site.caps.has_type(_DRIVER[model])), None)


def _q35_model(site: Site) -> UsbModel:
    models = (UsbModel.QEMU_XHCI, UsbModel.NEC_XHCI, UsbModel.ICH9_EHCI1)
    return _first(site, *models) or UsbModel.NONE


def _default_model(site: Site) -> UsbModel | None:
    found = None
    if site.arch in ("aarch64", "loongarch64"):
        found = _first(site, UsbModel.QEMU_XHCI, UsbModel.NEC_XHCI)
    if found is None:
        found = _first(site, UsbModel.PIIX3_UHCI)
    if found is None and not site.is_x86:
        found = _first(site, UsbModel.PCI_OHCI)
    return found
