"""`<graphics>` of the types sdl, egl-headless and dbus: a window, or a picture for others to fetch.

Sources: libvirt `formatdomain.rst`, "Graphical framebuffers"; `qemuBuildGraphicsCommandLine()`.
"""

from collections.abc import Iterator
from typing import ClassVar, Self

from qsuper.errors import ConfigError
from qsuper.options import Option, Value
from qsuper.translate.audiodev import audio_id, audiodev
from qsuper.translate.devices.base import Context, common
from qsuper.translate.display import Display, DisplayKind
from qsuper.translate.node import Node


class Sdl(Display, frozen=True, kw_only=True):
    """A window on the host's screen."""

    KIND: ClassVar[DisplayKind] = DisplayKind.SDL

    is_fullscreen: bool = False

    @classmethod
    def claims(cls, node: Node) -> bool:
        return node.get("type") == DisplayKind.SDL

    @classmethod
    def parse(cls, node: Node) -> Self:
        gl = node.child("gl")
        return cls(
            **common(node),
            is_fullscreen=bool(node.yes_no("fullscreen")),
            has_gl=gl is not None and bool(gl.yes_no("enable")),
        )

    def options(self, context: Context) -> Iterator[Option]:
        del context
        yield Option.keyed(
            "display", {"type": "sdl", "gl": True if self.has_gl else None}, implied="type"
        )
        if self.is_fullscreen:
            yield Option.flag("full-screen")


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
        users = [
            device
            for device in context.devices("graphics")
            if isinstance(device, Display) and device.has_gl
        ]
        if len(users) > 1:
            text = "<graphics>: QEMU has one display with OpenGL"
            yield ConfigError(text, at=self.at, hint="remove <gl> from the others")

    def options(self, context: Context) -> Iterator[Option]:
        props: dict[str, Value] = {"type": "egl-headless", "rendernode": self.gpu(context)}
        yield Option.keyed("display", props, implied="type")


class DbusDisplay(Display, frozen=True, kw_only=True):
    """The screen as an object on D-Bus."""

    KIND: ClassVar[DisplayKind] = DisplayKind.DBUS

    bus_address: str | None = None
    """None: the session's bus."""
    is_p2p: bool = False
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
        return cls(
            **common(node),
            bus_address=address,
            is_p2p=is_p2p,
            audio=audio_id(node),
            has_gl=gl is not None and bool(gl.yes_no("enable")),
            rendernode=gl.get("rendernode") if gl is not None else None,
        )

    def options(self, context: Context) -> Iterator[Option]:
        props: dict[str, Value] = {
            "type": "dbus",
            "addr": self.bus_address,
            "p2p": True if self.is_p2p else None,
            "gl": True if self.has_gl else None,
            "rendernode": self.gpu(context),
        }
        if self.audio is not None:
            props["audiodev"] = audiodev(context, self.audio)
        yield Option.keyed("display", props, implied="type")
