"""`<audio>`: where sound goes on the host, and comes from.

Sources: libvirt `formatdomain.rst`, "Audio devices"; QEMU `qapi/audio.json`.
"""

from collections.abc import Iterator, Mapping
from enum import StrEnum, unique
from typing import ClassVar, Final, Self

from msgspec import field

from qsuper.errors import ConfigError
from qsuper.options import Option, Props, Value
from qsuper.translate.audiodev import AudioBackend
from qsuper.translate.devices.base import Context, common
from qsuper.translate.display import Display, DisplayKind
from qsuper.translate.node import Node

_MOST: Final = 1 << 31


@unique
class Kind(StrEnum):
    """The host's sound systems."""

    NONE = "none"
    ALSA = "alsa"
    COREAUDIO = "coreaudio"
    DBUS = "dbus"
    FILE = "file"
    JACK = "jack"
    OSS = "oss"
    PIPEWIRE = "pipewire"
    PULSEAUDIO = "pulseaudio"
    SDL = "sdl"
    SPICE = "spice"


@unique
class Format(StrEnum):
    """Of a sample."""

    S8 = "s8"
    U8 = "u8"
    S16 = "s16"
    U16 = "u16"
    S32 = "s32"
    U32 = "u32"
    F32 = "f32"


_DRIVER: Final = {Kind.FILE: "wav", Kind.PULSEAUDIO: "pa"}
_WORDS: Final[Mapping[Kind, Mapping[str, str]]] = {
    Kind.ALSA: {"dev": "dev"},
    Kind.OSS: {"dev": "dev"},
    Kind.JACK: {
        "serverName": "server-name",
        "clientName": "client-name",
        "connectPorts": "connect-ports",
    },
    Kind.PULSEAUDIO: {"name": "name", "streamName": "stream-name"},
    Kind.PIPEWIRE: {"name": "name", "streamName": "stream-name"},
}
_NUMBERS: Final[Mapping[Kind, Mapping[str, str]]] = {
    Kind.COREAUDIO: {"bufferCount": "buffer-count"},
    Kind.OSS: {"bufferCount": "buffer-count"},
    Kind.SDL: {"bufferCount": "buffer-count"},
    Kind.PULSEAUDIO: {"latency": "latency"},
    Kind.PIPEWIRE: {"latency": "latency"},
}
_SWITCHES: Final[Mapping[Kind, Mapping[str, str]]] = {
    Kind.OSS: {"tryPoll": "try-poll"},
    Kind.JACK: {"exactName": "exact-name"},
}


class Audio(AudioBackend, frozen=True, kw_only=True):
    """An audio back end."""

    TAG: ClassVar[str] = "audio"
    ALIAS: ClassVar[str] = "audio"
    IS_NAMED: ClassVar[bool] = False

    kind: Kind
    props: Props = field(default_factory=dict[str, Value])
    """As QEMU takes them."""

    @classmethod
    def parse(cls, node: Node) -> Self:
        kind = node.enum("type", Kind)
        props: dict[str, Value] = {
            "timer-period": node.integer("timerPeriod", low=1, high=_MOST),
            "in": _direction(node.child("input"), kind) or None,
            "out": _direction(node.child("output"), kind) or None,
        }
        match kind:
            case Kind.OSS:
                props |= {"try-mmap": node.yes_no("tryMMap"), "exclusive": node.yes_no("exclusive")}
                props["dsp-policy"] = node.integer("dspPolicy", low=-1, high=10)
            case Kind.PULSEAUDIO:
                props["server"] = node.get("serverName")
            case Kind.FILE:
                props["path"] = node.get("path")
            case _:
                pass
        return cls(
            **common(node),
            audio_id=node.required_integer("id", low=1, high=1 << 16),
            kind=kind,
            props=props,
        )

    @classmethod
    def missing(cls, context: Context) -> Iterator[Self]:
        kind = None if context.has("audio") else _suggested(context)
        if kind is not None:
            yield cls(at=context.domain.at, audio_id=1, kind=kind)

    def problems(self, context: Context) -> Iterator[ConfigError]:
        others = [device for device in context.devices("audio") if isinstance(device, Audio)]
        if any(other.audio_id == self.audio_id and other is not self for other in others):
            text = f"<audio>: id='{self.audio_id}' is used twice"
            yield ConfigError(text, at=self.at, hint="every back end has its own")

    def details(self, context: Context) -> Iterator[tuple[str, str | int | None]]:
        del context
        yield "@id", self.audio_id
        yield "@type", self.kind

    def options(self, context: Context) -> Iterator[Option]:
        del context
        driver = _DRIVER.get(self.kind, str(self.kind))
        props: Props = {"id": f"audio{self.audio_id}", "driver": driver, **self.props}
        yield Option.json("audiodev", props)


def _suggested(context: Context) -> Kind | None:
    """Give the back end of a domain that names none.

    Source: libvirt `qemuDomainDefSuggestDefaultAudioBackend()`.
    """
    displays = [device for device in context.devices("graphics") if isinstance(device, Display)]
    for display in displays:
        match display.KIND:
            case DisplayKind.VNC:
                return Kind.NONE
            case DisplayKind.SPICE:
                return Kind.SPICE
            case DisplayKind.SDL:
                return None
            case _:
                pass
    return None if displays else Kind.NONE


def _direction(node: Node | None, kind: Kind) -> Props:
    if node is None:
        return {}
    props: dict[str, Value] = {
        "mixing-engine": node.yes_no("mixingEngine"),
        "fixed-settings": node.yes_no("fixedSettings"),
        "voices": node.integer("voices", low=0, high=_MOST),
        "buffer-length": node.integer("bufferLength", low=0, high=_MOST),
    }
    settings = node.child("settings")
    if settings is not None:
        shape = settings.enum("format", Format, None)
        props |= {
            "frequency": settings.integer("frequency", low=1, high=_MOST),
            "channels": settings.integer("channels", low=1, high=255),
            "format": str(shape) if shape else None,
        }
    props |= {key: node.get(name) for name, key in _WORDS.get(kind, {}).items()}
    for name, key in _NUMBERS.get(kind, {}).items():
        props[key] = node.integer(name, low=0, high=_MOST)
    props |= {key: node.yes_no(name) for name, key in _SWITCHES.get(kind, {}).items()}
    return {key: value for key, value in props.items() if value is not None}
