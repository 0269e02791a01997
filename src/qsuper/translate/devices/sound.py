"""`<sound>`: sound cards.

Sources: libvirt `formatdomain.rst`, "Sound devices"; `qemuBuildSoundDevCmd()`.
"""

from collections.abc import Iterator
from enum import StrEnum, unique
from typing import ClassVar, Final, Self

from msgspec import field
from msgspec.structs import replace

from qsuper.errors import ConfigError
from qsuper.options import Option, Props, Value
from qsuper.translate.audiodev import audio_id, audiodev
from qsuper.translate.devices.base import Context, Device, common, placed
from qsuper.translate.node import Node
from qsuper.translate.places import Bus, PciAddress, PciKind, PciTurn, UsbTurn
from qsuper.translate.virtio import VirtioOptions, virtio_address, virtio_driver, virtio_pci_kind

_ICH9_SLOT: Final = 0x1B  # where the chipset has it on real hardware
_DEFAULT_STREAMS: Final = 2


@unique
class Model(StrEnum):
    """The hardware."""

    SB16 = "sb16"
    ES1370 = "es1370"
    PCSPK = "pcspk"
    AC97 = "ac97"
    ICH6 = "ich6"
    ICH9 = "ich9"
    USB = "usb"
    VIRTIO = "virtio"


_DRIVER: Final = {
    Model.SB16: "sb16",
    Model.ES1370: "ES1370",
    Model.AC97: "AC97",
    Model.ICH6: "intel-hda",
    Model.ICH9: "ich9-intel-hda",
    Model.USB: "usb-audio",
}
_HDA: Final = (Model.ICH6, Model.ICH9)
_OF_OLD: Final = (Model.PCSPK, Model.SB16, Model.ES1370, Model.AC97)
"""Those that libvirt writes without asking whether QEMU has them."""


@unique
class Codec(StrEnum):
    """What stands behind an HDA controller."""

    DUPLEX = "duplex"
    MICRO = "micro"
    OUTPUT = "output"


class Sound(Device, frozen=True, kw_only=True):
    """A sound card."""

    TAG: ClassVar[str] = "sound"
    ALIAS: ClassVar[str] = "sound"
    PCI_TURN: ClassVar[int] = PciTurn.SOUND
    USB_TURN: ClassVar[int] = UsbTurn.SOUND

    model: Model
    codecs: tuple[Codec, ...] = ()
    audio: int | None = None
    """Id of the `<audio>` it plays to; None: the first."""
    is_multichannel: bool | None = None
    streams: int = _DEFAULT_STREAMS
    virtio: VirtioOptions = field(default_factory=VirtioOptions)

    @classmethod
    def parse(cls, node: Node) -> Self:
        model = node.enum("model", Model)
        is_virtio = model is Model.VIRTIO
        streams = node.integer("streams", low=1, high=64) if is_virtio else None
        return cls(
            **common(node),
            model=model,
            codecs=tuple(codec.enum("type", Codec) for codec in node.children("codec")),
            audio=audio_id(node),
            is_multichannel=node.yes_no("multichannel") if model is Model.USB else None,
            streams=streams or _DEFAULT_STREAMS,
            virtio=VirtioOptions.parse(node.child("driver") if is_virtio else None),
        )

    def defaulted(self, context: Context) -> Self:
        if self.model is Model.VIRTIO:
            return replace(self, address=virtio_address(self, context))
        return self

    def pci_kind(self, context: Context) -> PciKind | None:
        match self.model:
            case Model.VIRTIO:
                return virtio_pci_kind(self, context)
            case Model.SB16 | Model.PCSPK | Model.USB:
                return None
            case _:
                return PciKind.CONVENTIONAL

    def pci_preferred(self, context: Context) -> Iterator[PciAddress]:
        if self.model is Model.ICH9 and context.site.is_q35:
            yield PciAddress(bus=0, slot=_ICH9_SLOT)

    def bus(self, context: Context) -> Bus | None:
        del context
        return Bus.USB if self.model is Model.USB else None

    def problems(self, context: Context) -> Iterator[ConfigError]:
        if self.model not in _OF_OLD and not context.site.caps.has_type(self._driver()):
            yield self._error(f"this QEMU has no model='{self.model}'", "ich6, ich9, usb, virtio")
        if audiodev(context, self.audio) is None:
            wanted = "<audio>" if self.audio is None else f"<audio id='{self.audio}'>"
            yield self._error(f"there is no {wanted} to play by", "add one")

    def obstacles(self, context: Context) -> Iterator[ConfigError]:
        if self.model is Model.PCSPK:
            if not context.site.is_x86:
                yield self._error("model='pcspk' is part of a PC", "virtio or usb")
        elif self.model in _OF_OLD and not context.site.caps.has_type(self._driver()):
            yield self._error(f"this QEMU has no model='{self.model}'", "ich6, ich9, usb, virtio")

    def machine_props(self, context: Context) -> Props:
        if self.model is not Model.PCSPK:
            return {}
        return {"pcspk-audiodev": audiodev(context, self.audio)}

    def options(self, context: Context) -> Iterator[Option]:
        if self.model is Model.PCSPK:
            return
        sink = audiodev(context, self.audio)
        card: dict[str, Value] = {"driver": self._driver()} | placed(self, context)
        if self.model in _HDA:
            yield Option.json("device", card)
            for number, codec in enumerate(self.codecs or (Codec.DUPLEX,)):
                place: Props = {"id": f"{self.alias}-codec{number}", "bus": f"{self.alias}.0"}
                props: Props = {"driver": f"hda-{codec}", **place, "cad": number, "audiodev": sink}
                yield Option.json("device", props)
            return
        if self.model is Model.VIRTIO:
            card |= {"streams": self.streams} | self.virtio.props()
        yield Option.json("device", card | {"audiodev": sink, "multi": self.is_multichannel})

    def _driver(self) -> str:
        if self.model is Model.VIRTIO:
            return virtio_driver("virtio-sound", self.address)
        return _DRIVER[self.model]

    def _error(self, message: str, hint: str) -> ConfigError:
        return ConfigError(f"<sound>: {message}", at=self.at, hint=hint)
