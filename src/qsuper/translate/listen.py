"""Where a display waits for its viewers: `<listen>` and the older attributes."""

import ipaddress
from collections.abc import Iterator
from enum import StrEnum, unique
from typing import Final, Self

from msgspec import Struct

from qsuper.errors import ConfigError
from qsuper.location import Location, Notice
from qsuper.options import AtLaunch
from qsuper.translate.model import Context
from qsuper.translate.node import Node

LOCALHOST: Final = "127.0.0.1"
_SHORT_NAME: Final = 20


@unique
class ListenKind(StrEnum):
    """Values of `<listen type=>`."""

    ADDRESS = "address"
    NETWORK = "network"
    SOCKET = "socket"
    NONE = "none"


class Listen(Struct, frozen=True, kw_only=True):
    """The first `<listen>` of a display; QEMU has no more than one."""

    kind: ListenKind = ListenKind.ADDRESS
    address: str = LOCALHOST
    socket: str = ""
    """Empty: one in the runtime directory."""
    network: str = ""
    is_alone: bool = True

    @classmethod
    def parse(cls, node: Node) -> Self:
        """Read it from a display; `listen=` and `socket=` stand for elements that are missing."""
        listens = list(node.children("listen"))
        old_address, old_socket = node.get("listen"), node.get("socket")
        if not listens:
            if old_socket:
                return cls(kind=ListenKind.SOCKET, socket=node.resolve(old_socket))
            return cls(address=_address(node, old_address or LOCALHOST))
        first = listens[0]
        if old_socket:  # it stands for a <listen> before the others
            return cls(kind=ListenKind.SOCKET, socket=node.resolve(old_socket))
        kind = first.enum("type", ListenKind)
        for name, only in (("network", ListenKind.NETWORK), ("socket", ListenKind.SOCKET)):
            if first.get(name) is not None and kind is not only:
                raise first.error(f"{name}= is for type='{only}'", hint="remove it")
        address = first.get("address") if kind is not ListenKind.SOCKET else None
        if address and old_address and address != old_address:
            raise node.error(
                f"listen='{old_address}' differs from <listen address='{address}'>",
                hint="remove one",
            )
        return cls(
            kind=kind,
            address=_address(first, address or old_address or LOCALHOST),
            socket=(first.file("socket") or "") if kind is ListenKind.SOCKET else "",
            network=first.required("network") if kind is ListenKind.NETWORK else "",
            is_alone=len(listens) == 1,
        )

    def problems(self, at: Location) -> Iterator[ConfigError]:
        """Give an error where the display has several."""
        if not self.is_alone:
            yield ConfigError(
                "<graphics>: QEMU has one <listen> for each", at=at, hint="remove one"
            )

    def on(self, context: Context) -> str:
        """Give the address: the file's own, or the host's on a network."""
        entry = context.site.host.networks.get(self.network)
        return (entry.address if entry else "") or self.address

    def host(self, context: Context) -> str:
        """Give the address as it stands before a port."""
        address = self.on(context)
        return f"[{address}]" if ":" in address else address

    def notices(self, at: Location, context: Context) -> Iterator[Notice]:
        """Say so where the host's address on a network is not known."""
        if self.kind is ListenKind.NETWORK and self.on(context) == self.address:
            text = f"<listen>: the host's address on network '{self.network}' is not known:"
            yield Notice(at, f"{text} {self.address} is listened on")

    def path(self, context: Context, name: str) -> AtLaunch:
        """Give the socket's path; *name* is the file's where the runtime directory has it."""
        if self.socket:
            return AtLaunch(shown=self.socket, live=self.socket)
        domain = context.domain.name[:_SHORT_NAME]
        return AtLaunch(shown=f"/var/lib/libvirt/qemu/domain--1-{domain}/{name}", live=name)


def _address(node: Node, text: str) -> str:
    """Check an address or a host's name."""
    name = text.strip("[]") if text.startswith("[") else text
    if ":" in name:
        try:
            ipaddress.IPv6Address(name.partition("%")[0])
        except ValueError:
            raise node.error(f"'{text}' is no address to listen on") from None
    elif not name or not name.isprintable() or " " in name:
        raise node.error(f"'{text}' is no address to listen on")
    return name
