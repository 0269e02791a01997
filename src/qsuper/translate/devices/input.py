"""`<input>`: mouse, tablet, keyboard, or a device of the host.

Sources: libvirt `formatdomain.rst`, "Input devices"; `qemuBuildInputCommandLine()`.
"""

from collections.abc import Iterator
from enum import StrEnum, unique
from typing import ClassVar, Final, Self

from msgspec import field
from msgspec.structs import replace

from qsuper.errors import ConfigError
from qsuper.options import Option, Props
from qsuper.translate.devices.base import Context, Device, common, placed
from qsuper.translate.node import Node
from qsuper.translate.places import Bus, PciKind, PciTurn, UsbTurn
from qsuper.translate.site import Site
from qsuper.translate.virtio import (
    VirtioModel,
    VirtioOptions,
    virtio_address,
    virtio_driver,
    virtio_pci_kind,
)


@unique
class Kind(StrEnum):
    """What it is to the guest."""

    MOUSE = "mouse"
    TABLET = "tablet"
    KEYBOARD = "keyboard"
    PASSTHROUGH = "passthrough"
    """The host's device itself, through virtio."""
    EVDEV = "evdev"
    """The host's device feeds the guest's keyboard and mouse."""


@unique
class InputBus(StrEnum):
    """Where it is plugged in."""

    PS2 = "ps2"
    USB = "usb"
    VIRTIO = "virtio"
    NONE = "none"


@unique
class Grab(StrEnum):
    """Which devices change hands together."""

    ALL = "all"


@unique
class Toggle(StrEnum):
    """The keys that switch between host and guest."""

    CTRL_CTRL = "ctrl-ctrl"
    ALT_ALT = "alt-alt"
    SHIFT_SHIFT = "shift-shift"
    META_META = "meta-meta"
    SCROLLLOCK = "scrolllock"
    CTRL_SCROLLLOCK = "ctrl-scrolllock"


_USB: Final = {Kind.MOUSE: "usb-mouse", Kind.TABLET: "usb-tablet", Kind.KEYBOARD: "usb-kbd"}
_VIRTIO: Final = {
    Kind.MOUSE: "virtio-mouse",
    Kind.TABLET: "virtio-tablet",
    Kind.KEYBOARD: "virtio-keyboard",
    Kind.PASSTHROUGH: "virtio-input-host",
}
_PS2: Final = (Kind.MOUSE, Kind.KEYBOARD)


class Input(Device, frozen=True, kw_only=True):
    """An input device."""

    TAG: ClassVar[str] = "input"
    ALIAS: ClassVar[str] = "input"
    PCI_TURN: ClassVar[int] = PciTurn.INPUT
    USB_TURN: ClassVar[int] = UsbTurn.INPUT

    kind: Kind
    on: InputBus | None = None
    """None until defaults."""
    model: VirtioModel | None = None
    """None: nothing is said."""
    source: str = ""
    """A device file of the host; of `passthrough` and `evdev`."""
    grabs_all: bool = False
    toggle: Toggle | None = None
    repeats: bool | None = None
    virtio: VirtioOptions = field(default_factory=VirtioOptions)

    @classmethod
    def parse(cls, node: Node) -> Self:
        kind = node.enum("type", Kind)
        source = ""
        grab: Grab | None = None
        toggle: Toggle | None = None
        repeats: bool | None = None
        if kind is Kind.PASSTHROUGH:
            source = node.required_child("source").required("evdev")
        elif kind is Kind.EVDEV:
            host = node.required_child("source")
            source = host.required("dev")
            grab = host.enum("grab", Grab, None)
            toggle = host.enum("grabToggle", Toggle, None)
            repeats = host.on_off("repeat")
        return cls(
            **common(node),
            kind=kind,
            on=node.enum("bus", InputBus, None),
            model=node.enum("model", VirtioModel, None),
            source=source,
            grabs_all=grab is not None,
            toggle=toggle,
            repeats=repeats,
            virtio=VirtioOptions.parse(node.child("driver")),
        )

    def defaulted(self, context: Context) -> Self:
        on = self.on or _default_bus(self.kind, context.site)
        if on is InputBus.VIRTIO:
            return replace(self, on=on, address=virtio_address(self, context))
        return replace(self, on=on)

    def pci_kind(self, context: Context) -> PciKind | None:
        if self.on is InputBus.VIRTIO:
            return virtio_pci_kind(self, context, self.model or VirtioModel.VIRTIO)
        return None

    def bus(self, context: Context) -> Bus | None:
        del context
        return Bus.USB if self.on is InputBus.USB else None

    def problems(self, context: Context) -> Iterator[ConfigError]:
        allowed = {
            InputBus.PS2: self.kind in _PS2 and _has_ps2(context),
            InputBus.USB: self.kind in _USB,
            InputBus.VIRTIO: self.kind in _VIRTIO,
            InputBus.NONE: self.kind is not Kind.PASSTHROUGH,
        }
        if self.on is not None and not allowed[self.on]:
            buses = [str(bus) for bus, fits in allowed.items() if fits]
            text = f"<input>: type='{self.kind}' can't be on bus='{self.on}' of this machine"
            yield ConfigError(text, at=self.at, hint=", ".join(buses))
        elif self.model is not None and self.on is not InputBus.VIRTIO:
            text = f"<input>: model='{self.model}' is for bus='virtio'"
            yield ConfigError(text, at=self.at, hint="remove model=")
        elif self.model not in (None, VirtioModel.VIRTIO) and self.kind is not Kind.PASSTHROUGH:
            text = f"<input>: type='{self.kind}' has no model='{self.model}'"
            yield ConfigError(text, at=self.at, hint="model='virtio'")
        elif not context.site.caps.has_type(*self._types()):
            text = f"<input>: this QEMU has no type='{self.kind}' for bus='{self.on}'"
            yield ConfigError(text, at=self.at, hint="bus='usb'")

    def details(self, context: Context) -> Iterator[tuple[str, str | int | None]]:
        del context
        yield "@bus", None if self.kind is Kind.EVDEV else self.on

    def options(self, context: Context) -> Iterator[Option]:
        if self.on is InputBus.PS2 or (self.on is InputBus.NONE and self.kind is not Kind.EVDEV):
            return
        driver, *_ = self._types()
        if self.kind is Kind.EVDEV:
            props: Props = {
                "qom-type": driver,
                "id": self.alias,
                "evdev": self.source,
                "repeat": self.repeats,
                "grab_all": True if self.grabs_all else None,
                "grab-toggle": str(self.toggle) if self.toggle else None,
            }
            yield Option.json("object", props)
            return
        props = {"driver": driver, "evdev": self.source or None}
        tuning = self.virtio.props() if self.on is InputBus.VIRTIO else {}
        yield Option.json("device", {**props, **tuning, **placed(self, context)})

    def _types(self) -> tuple[str, ...]:
        """Give QEMU's name of the device; nothing for what the machine has of its own."""
        match self.on:
            case InputBus.USB:
                return (_USB.get(self.kind, "usb-kbd"),)
            case InputBus.VIRTIO:
                stem = _VIRTIO.get(self.kind, "virtio-keyboard")
                model = self.model or VirtioModel.VIRTIO
                return (virtio_driver(stem, self.address, model),)
            case InputBus.NONE if self.kind is Kind.EVDEV:
                return ("input-linux",)
            case _:
                return ()


def _has_ps2(context: Context) -> bool:
    return context.site.is_x86 and context.domain.features.ps2 is not False


def _default_bus(kind: Kind, site: Site) -> InputBus:
    if kind is Kind.EVDEV:
        return InputBus.NONE
    if kind is Kind.PASSTHROUGH or site.arch == "s390x":
        return InputBus.VIRTIO
    return InputBus.PS2 if kind in _PS2 and site.is_x86 else InputBus.USB
