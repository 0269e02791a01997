"""`<graphics>` of the types sdl, egl-headless, dbus, rdp: a window, or a picture for others.

Sources: libvirt `formatdomain.rst`, "Graphical framebuffers"; `qemuBuildGraphicsCommandLine()`.
"""

from collections.abc import Iterator
from typing import ClassVar, Final, Self

from qsuper.errors import ConfigError
from qsuper.location import Notice
from qsuper.options import AtLaunch, Option, Value
from qsuper.translate.audiodev import audio_id, audiodev, plays_to_dbus
from qsuper.translate.devices.base import Context, common
from qsuper.translate.display import Display, DisplayKind
from qsuper.translate.node import Node
from qsuper.translate.parts.backing import short_name


class Sdl(Display, frozen=True, kw_only=True):
    """A window on the host's screen."""

    KIND: ClassVar[DisplayKind] = DisplayKind.SDL

    is_fullscreen: bool = False
    gl: bool | None = None
    """As the file has it."""

    @classmethod
    def claims(cls, node: Node) -> bool:
        return node.get("type") == DisplayKind.SDL

    @classmethod
    def parse(cls, node: Node) -> Self:
        gl = node.child("gl")
        is_on = gl.required_yes_no("enable") if gl is not None else None
        return cls(
            **common(node),
            is_fullscreen=bool(node.yes_no("fullscreen")),
            has_gl=bool(is_on),
            gl=is_on,
        )

    def problems(self, context: Context) -> Iterator[ConfigError]:
        yield from self.twins(context)

    def options(self, context: Context) -> Iterator[Option]:
        del context
        yield Option.keyed("display", {"type": "sdl", "gl": self.gl}, implied="type")
        if self.is_fullscreen:
            yield Option.flag("full-screen")


_WITH_EGL: Final = (DisplayKind.EGL_HEADLESS, DisplayKind.VNC, DisplayKind.SPICE)


class EglHeadless(Display, frozen=True, kw_only=True):
    """OpenGL for the guest without a window."""

    KIND: ClassVar[DisplayKind] = DisplayKind.EGL_HEADLESS

    @classmethod
    def claims(cls, node: Node) -> bool:
        return node.get("type") == DisplayKind.EGL_HEADLESS

    @classmethod
    def parse(cls, node: Node) -> Self:
        gl = node.child("gl")
        rendernode = gl.get("rendernode") if gl is not None else None
        return cls(**common(node), has_gl=True, rendernode=rendernode)

    def problems(self, context: Context) -> Iterator[ConfigError]:
        yield from self.twins(context)
        others = [other for other in context.devices("graphics") if isinstance(other, Display)]
        if any(other.KIND not in _WITH_EGL for other in others):
            text = "<graphics>: type='egl-headless' goes with VNC and SPICE alone"
            yield ConfigError(text, at=self.at, hint="remove the others")
        if [other.has_gl for other in others].count(True) > 1:
            text = "<graphics>: QEMU has one display with OpenGL"
            yield ConfigError(text, at=self.at, hint="remove <gl> from the others")

    def options(self, context: Context) -> Iterator[Option]:
        props: dict[str, Value] = {"type": "egl-headless", "rendernode": self.gpu(context)}
        yield Option.keyed("display", props, implied="type")


class DbusDisplay(Display, frozen=True, kw_only=True):
    """The screen as an object on D-Bus."""

    KIND: ClassVar[DisplayKind] = DisplayKind.DBUS

    bus_address: str | None = None
    """None: the session's bus; libvirt starts one for the domain."""
    is_p2p: bool = False
    gl: bool | None = None
    audio: int | None = None

    @classmethod
    def claims(cls, node: Node) -> bool:
        return node.get("type") == DisplayKind.DBUS

    @classmethod
    def parse(cls, node: Node) -> Self:
        is_p2p, address = bool(node.yes_no("p2p")), node.get("address")
        if is_p2p and address:
            raise node.error("p2p='yes' leaves no place for address=")
        gl = node.child("gl")
        is_on = gl.required_yes_no("enable") if gl is not None else None
        return cls(
            **common(node),
            bus_address=address,
            is_p2p=is_p2p,
            audio=audio_id(node),
            has_gl=bool(is_on),
            gl=is_on,
            rendernode=gl.get("rendernode") if gl is not None else None,
        )

    def problems(self, context: Context) -> Iterator[ConfigError]:
        yield from self.twins(context)
        if self.audio is not None and not plays_to_dbus(context, self.audio):
            text = f"<graphics>: <audio id='{self.audio}'> is not there, or not of type='dbus'"
            yield ConfigError(text, at=self.at, hint="add one")

    def _bus(self, context: Context) -> Value:
        if self.bus_address or self.is_p2p:
            return self.bus_address
        name = short_name(context.domain.name)
        return AtLaunch(shown=f"unix:path=/run/libvirt/qemu/dbus/{name}-dbus.sock", live=None)

    def options(self, context: Context) -> Iterator[Option]:
        props: dict[str, Value] = {
            "type": "dbus",
            "addr": self._bus(context),
            "p2p": True if self.is_p2p else None,
            "gl": self.gl,
            "rendernode": self.gpu(context) or self.rendernode,
        }
        if self.audio is not None:
            props["audiodev"] = audiodev(context, self.audio)
        yield Option.keyed("display", props, implied="type")


class RdpDisplay(Display, frozen=True, kw_only=True):
    """A server in another process, which gets its picture from D-Bus."""

    KIND: ClassVar[DisplayKind] = DisplayKind.RDP

    @classmethod
    def claims(cls, node: Node) -> bool:
        return node.get("type") == DisplayKind.RDP

    @classmethod
    def parse(cls, node: Node) -> Self:
        node.integer("port", low=0, high=0xFFFF)
        node.yes_no("autoport")
        node.ignore("username", "passwd")
        for name in ("multiUser", "replaceUser"):
            if node.yes_no(name):
                raise node.error(f"{name}= is nothing for QEMU's RDP server", hint="remove it")
        listens = list(node.children("listen"))
        if len(listens) > 1:
            raise listens[1].error("there can be one <listen>")
        for listen in listens:
            if listen.get("type") not in ("address", "network"):
                raise listen.error("RDP listens on an address", hint="type='address'")
            listen.accept()
        return cls(**common(node))

    def problems(self, context: Context) -> Iterator[ConfigError]:
        others = [other for other in context.devices("graphics") if isinstance(other, Display)]
        if not any(isinstance(other, DbusDisplay) and not other.is_p2p for other in others):
            text = "<graphics>: type='rdp' needs the picture from D-Bus"
            yield ConfigError(text, at=self.at, hint="add <graphics type='dbus'/>")

    def notices(self, context: Context) -> Iterator[Notice]:
        del context
        text = "<graphics>: start qemu-rdp yourself, on the bus of <graphics type='dbus'>"
        yield Notice(self.at, text)

    def options(self, context: Context) -> Iterator[Option]:
        del context
        return iter(())
