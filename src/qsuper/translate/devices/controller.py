"""`<controller>` of the types ide, sata, fdc and virtio-serial.

The other types have modules of their own.

Source: libvirt `formatdomain.rst`, "Controllers"; `qemuBuildControllerDevProps`.
"""

from collections.abc import Iterator
from typing import ClassVar, Final, Self

from msgspec import field
from msgspec.structs import replace

from qsuper.errors import ConfigError
from qsuper.location import Location, Notice
from qsuper.options import Option, Value
from qsuper.translate.controllers import UNINDEXED, refuse_scsi_words
from qsuper.translate.devices.base import Context, Device, common, placed
from qsuper.translate.model import Need
from qsuper.translate.node import Node
from qsuper.translate.places import DriveAddress, PciAddress, PciKind, PciTurn
from qsuper.translate.virtio import (
    VirtioModel,
    VirtioOptions,
    virtio_address,
    virtio_driver,
    virtio_pci_kind,
)

_DEFAULT: Final = "ide"
_SERIAL_PORTS: Final = 31
_MOST_SERIAL_PORTS: Final = 1 << 10
_I440FX_IDE: Final = PciAddress(bus=0, slot=1, function=1)
_Q35_SATA: Final = PciAddress(bus=0, slot=0x1F, function=2)


class _Controller(Device, frozen=True, kw_only=True):
    """What the simple controllers share: a type and an index."""

    TAG: ClassVar[str] = "controller"
    PCI_TURN: ClassVar[int] = PciTurn.CONTROLLER
    _MODELS: ClassVar[tuple[str, ...]] = ()
    """libvirt's words, none of which makes a difference here."""

    index: int = UNINDEXED

    @classmethod
    def claims(cls, node: Node) -> bool:
        return (node.get("type") if node.has("type") else _DEFAULT) == cls.ALIAS

    @classmethod
    def parse(cls, node: Node) -> Self:
        index = node.integer("index", low=0, high=255)
        if node.get("model") not in (None, *cls._MODELS):
            hint = ", ".join(cls._MODELS) or "remove it"
            raise node.error(f"model='{node.get('model')}' is unknown", hint=hint)
        refuse_scsi_words(node.child("driver"))
        return cls(**common(node), index=UNINDEXED if index is None else index)

    @classmethod
    def supplied(cls, need: Need, at: Location) -> Self | None:
        return cls(at=at, index=need.index) if need.kind == cls.ALIAS else None

    def indexed(self, index: int) -> Self:
        return replace(self, index=index)

    @property
    def bus_key(self) -> tuple[str, int]:
        return (self.ALIAS, self.index)

    def stem(self, context: Context) -> str:
        del context
        return f"{self.ALIAS}{self.index}"

    def details(self, context: Context) -> Iterator[tuple[str, str | int | None]]:
        del context
        yield "@type", self.ALIAS
        yield "@index", self.index

    def options(self, context: Context) -> Iterator[Option]:
        del context
        return iter(())

    def _wrong(self, text: str, hint: str = "") -> ConfigError:
        return ConfigError(f"<controller type='{self.ALIAS}'>: {text}", at=self.at, hint=hint)


class IdeController(_Controller, frozen=True, kw_only=True):
    """The IDE controller of the board."""

    ALIAS: ClassVar[str] = "ide"
    _MODELS: ClassVar[tuple[str, ...]] = ("piix3", "piix4", "ich6")

    def defaulted(self, context: Context) -> Self:
        address = self.address
        if address is None and context.site.is_i440fx and self.index == 0:
            address = _I440FX_IDE
        return replace(self, address=address, alias="")

    def stem(self, context: Context) -> str:
        del context
        return "ide" if self.index == 0 else f"ide{self.index}"

    def problems(self, context: Context) -> Iterator[ConfigError]:
        site = context.site
        if not (site.is_i440fx or site.machine == "isapc"):
            yield self._wrong(f"machine '{site.machine}' has no IDE", "use bus='sata' or 'virtio'")
        elif self.index:
            yield self._wrong(f"machine '{site.machine}' has a single IDE controller")
        elif site.is_i440fx and self.address != _I440FX_IDE and not _same_place(self, _I440FX_IDE):
            yield self._wrong("the address must be bus 0, slot 1, function 1", "remove <address>")


class SataController(_Controller, frozen=True, kw_only=True):
    """A SATA controller: the first is on the board of q35, others are AHCI cards."""

    ALIAS: ClassVar[str] = "sata"

    @classmethod
    def missing(cls, context: Context) -> Iterator[Self]:
        if context.site.is_q35 and not _has(context, ("sata", 0)):
            yield cls(at=context.domain.at, index=0)

    def defaulted(self, context: Context) -> Self:
        if not self._is_built_in(context):
            return self
        return replace(self, address=self.address or _Q35_SATA, alias="")

    def pci_kind(self, context: Context) -> PciKind | None:
        return None if self._is_built_in(context) else PciKind.CONVENTIONAL

    def stem(self, context: Context) -> str:
        return "ide" if self._is_built_in(context) else f"sata{self.index}"

    def problems(self, context: Context) -> Iterator[ConfigError]:
        if self._is_built_in(context):
            if not _same_place(self, _Q35_SATA):
                hint = "remove <address>"
                yield self._wrong("the address must be bus 0, slot 0x1f, function 2", hint)
        elif not context.site.caps.has_type("ich9-ahci"):
            yield self._wrong("this QEMU has no ahci")

    def options(self, context: Context) -> Iterator[Option]:
        if not self._is_built_in(context):
            yield Option.json("device", {"driver": "ahci"} | placed(self, context))

    def _is_built_in(self, context: Context) -> bool:
        return context.site.is_q35 and self.index == 0


class FdcController(_Controller, frozen=True, kw_only=True):
    """The floppy controller: on the board of i440fx, an ISA card on q35."""

    ALIAS: ClassVar[str] = "fdc"

    def problems(self, context: Context) -> Iterator[ConfigError]:
        if self.index and self._drives(context):
            yield self._wrong("there is only one", "index='0'")

    def obstacles(self, context: Context) -> Iterator[ConfigError]:
        if not context.site.is_x86 and self._drives(context):
            yield self._wrong(f"machine '{context.site.machine}' has no floppy controller")

    def notices(self, context: Context) -> Iterator[Notice]:
        if (self.index or not context.site.is_x86) and not self._drives(context):
            text = f"machine '{context.site.machine}' has no such floppy controller"
            yield Notice(self.at, f"<controller type='{self.ALIAS}'>: {text}: it has no effect")

    def options(self, context: Context) -> Iterator[Option]:
        if not context.site.is_q35 or self.index:
            return  # it is on the board; boot indexes reach it by -global, from the disk
        if drives := self._drives(context):
            yield Option.json("device", {"driver": "isa-fdc"} | drives)

    @staticmethod
    def _drives(context: Context) -> dict[str, Value]:
        """Give the boot indexes of the drives; libvirt takes any controller that has none."""
        return {
            f"bootindex{'AB'[device.address.unit]}": device.boot_order
            for device in context.domain.devices
            if device.boot_class == "fd"
            and isinstance(device.address, DriveAddress)
            and device.address.unit in (0, 1)
        }


class VirtioSerialController(_Controller, frozen=True, kw_only=True):
    """What virtio consoles and channels are plugged into."""

    ALIAS: ClassVar[str] = "virtio-serial"
    _MODELS: ClassVar[tuple[str, ...]] = tuple(VirtioModel)

    model: VirtioModel = VirtioModel.VIRTIO
    ports: int | None = None
    vectors: int | None = None
    virtio: VirtioOptions = field(default_factory=VirtioOptions)

    @classmethod
    def parse(cls, node: Node) -> Self:
        # A bare super() knows the class from before slots=True made it anew.
        found = super(VirtioSerialController, cls).parse(node)  # noqa: UP008 - as said
        return replace(
            found,
            model=node.enum("model", VirtioModel, VirtioModel.VIRTIO),
            ports=node.integer("ports", low=0, high=0x7FFFFFFF),
            vectors=node.integer("vectors", low=0, high=0x7FFFFFFF),
            virtio=VirtioOptions.parse(node.child("driver")),
        )

    def defaulted(self, context: Context) -> Self:
        return replace(self, address=virtio_address(self, context))

    def serial_ports(self) -> int:
        return _SERIAL_PORTS if self.ports is None else min(self.ports, _MOST_SERIAL_PORTS)

    def pci_kind(self, context: Context) -> PciKind | None:
        return virtio_pci_kind(self, context, self.model)

    def options(self, context: Context) -> Iterator[Option]:
        props = {
            "driver": virtio_driver("virtio-serial", self.address, self.model),
            "max_ports": self.ports,
            "vectors": self.vectors,
        }
        yield Option.json("device", props | self.virtio.props() | placed(self, context))


def _has(context: Context, key: tuple[str, int]) -> bool:
    return any(device.bus_key == key for device in context.domain.devices)


def _same_place(device: Device, place: PciAddress) -> bool:
    return isinstance(device.address, PciAddress) and (
        replace(device.address, multifunction=None) == place
    )
