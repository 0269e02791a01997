"""`<graphics type='spice'>`.

Sources: libvirt `formatdomain.rst`, "Graphical framebuffers";
`qemuBuildGraphicsSPICECommandLine()`.
"""

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum, unique
from typing import ClassVar, Final, Self

from msgspec import field

from qsuper.errors import ConfigError
from qsuper.location import Notice
from qsuper.options import AtLaunch, FreePort, Handle, Option, Props, Value
from qsuper.plan import Command
from qsuper.translate.devices.base import Context, common
from qsuper.translate.display import Display, DisplayKind
from qsuper.translate.listen import Listen, ListenKind
from qsuper.translate.node import Node
from qsuper.translate.password import Password

_ANY: Final = -1
_AUTO_PORT: Final = 5901
_AUTO_TLS_PORT: Final = 5902
"""What is shown where free ones are taken."""
_FIRST_PORT: Final = 5900
_X509_DIR: Final = "/etc/pki/libvirt-spice"
_COMPRESSIONS: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "image": (
        "image-compression",
        ("auto_glz", "auto_lz", "quic", "glz", "lz", "off"),
    ),
    "jpeg": ("jpeg-wan-compression", ("auto", "never", "always")),
    "zlib": ("zlib-glz-wan-compression", ("auto", "never", "always")),
    "playback": ("playback-compression", ("on", "off")),
}


@unique
class Mode(StrEnum):
    """How a channel travels."""

    ANY = "any"
    SECURE = "secure"
    INSECURE = "insecure"


@unique
class Mouse(StrEnum):
    """Who moves the pointer."""

    CLIENT = "client"
    SERVER = "server"


@unique
class Streaming(StrEnum):
    """Which parts of the screen travel as video."""

    FILTER = "filter"
    ALL = "all"
    OFF = "off"


@unique
class Channel(StrEnum):
    """What travels apart."""

    MAIN = "main"
    DISPLAY = "display"
    INPUTS = "inputs"
    CURSOR = "cursor"
    PLAYBACK = "playback"
    RECORD = "record"
    SMARTCARD = "smartcard"
    USBREDIR = "usbredir"


class Spice(Display, frozen=True, kw_only=True):
    """A SPICE server."""

    KIND: ClassVar[DisplayKind] = DisplayKind.SPICE

    listen: Listen
    port: int | None = None
    """-1: any that is free, as with the next."""
    tls_port: int | None = None
    keymap: str | None = None
    password: Password | None = None
    channels: tuple[tuple[str, Mode], ...] = ()
    """`default` first, if the file sets it."""
    tuning: Props = field(default_factory=dict[str, Value])
    """As QEMU takes it."""

    @classmethod
    def claims(cls, node: Node) -> bool:
        return node.get("type") == DisplayKind.SPICE

    @classmethod
    def parse(cls, node: Node) -> Self:
        port = node.integer("port", low=-1, high=0xFFFF)
        tls_port = node.integer("tlsPort", low=-1, high=0xFFFF)
        is_auto = bool(node.yes_no("autoport")) or port == tls_port == _ANY
        gl = node.child("gl")
        has_gl = gl is not None and gl.required_yes_no("enable")
        default = node.enum("defaultMode", Mode, Mode.ANY)
        named = ((str(part.enum("name", Channel)), part) for part in node.children("channel"))
        channels = tuple((name, part.enum("mode", Mode)) for name, part in named)
        if is_auto:
            port, tls_port = _chosen(default, [mode for _, mode in channels])
        return cls(
            **common(node),
            listen=Listen.parse(node),
            port=port or None,
            tls_port=tls_port or None,
            keymap=node.get("keymap"),
            password=Password.parse(node, DisplayKind.SPICE),
            channels=(("default", default), *channels),
            tuning=_tuning(node),
            has_gl=has_gl,
            rendernode=gl.get("rendernode") if gl is not None else None,
        )

    def problems(self, context: Context) -> Iterator[ConfigError]:
        yield from self.twins(context)
        yield from self.listen.problems(self.at)
        if not context.site.caps.schema.has("query-spice"):
            yield self._error("this QEMU has no SPICE", "type='vnc'")
        modes = [mode for _, mode in self.channels]
        if Mode.SECURE in modes and not self.tls_port:
            yield self._error("mode='secure' needs a port with TLS", "tlsPort=")
        if Mode.INSECURE in modes and self.tls_port and not self.port:
            yield self._error("mode='insecure' needs a port without TLS", "port=")

    def notices(self, context: Context) -> Iterator[Notice]:
        yield from self.listen.notices(self.at, context)
        is_local = self.listen.kind in (ListenKind.SOCKET, ListenKind.NONE)
        if self.has_gl and not is_local and self._has_port:
            text = "<graphics>: QEMU has <gl> for viewers on this host only"
            yield Notice(self.at, f"{text} (<listen type='none'/>)")

    def setup(self, context: Context) -> Iterator[Command]:
        del context
        if self.password is not None:
            yield from self.password.setup(DisplayKind.SPICE)

    def options(self, context: Context) -> Iterator[Option]:
        props = self._place(context) | dict(self.tuning)
        secure = [name for name, mode in self.channels if mode is Mode.SECURE]
        insecure = [name for name, mode in self.channels if mode is Mode.INSECURE]
        props |= {
            "tls-channel": secure or None,
            "plaintext-channel": insecure or None,
            "gl": True if self.has_gl else None,
            "rendernode": self.gpu(context),
            # Without a password there is nothing to ask for; libvirt sets one of its own then.
            "disable-ticketing": AtLaunch(shown=None, live=None if self.password else True),
            "seamless-migration": True,
        }
        yield Option.keyed("spice", props)
        if self.keymap:
            yield Option.word("k", self.keymap)

    def _place(self, context: Context) -> dict[str, Value]:
        if self.listen.kind is ListenKind.SOCKET:
            return {"unix": True, "addr": self.listen.path(context, "spice.sock")}
        if self.listen.kind is ListenKind.NONE or not self._has_port:
            return {"port": 0}
        return {
            "port": self._kept(context, self.port, "spice-port", _AUTO_PORT),
            "tls-port": self._kept(context, self.tls_port, "spice-tls-port", _AUTO_TLS_PORT),
            "addr": self.listen.on(context),
            "x509-dir": _X509_DIR if self.tls_port else None,
        }

    @property
    def _has_port(self) -> bool:
        return bool(self.port or self.tls_port)

    def _kept(self, context: Context, port: int | None, name: str, shown: int) -> Value:
        """Give *port*, or what finds and keeps a free one that is shown as *shown*."""
        if port != _ANY:
            return port
        wanted = FreePort(name=name, address=self.listen.on(context), first=_FIRST_PORT)
        return Handle(resource=wanted, shown=str(shown))

    def _error(self, message: str, hint: str) -> ConfigError:
        return ConfigError(f"<graphics>: {message}", at=self.at, hint=hint)


def _chosen(default: Mode, modes: Sequence[Mode]) -> tuple[int, int]:
    """Give port and TLS port of `autoport`: any, or 0 for one that no channel needs."""
    has_plain = default is not Mode.SECURE or Mode.INSECURE in modes
    has_tls = default is Mode.SECURE or Mode.SECURE in modes
    return _ANY if has_plain else 0, _ANY if has_tls else 0


def _tuning(node: Node) -> Props:
    props: dict[str, Value] = {}
    for tag, (key, words) in _COMPRESSIONS.items():
        part = node.child(tag)
        if part is not None:
            word = part.required("compression")
            if word not in words:
                raise part.error(f"compression='{word}' is unknown", hint=", ".join(words))
            props[key] = word
    streaming = node.child("streaming")
    if streaming is not None:
        props["streaming-video"] = str(streaming.enum("mode", Streaming))
    clipboard = node.child("clipboard")
    if clipboard is not None and not clipboard.required_yes_no("copypaste"):
        props["disable-copy-paste"] = True
    transfer = node.child("filetransfer")
    if transfer is not None and not transfer.required_yes_no("enable"):
        props["disable-agent-file-xfer"] = True
    mouse = node.child("mouse")
    if mouse is not None:
        props["agent-mouse"] = mouse.enum("mode", Mouse) is Mouse.CLIENT
    return props
