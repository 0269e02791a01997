"""`<interface type=>`: what a card is plugged into.

Source: libvirt `formatdomain.rst`, "Network interfaces".
"""

from collections.abc import Callable, Mapping
from enum import StrEnum, unique
from typing import Final

from qsuper.translate.netdev import Netdev, TapNet, VdpaNet, socket_parser
from qsuper.translate.node import Node
from qsuper.translate.passt import parse_user, parse_vhost_user_or_passt


@unique
class Kind(StrEnum):
    """Values of `<interface type=>`."""

    USER = "user"
    NETWORK = "network"
    BRIDGE = "bridge"
    ETHERNET = "ethernet"
    MCAST = "mcast"
    UDP = "udp"
    CLIENT = "client"
    SERVER = "server"
    VHOSTUSER = "vhostuser"
    HOSTDEV = "hostdev"
    DIRECT = "direct"
    VDPA = "vdpa"
    INTERNAL = "internal"
    NULL = "null"
    VDS = "vds"


@unique
class DirectMode(StrEnum):
    """How the packets of a macvtap device travel."""

    VEPA = "vepa"
    PRIVATE = "private"
    BRIDGE = "bridge"
    PASSTHROUGH = "passthrough"


def parse_netdev(node: Node, kind: Kind) -> Netdev | None:
    """Parse what the card is plugged into; None where a table of networks says it."""
    if kind is Kind.NETWORK:
        return None
    if kind in _PARSERS:
        return _PARSERS[kind](node)
    raise node.error(f"type='{kind}' is not supported", hint="user, bridge, ethernet, network, ...")


def _direct(node: Node) -> Netdev:
    source = node.required_child("source")
    source.enum("mode", DirectMode, None)
    return TapNet(direct=source.required("dev"))


def _bridge(node: Node) -> Netdev:
    return TapNet(bridge=node.required_child("source").required("bridge"))


def _ethernet(node: Node) -> Netdev:
    target = node.child("target")
    return TapNet(ifname=target.get("dev") if target is not None else None)


def _vdpa(node: Node) -> Netdev:
    return VdpaNet(device=node.required_child("source").required("dev"))


_PARSERS: Final[Mapping[Kind, Callable[[Node], Netdev]]] = {
    Kind.USER: parse_user,
    Kind.BRIDGE: _bridge,
    Kind.DIRECT: _direct,
    Kind.ETHERNET: _ethernet,
    Kind.MCAST: socket_parser("mcast"),
    Kind.UDP: socket_parser("udp"),
    Kind.CLIENT: socket_parser("connect"),
    Kind.SERVER: socket_parser("listen"),
    Kind.VHOSTUSER: parse_vhost_user_or_passt,
    Kind.VDPA: _vdpa,
}
