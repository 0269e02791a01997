"""Passwords of displays: given to QEMU by QMP, never on a command line.

Sources: libvirt `formatdomain.rst`, "Graphical framebuffers"; QEMU `qapi/ui.json`, set_password.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final, Self

from msgspec import Struct

from qsuper.plan import Command
from qsuper.translate.node import Node

_CONNECTED: Final = ("keep", "disconnect", "fail")
_LONGEST_VNC: Final = 8  # what its protocol can take


class Password(Struct, frozen=True, kw_only=True):
    """`<graphics passwd=>` and what goes with it."""

    text: str
    connected: str | None = None
    """What becomes of who looks already."""
    valid_to_s: int | None = None
    """Seconds since the epoch; None: for ever."""

    @classmethod
    def parse(cls, node: Node, protocol: str) -> Self | None:
        """Read it from `<graphics>` of type *protocol*; None where there is none.

        Raises:
            ConfigError: the protocol cannot have it so.
        """
        text, connected = node.get("passwd"), node.get("connected")
        until = node.get("passwdValidTo")
        is_vnc = protocol == "vnc"
        if not text:
            return None
        if connected is not None and connected not in _CONNECTED:
            raise node.error(f"connected='{connected}' is unknown", hint=", ".join(_CONNECTED))
        if is_vnc and connected not in (None, "keep"):
            raise node.error(f"VNC has no connected='{connected}'", hint="connected='keep'")
        if is_vnc and len(text) > _LONGEST_VNC:
            raise node.error(
                f"a VNC password has at most {_LONGEST_VNC} characters, this one {len(text)}"
            )
        valid_to_s = _seconds(node, until) if until else None
        return cls(text=text, connected=connected, valid_to_s=valid_to_s)

    def setup(self, protocol: str) -> Iterator[Command]:
        """Give the QMP commands that set it."""
        arguments = {"protocol": protocol, "password": self.text}
        if self.connected is not None:
            arguments["connected"] = self.connected
        yield Command(name="set_password", arguments=arguments)
        if self.valid_to_s is not None:
            until = {"protocol": protocol, "time": str(self.valid_to_s)}
            yield Command(name="expire_password", arguments=until)


def _seconds(node: Node, text: str) -> int:
    try:
        return int(datetime.strptime(text, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC).timestamp())
    except ValueError:
        raise node.error(
            f"passwdValidTo='{text}' is no time in UTC", hint="like 2030-12-31T23:59:59"
        ) from None
