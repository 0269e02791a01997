"""`<graphics type='vnc'>`.

Sources: libvirt `formatdomain.rst`, "Graphical framebuffers"; `qemuBuildGraphicsVNCCommandLine()`.
"""

from collections.abc import Iterator
from enum import StrEnum, unique
from typing import ClassVar, Final, Self

from qsuper.errors import ConfigError
from qsuper.location import Notice
from qsuper.options import AtLaunch, Option, Value
from qsuper.plan import Command
from qsuper.translate.audiodev import audio_id, audiodev
from qsuper.translate.devices.base import Context, common
from qsuper.translate.display import Display, DisplayKind
from qsuper.translate.listen import Listen, ListenKind
from qsuper.translate.node import Node
from qsuper.translate.password import Password

FIRST_PORT: Final = 5900
"""Of display 0."""
_LAST_DISPLAY: Final = 99
"""Of those that are tried when the file leaves the port open."""
_FIRST_WEBSOCKET: Final = 5700


@unique
class Share(StrEnum):
    """Whether several viewers may look at once."""

    ALLOW_EXCLUSIVE = "allow-exclusive"
    FORCE_SHARED = "force-shared"
    IGNORE = "ignore"


class Vnc(Display, frozen=True, kw_only=True):
    """A VNC server."""

    KIND: ClassVar[DisplayKind] = DisplayKind.VNC

    listen: Listen
    port: int | None = None
    """None: the first free one."""
    websocket: int | None = None
    """-1: QEMU's choice."""
    share: Share | None = None
    keymap: str | None = None
    password: Password | None = None
    has_power_control: bool | None = None
    audio: int | None = None

    @classmethod
    def claims(cls, node: Node) -> bool:
        return node.get("type") == DisplayKind.VNC

    @classmethod
    def parse(cls, node: Node) -> Self:
        port = node.integer("port", low=-1, high=0xFFFF)
        autoport, listen = node.yes_no("autoport"), Listen.parse(node)
        is_open = bool(autoport) or (autoport is None and port in (None, -1))
        takes_port = listen.kind in (ListenKind.ADDRESS, ListenKind.NETWORK)
        if takes_port and not is_open and (port or 0) < FIRST_PORT:
            raise node.error(f"port='{port}' is below {FIRST_PORT}", hint="autoport='yes'")
        return cls(
            **common(node),
            listen=listen,
            port=None if is_open else port,
            websocket=node.integer("websocket", low=-1, high=0xFFFF),
            share=node.enum("sharePolicy", Share, None),
            keymap=node.get("keymap"),
            password=Password.parse(node, DisplayKind.VNC),
            has_power_control=node.yes_no("powerControl"),
            audio=audio_id(node),
        )

    def problems(self, context: Context) -> Iterator[ConfigError]:
        yield from self.twins(context)
        yield from self.listen.problems(self.at)
        if audiodev(context, self.audio) is None:
            wanted = "<audio>" if self.audio is None else f"<audio id='{self.audio}'>"
            text = f"<graphics>: there is no {wanted}"
            yield ConfigError(text, at=self.at, hint="add one")

    def notices(self, context: Context) -> Iterator[Notice]:
        yield from self.listen.notices(self.at, context)

    def setup(self, context: Context) -> Iterator[Command]:
        del context
        if self.password is not None:
            yield from self.password.setup(DisplayKind.VNC)

    def options(self, context: Context) -> Iterator[Option]:
        props: dict[str, Value] = {}
        match self.listen.kind:
            case ListenKind.SOCKET:
                path = self.listen.path(context, "vnc.sock")
                props["vnc"] = AtLaunch(shown=f"unix:{path.shown}", live=f"unix:{path.live}")
            case ListenKind.NONE:
                props["vnc"] = "none"
            case _:
                display = 0 if self.port is None else self.port - FIRST_PORT
                props["vnc"] = f"{self.listen.host(context)}:{display}"
                props["websocket"] = self._websocket()
                if self.port is None:
                    props["to"] = AtLaunch(shown=None, live=_LAST_DISPLAY)
        props |= {
            "share": str(self.share) if self.share else None,
            "password": True if self.password else None,
            "power-control": self.has_power_control,
            "audiodev": audiodev(context, self.audio),
        }
        yield Option.keyed("vnc", props, implied="vnc")
        if self.keymap:
            yield Option.word("k", self.keymap)

    def _websocket(self) -> int | None:
        return _FIRST_WEBSOCKET if self.websocket == -1 else self.websocket or None
