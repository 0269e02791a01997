"""Character device back ends: where the host end of a serial line, channel or USB redirection is.

Shared by the families that have one: serial, parallel, console, channel, redirdev, smartcard, rng.

Source: libvirt `formatdomain.rst`, "Host interface"; QEMU `qemu-options.hx`, "Character device
options".
"""

from collections.abc import Iterator, Mapping
from enum import StrEnum, unique
from typing import Final, Self

from msgspec import Struct
from msgspec.structs import replace

from qsuper.caps import Caps
from qsuper.errors import ConfigError
from qsuper.location import Location
from qsuper.options import Access, Handle, Option, UnixListener, Value
from qsuper.plan import Console, ConsoleKind
from qsuper.translate.display import Display, DisplayKind
from qsuper.translate.fdset import fdset_options, fdset_path
from qsuper.translate.model import Context
from qsuper.translate.node import Node
from qsuper.translate.seclabel import accept_labels

TLS_DIR: Final = "/etc/pki/libvirt-chardev"
"""Where libvirt keeps the certificates of character devices."""


@unique
class ChardevKind(StrEnum):
    """The back ends, by libvirt's names."""

    NULL = "null"
    VC = "vc"
    PTY = "pty"
    DEV = "dev"
    FILE = "file"
    PIPE = "pipe"
    STDIO = "stdio"
    UDP = "udp"
    TCP = "tcp"
    UNIX = "unix"
    SPICEVMC = "spicevmc"
    SPICEPORT = "spiceport"
    VDAGENT = "qemu-vdagent"
    DBUS = "dbus"


_BACKEND: Final = {
    ChardevKind.DEV: "serial",
    ChardevKind.TCP: "socket",
    ChardevKind.UNIX: "socket",
}
_NEEDS_PATH: Final = (ChardevKind.DEV, ChardevKind.FILE, ChardevKind.PIPE, ChardevKind.UNIX)
_WITH_SPICE: Final = (ChardevKind.SPICEVMC, ChardevKind.SPICEPORT)
_NEEDS_CHANNEL: Final = (ChardevKind.SPICEPORT, ChardevKind.DBUS)


@unique
class _Mode(StrEnum):
    CONNECT = "connect"
    BIND = "bind"
    SERVER = "server"
    CLIENT = "client"

    @property
    def listens(self) -> bool:
        return self in (_Mode.BIND, _Mode.SERVER)


@unique
class _Mouse(StrEnum):
    SERVER = "server"
    CLIENT = "client"


@unique
class _Protocol(StrEnum):
    RAW = "raw"
    TELNET = "telnet"


class Chardev(Struct, frozen=True, kw_only=True):
    """The host end of a character device."""

    at: Location
    kind: ChardevKind = ChardevKind.PTY
    path: str = ""
    """Of a device, file, pipe (without `.in`, `.out`) or UNIX socket."""
    shown: str = ""
    """Path of a listening socket that the file leaves to us, as libvirt would choose it; the
    runtime has its own in the domain's directory."""
    append: bool | None = None
    """A file keeps what it holds; None: nothing is said, and it does not."""
    listens: bool = False
    """A socket is listened on by QEMU; otherwise QEMU connects."""
    host: str = ""
    service: str = ""
    bind_host: str = ""
    """UDP: the local end."""
    bind_service: str = ""
    telnet: bool = False
    tls: bool = False
    reconnect_s: int | None = None
    """Seconds between two attempts to connect; None: nothing is said; 0: never again."""
    channel: str = ""
    """Name of a SPICE or D-Bus port."""
    clipboard: bool | None = None
    mouse: bool | None = None
    log: str = ""
    """A file that gets a copy of the output."""
    log_append: bool | None = None

    @classmethod
    def parse(cls, node: Node) -> Self:
        """Read the `type` attribute, `<source>`, `<protocol>` and `<log>` of a device.

        Raises:
            ConfigError: the type is unknown, or a value is no good.
        """
        kind = node.enum("type", ChardevKind, ChardevKind.PTY)
        _refuse_more(node, kind)
        protocol, log = node.child("protocol"), node.child("log")
        telnet = False
        if protocol is not None and kind is ChardevKind.TCP:
            telnet = protocol.enum("type", _Protocol, _Protocol.RAW) is _Protocol.TELNET
        elif protocol is not None:
            protocol.accept()
        result = cls(
            at=node.at,
            kind=kind,
            telnet=telnet,
            log=(log.file("file") or "") if log is not None else "",
            log_append=log.on_off("append") if log is not None else None,
        )
        for source in node.children("source"):
            accept_labels(source)
            result = result.with_source(source)
        return result

    @classmethod
    def parse_vhost_user(cls, source: Node) -> Self:
        """Read the `<source type='unix' path=>` of a vhost-user device.

        Raises:
            ConfigError: it is of another type, or a value is no good.
        """
        if source.required("type") != "unix":
            raise source.error("type='unix' is the only one")
        return cls(at=source.at, kind=ChardevKind.UNIX).with_source(source)

    def with_source(self, source: Node) -> Self:
        match self.kind:
            case ChardevKind.UDP:
                return self._with_udp(source)
            case ChardevKind.TCP | ChardevKind.UNIX:
                return self._with_socket(source)
            case ChardevKind.DEV | ChardevKind.FILE | ChardevKind.PIPE:
                append = source.on_off("append") if self.kind is ChardevKind.FILE else None
                return replace(self, path=source.file("path") or "", append=append)
            case ChardevKind.SPICEPORT | ChardevKind.DBUS:
                return replace(self, channel=source.get("channel") or "")
            case ChardevKind.VDAGENT:
                clipboard, mouse = source.child("clipboard"), source.child("mouse")
                return replace(
                    self,
                    clipboard=clipboard.required_yes_no("copypaste")
                    if clipboard is not None
                    else None,
                    mouse=_mouse(mouse) if mouse is not None else None,
                )
            case _:
                source.accept()  # a pty's path is libvirt's note of an earlier run
                return self

    def _with_udp(self, source: Node) -> Self:
        host, service = source.get("host") or "", source.get("service") or ""
        if source.enum("mode", _Mode, _Mode.CONNECT).listens:
            return replace(self, bind_host=host, bind_service=service)
        return replace(self, host=host, service=service)

    def _with_socket(self, source: Node) -> Self:
        reconnect = source.child("reconnect")
        return replace(
            self,
            listens=source.enum("mode", _Mode, _Mode.CONNECT).listens,
            path=(source.file("path") or "") if self.kind is ChardevKind.UNIX else "",
            host=(source.get("host") or "") if self.kind is ChardevKind.TCP else "",
            service=(source.get("service") or "") if self.kind is ChardevKind.TCP else "",
            tls=bool(source.yes_no("tls")) if self.kind is ChardevKind.TCP else False,
            reconnect_s=_reconnect(reconnect) if reconnect is not None else None,
        )

    def problems(self, context: Context) -> Iterator[ConfigError]:
        """Give what the back end lacks, in itself, in the domain and in this QEMU."""
        caps = context.site.caps
        if self.kind in _WITH_SPICE and not _has_spice(context):
            yield ConfigError(
                f"type='{self.kind}' needs SPICE", at=self.at, hint="<graphics type='spice'/>"
            )
        if self.kind in _NEEDS_PATH and not (self.path or self.shown):
            yield self._error("attribute 'path' is missing")
        if self.kind in _NEEDS_CHANNEL and not self.channel:
            yield self._error("attribute 'channel' is missing")
        if self.kind is ChardevKind.TCP and not self.host:
            yield self._error("attribute 'host' is missing")
        if self.kind in (ChardevKind.TCP, ChardevKind.UDP) and not self.service:
            yield self._error("attribute 'service' is missing")
        if self.reconnect_s is not None and self.listens:
            yield self._error("<reconnect> is for mode='connect'")
        if caps.schema.has("chardev-add/arg-type/backend") and not caps.schema.has(
            f"chardev-add/arg-type/backend/+{self.backend}"
        ):
            yield ConfigError(
                f"this QEMU has no character device of type '{self.kind}'", at=self.at
            )

    def line_problems(self, context: Context) -> Iterator[ConfigError]:
        """Give the problems of a serial or parallel port or a console: no agent sits at one."""
        yield from self.problems(context)
        if self.kind is ChardevKind.SPICEVMC:
            yield ConfigError("type='spicevmc' is for channels", at=self.at, hint="<channel>")

    def _error(self, message: str) -> ConfigError:
        return ConfigError(f"<source>: {message} (of type='{self.kind}')", at=self.at)

    @property
    def backend(self) -> str:
        """QEMU's name of the back end."""
        return _BACKEND.get(self.kind, str(self.kind))

    def options(
        self,
        alias: str,
        caps: Caps,
        *,
        ident: str = "",
        spice: str = "vdagent",
        device_backend: str = "serial",
    ) -> Iterator[Option]:
        """Give the `-chardev`, and before it what it refers to.

        Args:
            alias: The device's; the back end's id is `char` with it, unless *ident* is given.
            caps: The emulator.
            ident: The back end's id.
            spice: SPICE's name for what a `spicevmc` carries: vdagent, usbredir, smartcard.
            device_backend: QEMU's back end for a `dev`: serial, parallel.
        """
        ident = ident or f"char{alias}"
        if self.tls:
            yield Option.json("object", self._credentials(ident))
        if self.kind is ChardevKind.FILE:
            yield from fdset_options(f"{alias}-source", self.path, _access(self.append))
        if self.log:
            yield from fdset_options(f"{alias}-log", self.log, _access(self.log_append))
        backend = device_backend if self.kind is ChardevKind.DEV else self.backend
        props: dict[str, Value] = {"backend": backend, "id": ident}
        props |= self._props(alias, caps, spice)
        if self.tls:
            props["tls-creds"] = f"obj{ident}_tls0"
        if self.log:
            props |= {"logfile": fdset_path(f"{alias}-log"), "logappend": True}
        yield Option.keyed("chardev", props, implied="backend")

    def _credentials(self, ident: str) -> Mapping[str, Value]:
        return {
            "qom-type": "tls-creds-x509",
            "id": f"obj{ident}_tls0",
            "dir": TLS_DIR,
            "endpoint": "server" if self.listens else "client",
            "verify-peer": True,
        }

    def _props(self, alias: str, caps: Caps, spice: str) -> dict[str, Value]:
        props: dict[str, Value] = {}
        match self.kind:
            case ChardevKind.DEV | ChardevKind.PIPE:
                props = {"path": self.path}
            case ChardevKind.FILE:
                props = {"path": fdset_path(f"{alias}-source"), "append": True}
            case ChardevKind.UDP:
                props = {
                    "host": self.host,
                    "port": self.service,
                    "localaddr": self.bind_host,
                    "localport": self.bind_service or "0",
                }
            case ChardevKind.TCP:
                props = {"host": self.host, "port": self.service}
                props |= {"telnet": True if self.telnet else None} | self._manner(caps)
            case ChardevKind.UNIX:
                path = self._listener(alias) if self.listens else self.path
                props["path"] = path
                props |= self._manner(caps)
            case ChardevKind.SPICEVMC:
                props = {"name": spice}
            case ChardevKind.SPICEPORT | ChardevKind.DBUS:
                props = {"name": self.channel}
            case ChardevKind.VDAGENT:
                props = {"name": "vdagent", "clipboard": self.clipboard, "mouse": self.mouse}
            case _:
                pass
        return props

    def _listener(self, alias: str) -> Handle:
        resource = UnixListener(name=alias, path=self.path or None)
        return Handle(resource=resource, shown=self.path or self.shown, live_key="fd")

    def _manner(self, caps: Caps) -> dict[str, Value]:
        """How a socket comes to a connection."""
        if self.listens:
            return {"server": True, "wait": False}
        if self.reconnect_s is None:
            return {}
        if caps.schema.has("chardev-add/arg-type/backend/+socket/data/reconnect-ms"):
            return {"reconnect-ms": self.reconnect_s * 1000}
        return {"reconnect": self.reconnect_s}

    def console(self, alias: str) -> Console:
        """Give what the runtime needs to attach to the device or to log it."""
        kind, endpoint = ConsoleKind.OTHER, ""
        if self.kind is ChardevKind.PTY:
            kind = ConsoleKind.PTY
        elif self.kind is ChardevKind.FILE:
            kind, endpoint = ConsoleKind.FILE, self.path
        elif self.kind is ChardevKind.UNIX and self.listens:
            kind, endpoint = ConsoleKind.UNIX, self.path or f"{alias}.sock"
        elif self.kind is ChardevKind.TCP and self.listens and not self.tls:
            host = f"[{self.host}]" if ":" in self.host else self.host
            kind, endpoint = ConsoleKind.TCP, f"{host}:{self.service}"
        return Console(
            alias=alias,
            chardev=f"char{alias}",
            kind=kind,
            endpoint=endpoint,
            logged=bool(self.log),
        )


def _access(append: bool | None) -> Access:  # noqa: FBT001 - the attribute, not a switch
    """How a file is opened that QEMU itself only adds to."""
    return Access.APPEND if append else Access.WRITE


def _has_spice(context: Context) -> bool:
    return any(
        isinstance(device, Display) and device.KIND is DisplayKind.SPICE
        for device in context.devices("graphics")
    )


def _mouse(node: Node) -> bool:
    """`<mouse mode=>`: the client draws and moves it, or the server does."""
    return node.enum("mode", _Mouse) is _Mouse.CLIENT


def _refuse_more(node: Node, kind: ChardevKind) -> None:
    most = 2 if kind is ChardevKind.UDP else 1
    for tag, count in (("source", most), ("protocol", 1)):
        if len(list(node.children(tag))) > count:
            raise node.error(f"there are too many <{tag}>", hint=f"at most {count}")


def _reconnect(node: Node) -> int | None:
    is_enabled = node.yes_no("enabled")
    if not is_enabled:
        node.ignore("timeout")
        return None if is_enabled is None else 0
    return node.required_integer("timeout", low=1, high=0xFFFFFFFF)
