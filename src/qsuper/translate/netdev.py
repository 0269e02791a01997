"""Where an interface's packets go on the host: QEMU's `-netdev`.

Sources: libvirt `formatdomain.rst`, "Network interfaces"; QEMU `qapi/net.json`.
"""

import ipaddress
from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import Final, Self

from msgspec import Struct

from qsuper.options import Handle, Joined, Option, Props, Tap, Value, VhostNet
from qsuper.plan import Helper
from qsuper.record import AbstractStruct
from qsuper.translate.fdset import fdset_options, fdset_path
from qsuper.translate.model import Context
from qsuper.translate.node import Node

_MAX_FORWARDS: Final = 1024  # each is a word of the command line, which has a limit
_SLIRP_IPV6_PREFIX: Final = 64
_MAX_SLIRP_PREFIX: Final = 27  # QEMU's own addresses must fit


class Plug(Struct, frozen=True, kw_only=True):
    """What a back end must know of the front end."""

    alias: str
    queues: int = 1
    has_vhost: bool = False
    """The kernel may move the packets."""
    mtu: int | None = None
    sndbuf: int | None = None
    """Bytes."""


class Netdev(AbstractStruct, frozen=True, kw_only=True):
    """A back end."""

    def chardevs(self, plug: Plug, context: Context) -> Iterator[Option]:
        """Give the options that stand before `-netdev`."""
        del plug, context
        return iter(())

    def helpers(self, plug: Plug, context: Context) -> Iterator[Helper]:
        """Give the processes behind it."""
        del plug, context
        return iter(())

    @abstractmethod
    def props(self, plug: Plug, context: Context) -> Props:
        """Give the props of `-netdev`, `id` aside."""

    @property
    def takes_queues(self) -> bool:
        """Tell whether there can be more than one queue."""
        return False


class UserNet(Netdev, frozen=True, kw_only=True):
    """QEMU's own user-mode network, which needs no privilege."""

    ipv4: str | None = None
    """The network, as ADDRESS/PREFIX."""
    ipv6: str | None = None
    ipv6_prefix: int | None = None
    forwards: tuple[str, ...] = ()
    """In QEMU's syntax: tcp:HOST:PORT-GUEST:PORT."""

    @classmethod
    def parse(cls, node: Node) -> Self:
        """Read the `<ip>` and `<portForward>` of an interface."""
        ipv4: str | None = None
        ipv6: str | None = None
        ipv6_prefix: int | None = None
        for ip in node.children("ip"):
            address, prefix = _network(ip)
            if address.version == 4:  # noqa: PLR2004 - IPv4
                _once(ip, ipv4)
                ipv4 = f"{address}/{prefix}" if prefix else str(address)
            else:
                _once(ip, ipv6)
                ipv6, ipv6_prefix = str(address), prefix or None
                if prefix not in (0, _SLIRP_IPV6_PREFIX):
                    raise ip.error(f"prefix='{prefix}' is not what QEMU has", hint="64")
        forwards = tuple(word for part in node.children("portForward") for word in _forwards(part))
        if len(forwards) > _MAX_FORWARDS:
            raise node.error(
                f"forwards {len(forwards)} ports, more than {_MAX_FORWARDS}",
                hint="<backend type='passt'/> forwards ranges",
            )
        return cls(ipv4=ipv4, ipv6=ipv6, ipv6_prefix=ipv6_prefix, forwards=forwards)

    def props(self, plug: Plug, context: Context) -> Props:
        del plug, context
        return {
            "type": "user",
            "net": self.ipv4,
            "ipv6-prefix": self.ipv6,
            "ipv6-prefixlen": self.ipv6_prefix,
            "hostfwd": [{"str": word} for word in self.forwards] or None,
        }


class TapNet(Netdev, frozen=True, kw_only=True):
    """A tap device: on a bridge, or one that the user names."""

    bridge: str | None = None
    ifname: str | None = None
    direct: str | None = None
    """A network card of the host, of which the device is a part (macvtap)."""

    def props(self, plug: Plug, context: Context) -> Props:
        del context
        where = f"on {self.direct}" if self.direct else self.bridge or self.ifname or "tap"
        taps = [
            Handle(
                resource=Tap(
                    name=f"{plug.alias}-tap{queue}",
                    bridge=self.bridge,
                    ifname=self.ifname,
                    queue=queue,
                    mtu=plug.mtu,
                ),
                shown=f"<tap {where} {queue}>",
            )
            for queue in range(plug.queues)
        ]
        props: dict[str, Value] = {"type": "tap"} | _descriptors("fd", taps)
        if plug.has_vhost:
            vhosts = [
                Handle(
                    resource=VhostNet(name=f"{plug.alias}-vhost{queue}", queue=queue),
                    shown=f"<vhost-net {queue}>",
                )
                for queue in range(plug.queues)
            ]
            props |= {"vhost": True} | _descriptors("vhostfd", vhosts)
        return props | {"sndbuf": plug.sndbuf}

    @property
    def takes_queues(self) -> bool:
        return True


class SocketNet(Netdev, frozen=True, kw_only=True):
    """A cable made of a socket: to another QEMU, or to a multicast group of them."""

    key: str
    """How QEMU calls it: connect, listen, mcast, udp."""
    peer: str
    """ADDRESS:PORT."""
    local: str | None = None

    def props(self, plug: Plug, context: Context) -> Props:
        del plug, context
        return {"type": "socket", self.key: self.peer, "localaddr": self.local}


class VhostUserNet(Netdev, frozen=True, kw_only=True):
    """A switch in another process, by a UNIX socket and shared memory."""

    path: str
    is_server: bool
    reconnect_s: int | None = None
    """None: as QEMU does by itself."""

    def chardevs(self, plug: Plug, context: Context) -> Iterator[Option]:
        props: dict[str, Value] = {"backend": "socket", "id": f"char{plug.alias}"}
        props |= {"path": self.path, "server": True if self.is_server else None}
        if self.reconnect_s is not None:
            where = "chardev-add/arg-type/backend/+socket/data"
            props |= reconnecting(self.reconnect_s, context, where)
        yield Option.keyed("chardev", props, implied="backend")

    def props(self, plug: Plug, context: Context) -> Props:
        del context
        queues = plug.queues if plug.queues > 1 else None
        return {"type": "vhost-user", "chardev": f"char{plug.alias}", "queues": queues}

    @property
    def takes_queues(self) -> bool:
        return True


def socket_parser(key: str) -> Callable[[Node], Netdev]:
    """Give what reads the interface types that QEMU calls *key*."""

    def parse(node: Node) -> Netdev:
        source = node.required_child("source")
        address = source.get("address") if key == "listen" else source.required("address")
        port = source.required_integer("port", low=0, high=0xFFFF)
        local: str | None = None
        if key == "udp":
            ours = source.required_child("local")
            ours_port = ours.required_integer("port", low=0, high=0xFFFF)
            local = f"{ours.required('address')}:{ours_port}"
        return SocketNet(key=key, peer=f"{address or ''}:{port}", local=local)

    return parse


def parse_vhost_user(node: Node) -> Netdev:
    """Read `<interface type='vhostuser'>`."""
    source = node.required_child("source")
    if source.required("type") != "unix":
        raise source.error(f"type='{source.get('type')}' is not supported", hint="unix")
    mode = source.get("mode") or "client"
    if mode not in ("server", "client"):
        raise source.error(f"mode='{mode}' is unknown", hint="server or client")
    reconnect = source.child("reconnect")
    if reconnect is not None and mode == "server":
        raise reconnect.error("it is for mode='client'", hint="remove it")
    seconds: int | None = None
    if reconnect is not None:
        seconds = 0
        if reconnect.yes_no("enabled"):
            seconds = reconnect.required_integer("timeout", low=0, high=0xFFFFFFFF)
    path = source.resolve(source.required("path"))
    return VhostUserNet(path=path, is_server=mode == "server", reconnect_s=seconds)


class VdpaNet(Netdev, frozen=True, kw_only=True):
    """A network card whose hardware speaks virtio."""

    device: str

    def chardevs(self, plug: Plug, context: Context) -> Iterator[Option]:
        del context
        yield from fdset_options(f"{plug.alias}-vdpa", self.device)

    def props(self, plug: Plug, context: Context) -> Props:
        del context
        queues = plug.queues if plug.queues > 1 else None
        path = fdset_path(f"{plug.alias}-vdpa")
        return {"type": "vhost-vdpa", "vhostdev": path, "queues": queues}

    @property
    def takes_queues(self) -> bool:
        return True


def reconnecting(seconds: int, context: Context, where: str) -> Props:
    """Give the prop that asks for reconnection, in the unit this QEMU knows.

    *where* is the path in the QMP schema of what takes it.
    """
    schema = context.site.caps.schema
    if schema.has(f"{where}/reconnect-ms"):
        return {"reconnect-ms": seconds * 1000}
    if schema.has(f"{where}/reconnect"):
        return {"reconnect": seconds}
    return {}


def _descriptors(key: str, handles: list[Handle]) -> dict[str, Value]:
    if len(handles) == 1:
        return {key: handles[0]}
    return {f"{key}s": Joined(tuple(handles))}


Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def _network(ip: Node) -> tuple[Address, int]:
    text = ip.required("address")
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise ip.error(f"address='{text}' is no IP address") from None
    family = f"ipv{address.version}"
    if (ip.get("family") or family) != family:
        raise ip.error(f"address='{text}' is not of family='{ip.get('family')}'")
    prefix = ip.integer("prefix", low=0, high=address.max_prefixlen) or 0
    if address.version == 4 and prefix > _MAX_SLIRP_PREFIX:  # noqa: PLR2004 - IPv4
        raise ip.error(f"prefix='{prefix}' is too long", hint=f"at most {_MAX_SLIRP_PREFIX}")
    return address, prefix


def _once(ip: Node, earlier: str | None) -> None:
    if earlier is not None:
        raise ip.error("only one address of a family is supported")


def _forwards(node: Node) -> Iterator[str]:
    """Give what QEMU's own network is to forward, one word a port."""
    proto = node.required("proto")
    if proto not in ("tcp", "udp"):
        raise node.error(f"proto='{proto}' is unknown", hint="tcp or udp")
    if node.get("dev"):
        raise node.error("dev= needs passt", hint="<backend type='passt'/>")
    host = node.get("address") or ""
    if host:
        try:
            ipaddress.IPv4Address(host)
        except ValueError:
            raise node.error(
                f"address='{host}' is no IPv4 address",
                hint="only <backend type='passt'/> forwards others",
            ) from None
    ranges = list(node.children("range"))
    taken = [part for part in ranges if not part.yes_no("exclude")]
    if not taken:
        raise node.error("<range> is missing", hint="only <backend type='passt'/> forwards all")
    excluded = {port for part in ranges if part.yes_no("exclude") for port in _span(part)}
    for part in taken:
        span = _span(part)
        to = part.integer("to", low=1, high=0xFFFF) or span.start
        for port in span:
            guest = to + port - span.start
            if guest > 0xFFFF:  # noqa: PLR2004 - the last port
                raise part.error(f"to='{to}' leads beyond the last port")
            if port not in excluded:
                yield f"{proto}:{host}:{port}-:{guest}"


def _span(part: Node) -> range:
    start = part.required_integer("start", low=1, high=0xFFFF)
    end = part.integer("end", low=1, high=0xFFFF) or start
    if end < start:
        raise part.error(f"end='{end}' is before start='{start}'")
    return range(start, end + 1)
