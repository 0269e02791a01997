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
class SdlDriver(StrEnum):
    """What SDL plays by."""

    ESD = "esd"
    ALSA = "alsa"
    ARTS = "arts"
    PULSEAUDIO = "pulseaudio"


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


_SUGGESTED: Final = {
    DisplayKind.VNC: Kind.NONE,
    DisplayKind.SPICE: Kind.SPICE,
    DisplayKind.SDL: None,
}
"""Of several displays the last counts."""
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
    variables: Mapping[str, str] = field(default_factory=dict[str, str])
    """Of QEMU's environment."""

    @classmethod
    def parse(cls, node: Node) -> Self:
        kind = node.enum("type", Kind)
        variables: dict[str, str | None] = {}
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
            case Kind.SDL:
                library = node.enum("driver", SdlDriver, None)
                variables["SDL_AUDIODRIVER"] = str(library) if library else None
            case Kind.PIPEWIRE:
                variables["PIPEWIRE_RUNTIME_DIR"] = node.get("runtimeDir")
            case _:
                pass
        return cls(
            **common(node),
            audio_id=node.required_integer("id", low=1, high=1 << 16),
            kind=kind,
            props=props,
            variables={name: value for name, value in variables.items() if value},
        )

    @classmethod
    def missing(cls, context: Context) -> Iterator[Self]:
        kind = None if context.has("audio") else _suggested(context)
        if kind is not None:
            yield cls(at=context.domain.at, audio_id=1, kind=kind)

    @property
    def goes_to_dbus(self) -> bool:
        return self.kind is Kind.DBUS

    def problems(self, context: Context) -> Iterator[ConfigError]:
        others = [device for device in context.devices("audio") if isinstance(device, Audio)]
        if any(other.audio_id == self.audio_id and other is not self for other in others):
            text = f"<audio>: id='{self.audio_id}' is used twice"
            yield ConfigError(text, at=self.at, hint="every back end has its own")
        displays = [other for other in context.devices("graphics") if isinstance(other, Display)]
        if self.kind is Kind.SPICE and not any(
            display.KIND is DisplayKind.SPICE for display in displays
        ):
            text = "<audio>: type='spice' needs SPICE"
            yield ConfigError(text, at=self.at, hint="<graphics type='spice'/>")

    @property
    def env(self) -> Mapping[str, str]:
        return self.variables

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
    if not displays:
        return Kind.NONE
    audible = [display.KIND for display in displays if display.KIND in _SUGGESTED]
    return _SUGGESTED[audible[-1]] if audible else None


def _direction(node: Node | None, kind: Kind) -> Props:
    if node is None:
        return {}
    is_mixed, is_fixed = node.yes_no("mixingEngine"), node.yes_no("fixedSettings")
    if is_fixed and not is_mixed:
        raise node.error("fixedSettings='yes' needs the mixing engine", hint="mixingEngine='yes'")
    props: dict[str, Value] = {
        "mixing-engine": is_mixed,
        "fixed-settings": is_fixed,
        "voices": node.integer("voices", low=1, high=_MOST),
        "buffer-length": node.integer("bufferLength", low=0, high=_MOST),
    }
    settings = node.child("settings")
    if settings is not None:
        if not is_fixed:
            raise settings.error("<settings> need fixedSettings='yes'", hint="add it")
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
