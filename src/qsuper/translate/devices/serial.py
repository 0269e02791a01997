"""`<serial>` and `<console>`: serial ports, and the consoles that mostly are one of them.

Sources: libvirt `formatdomain.rst`, "Serial port", "Console"; `virDomainDefAddConsoleCompat`,
`qemuDomainChrDefPostParse`, `qemuBuildSerialChrDeviceProps`.
"""

from collections.abc import Iterator, Sequence
from enum import StrEnum, unique
from typing import ClassVar, Final, Self

from msgspec.structs import replace

from qsuper.errors import ConfigError
from qsuper.options import Option, Value
from qsuper.plan import Console as PlanConsole
from qsuper.translate.chardev import Chardev
from qsuper.translate.devices.base import Context, Device, common, placed
from qsuper.translate.model import Need
from qsuper.translate.node import Node
from qsuper.translate.places import (
    Address,
    Bus,
    IsaAddress,
    PciAddress,
    PciKind,
    PciTurn,
    UsbAddress,
    UsbTurn,
    VirtioSerialAddress,
)
from qsuper.translate.site import Site

_ISA_PORTS: Final = 4


@unique
class SerialTarget(StrEnum):
    """What a serial port is plugged into, `<target type=>`."""

    ISA = "isa-serial"
    PCI = "pci-serial"
    USB = "usb-serial"
    SYSTEM = "system-serial"
    """The board's own."""
    SPAPR = "spapr-vio-serial"
    SCLP = "sclp-serial"
    ISA_DEBUG = "isa-debug"


@unique
class SerialModel(StrEnum):
    """The chip, `<target><model name=>`."""

    ISA = "isa-serial"
    PCI = "pci-serial"
    USB = "usb-serial"
    PL011 = "pl011"
    UART_16550A = "16550a"
    SPAPR = "spapr-vty"
    SCLP = "sclpconsole"
    SCLP_LM = "sclplmconsole"
    ISA_DEBUG = "isa-debugcon"


_MODELS: Final = {
    SerialTarget.ISA: (SerialModel.ISA,),
    SerialTarget.PCI: (SerialModel.PCI,),
    SerialTarget.USB: (SerialModel.USB,),
    SerialTarget.SYSTEM: (SerialModel.PL011, SerialModel.UART_16550A),
    SerialTarget.SPAPR: (SerialModel.SPAPR,),
    SerialTarget.SCLP: (SerialModel.SCLP, SerialModel.SCLP_LM),
    SerialTarget.ISA_DEBUG: (SerialModel.ISA_DEBUG,),
}
"""By target; the first is the default."""


@unique
class ConsoleTarget(StrEnum):
    """What a console is, `<console><target type=>`."""

    SERIAL = "serial"
    """The first serial port once more."""
    VIRTIO = "virtio"
    SCLP = "sclp"
    SCLP_LM = "sclplm"


_OTHER_PORTS: Final = (SerialTarget.PCI, SerialTarget.USB, SerialTarget.ISA_DEBUG)
"""Serial ports that are no consoles by themselves."""
_CONSOLE_DRIVER: Final = {
    ConsoleTarget.VIRTIO: "virtconsole",
    ConsoleTarget.SCLP: "sclpconsole",
    ConsoleTarget.SCLP_LM: "sclplmconsole",
}


class Serial(Device, frozen=True, kw_only=True):
    """A serial port."""

    TAG: ClassVar[str] = "serial"
    ALIAS: ClassVar[str] = "serial"
    PCI_TURN: ClassVar[int] = PciTurn.SERIAL
    USB_TURN: ClassVar[int] = UsbTurn.SERIAL

    chardev: Chardev
    target: SerialTarget | None = None
    """None: the board's own, on machines that libvirt knows nothing of."""
    model: SerialModel | None = None
    port: int | None = None

    @classmethod
    def parse(cls, node: Node) -> Self:
        target = node.child("target")
        chip = target.child("model") if target is not None else None
        return cls(
            **common(node),
            chardev=Chardev.parse(node),
            target=target.enum("type", SerialTarget, None) if target is not None else None,
            model=chip.enum("name", SerialModel) if chip is not None else None,
            port=_port(target),
        )

    @classmethod
    def missing(cls, context: Context) -> Iterator[Self]:
        """A console of type serial without a serial port is one."""
        if context.has("serial"):
            return
        for console in context.devices("console"):
            if isinstance(console, Console) and console.target in (None, ConsoleTarget.SERIAL):
                yield cls(
                    at=console.at,
                    ordinal=console.ordinal,
                    alias=console.alias,
                    address=console.address,
                    chardev=console.chardev,
                )
            break

    def defaulted(self, context: Context) -> Self:
        target = self.target
        if target is SerialTarget.ISA and self.model is None:
            target = None  # libvirt used to write it where it meant the default
        target = target or _default_target(self.address, context.site)
        if self.address is not None and not isinstance(self.address, _addresses(target)):
            raise self._error(f"the address does not fit '{target}'")
        models = _MODELS[target] if target is not None else ()
        model = self.model or (models[0] if models else None)
        if self.model is None and target is SerialTarget.SYSTEM and context.site.is_riscv:
            model = SerialModel.UART_16550A
        ports = [serial.port for serial in context.devices("serial") if isinstance(serial, Serial)]
        place = _place_of(self, context.devices("serial"))
        port = self.port if self.port is not None else _free_port(ports, place)
        return replace(self, target=target, model=model, port=port)

    def pci_kind(self, context: Context) -> PciKind | None:
        del context
        return PciKind.CONVENTIONAL if self.target is SerialTarget.PCI else None

    def bus(self, context: Context) -> Bus | None:
        del context
        return Bus.USB if self.target is SerialTarget.USB else None

    def problems(self, context: Context) -> Iterator[ConfigError]:
        yield from self.chardev.line_problems(context)
        site = context.site
        if self.target is not None and self.model not in _MODELS[self.target]:
            models = ", ".join(_MODELS[self.target])
            yield self._error(f"model '{self.model}' does not go with '{self.target}'", models)
        if not _fits_machine(self.target, self.model, site):
            yield self._error(f"machine {site.machine} has no '{self.target or self.model}'")

    def obstacles(self, context: Context) -> Iterator[ConfigError]:
        if self.target is SerialTarget.ISA and (self.port or 0) >= _ISA_PORTS:
            yield self._error(f"port {self.port} is beyond the last", f"0..{_ISA_PORTS - 1}")
        if self.target is SerialTarget.ISA:
            for other in context.devices("serial"):
                if other is self:
                    break
                if isinstance(other, Serial) and (other.target, other.port) == (
                    self.target,
                    self.port,
                ):
                    yield self._error(f"port {self.port} is taken, by line {other.at.line}")

    def _error(self, message: str, hint: str = "") -> ConfigError:
        return ConfigError(f"<serial>: {message}", at=self.at, hint=hint)

    def details(self, context: Context) -> Iterator[tuple[str, str | int | None]]:
        del context
        yield "target@type", self.target
        yield "target@port", self.port
        yield "target/model@name", self.model

    def options(self, context: Context) -> Iterator[Option]:
        yield from self.chardev.options(self.alias, context.site.caps)
        if self.target in (None, SerialTarget.SYSTEM):
            yield Option.word("serial", f"chardev:char{self.alias}")
            return
        props: dict[str, Value] = {
            "driver": str(self.model),
            "chardev": f"char{self.alias}",
            "index": self.port if self.target is SerialTarget.ISA else None,
        }
        yield Option.json("device", props | placed(self, context))

    def consoles(self, context: Context) -> Iterator[PlanConsole]:
        del context
        yield self.chardev.console(self.alias)


def _default_target(address: Address | None, site: Site) -> SerialTarget | None:
    """The target follows from the address, else from the machine."""
    result: SerialTarget | None = None
    if isinstance(address, PciAddress):
        result = SerialTarget.PCI
    elif isinstance(address, UsbAddress):
        result = SerialTarget.USB
    elif site.is_x86:
        result = SerialTarget.ISA
    elif site.machine.startswith("pseries"):
        result = SerialTarget.SPAPR
    elif site.is_virt:
        result = SerialTarget.SYSTEM
    elif site.arch in ("s390x", "s390"):
        result = SerialTarget.SCLP
    return result


def _port(target: Node | None) -> int | None:
    """Read which port it is; libvirt takes a number below 0 for none."""
    number = target.integer("port", high=0x7FFFFFFF) if target is not None else None
    return None if number is None or number < 0 else number


def _fits_machine(target: SerialTarget | None, model: SerialModel | None, site: Site) -> bool:
    match target:
        case SerialTarget.ISA | SerialTarget.ISA_DEBUG:
            return site.is_x86
        case SerialTarget.SYSTEM if model is SerialModel.PL011:
            return site.is_arm
        case SerialTarget.SYSTEM:
            return site.is_virt and not site.is_arm
        case SerialTarget.SPAPR:
            return site.machine.startswith("pseries")
        case SerialTarget.SCLP:
            return site.arch in ("s390x", "s390")
        case _:
            return True


def _addresses(target: SerialTarget | None) -> tuple[type, ...]:
    """The kinds of address that a target may have."""
    match target:
        case SerialTarget.ISA | SerialTarget.ISA_DEBUG:
            return (IsaAddress,)
        case SerialTarget.PCI:
            return (PciAddress,)
        case SerialTarget.USB:
            return (UsbAddress,)
        case _:
            return ()


def _place_of(device: Device, devices: Iterator[Device]) -> int:
    return next((number for number, other in enumerate(devices) if other is device), 0)


def _free_port(ports: Sequence[int | None], place: int) -> int:
    """Ports without a number count on from the highest one, in their order."""
    highest = max((port for port in ports if port is not None), default=-1)
    return highest + 1 + sum(port is None for port in ports[:place])


class Console(Device, frozen=True, kw_only=True):
    """A console: the first serial port under another name, or a device of its own."""

    TAG: ClassVar[str] = "console"
    ALIAS: ClassVar[str] = "console"
    FIRST_SERIAL_PORT: ClassVar[int] = 0

    chardev: Chardev
    target: ConsoleTarget | None = None
    """None until defaults: s390 has virtio, all others the first serial port."""
    port: int | None = None
    is_implicit: bool = False
    """Not in the file: the first serial port's, where the file has other consoles only."""

    @classmethod
    def missing(cls, context: Context) -> Iterator[Self]:
        """Before other consoles comes that of the first serial port; it counts, no more."""
        first = next(context.devices("console"), None)
        port = next(context.devices("serial"), None)
        if not isinstance(first, Console) or not isinstance(port, Serial):
            return
        kind = port.defaulted(context).target
        if first.target in (None, ConsoleTarget.SERIAL) or kind in _OTHER_PORTS:
            return
        target = ConsoleTarget.SERIAL
        yield cls(at=port.at, chardev=port.chardev, target=target, is_implicit=True)

    def place_among(self, devices: tuple[Device, ...]) -> int:
        return 0 if self.is_implicit else len(devices)

    @classmethod
    def parse(cls, node: Node) -> Self:
        node.ignore("tty")
        target = node.child("target")
        return cls(
            **common(node),
            chardev=Chardev.parse(node),
            target=target.enum("type", ConsoleTarget, None) if target is not None else None,
            port=_port(target),
        )

    def defaulted(self, context: Context) -> Self:
        is_s390 = context.site.arch in ("s390x", "s390")
        default = ConsoleTarget.VIRTIO if is_s390 else ConsoleTarget.SERIAL
        target = self.target or default
        if target is not ConsoleTarget.SERIAL:
            if self.address is not None and not isinstance(self.address, VirtioSerialAddress):
                raise self._error(f"the address does not fit '{target}'")
            return replace(self, target=target)
        return replace(self, target=target, alias="", address=None)  # those of the serial port

    def implied(self, context: Context) -> Iterator[Need]:
        del context
        if self.target is ConsoleTarget.VIRTIO:
            address = self.address
            index = address.controller if isinstance(address, VirtioSerialAddress) else 0
            yield Need("virtio-serial", index)

    def bus(self, context: Context) -> Bus | None:
        """QEMU deals the port itself, unless the file names the controller."""
        del context
        is_named = isinstance(self.address, VirtioSerialAddress)
        return Bus.VIRTIO_SERIAL if is_named and self.target is ConsoleTarget.VIRTIO else None

    def problems(self, context: Context) -> Iterator[ConfigError]:
        if self.target is ConsoleTarget.SERIAL:
            if next(context.devices("console"), None) is not self:
                hint = "type='virtio'"
                yield self._error("only the first console can be a serial port", hint)
            return
        yield from self.chardev.line_problems(context)
        is_virtio = self.target is ConsoleTarget.VIRTIO
        if not is_virtio and context.site.arch not in ("s390x", "s390"):
            yield self._error(f"machine {context.site.machine} has no '{self.target}' consoles")

    def _error(self, message: str, hint: str = "") -> ConfigError:
        return ConfigError(f"<console>: {message}", at=self.at, hint=hint)

    def details(self, context: Context) -> Iterator[tuple[str, str | int | None]]:
        del context
        if not self.is_implicit:
            yield "target@type", self.target

    def options(self, context: Context) -> Iterator[Option]:
        if self.target is None or self.target is ConsoleTarget.SERIAL:
            return
        yield from self.chardev.options(self.alias, context.site.caps)
        props: dict[str, Value] = {
            "driver": _CONSOLE_DRIVER[self.target],
            "chardev": f"char{self.alias}",
        }
        yield Option.json("device", props | placed(self, context))

    def consoles(self, context: Context) -> Iterator[PlanConsole]:
        del context
        if self.target is not ConsoleTarget.SERIAL:
            yield self.chardev.console(self.alias)
