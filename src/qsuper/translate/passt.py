"""passt: user-mode networking in a process of its own.

It inherits one end of a connection, QEMU the other. libvirt lets QEMU connect to a socket's path
again and again, and starts another passt where one has died; QEMU before 8.0 cannot reconnect, so
that here the link is dead with its passt until the domain is started again.

Sources: libvirt `formatdomain.rst`, "Userspace connection using passt"; passt(1).
"""

import ipaddress
from collections.abc import Iterator
from typing import Final

from qsuper.options import AtLaunch, Handle, HelperLink, Option, Props, Readiness, Value, Word
from qsuper.plan import Helper
from qsuper.translate.model import Context
from qsuper.translate.netdev import Netdev, Plug, UserNet, parse_vhost_user, reconnecting
from qsuper.translate.node import Node
from qsuper.translate.parts.backing import short_name

_RECONNECT_S: Final = 5
_PROTOCOLS: Final = ("tcp", "udp")


class PasstNet(Netdev, frozen=True, kw_only=True):
    """passt, by a UNIX socket."""

    is_vhost_user: bool = False
    words: tuple[str, ...] = ()
    """What the file tells passt."""
    log: str | None = None

    def helpers(self, plug: Plug, context: Context) -> Iterator[Helper]:
        del context
        link = self._link(plug)
        ready = Readiness(name=f"{link.name}-ready")
        words: list[Word] = ["--foreground"]
        words += ["--log-file", self.log] if self.log else ["--stderr"]
        words += ["--fd", Handle(resource=link, shown=f"<{link.name}>")]
        # It writes its pid when it is ready.
        words += ["--pid", Handle(resource=ready, shown=f"<{ready.name}>", live="/dev/fd/{}")]
        words += ["--vhost-user"] if self.is_vhost_user else []
        yield Helper(
            name=link.name,
            serves=plug.alias,
            program="passt",
            package="passt",
            words=(*words, *self.words),
            link=link,
            readiness=ready,
        )

    def chardevs(self, plug: Plug, context: Context) -> Iterator[Option]:
        if self.is_vhost_user:
            path = self._handle(plug, context, "{}", "fd")
            props: Props = {"backend": "socket", "id": f"char{plug.alias}", "path": path}
            again = _again(context, "chardev-add/arg-type/backend/+socket/data")
            yield Option.keyed("chardev", {**props, **again}, implied="backend")

    def props(self, plug: Plug, context: Context) -> Props:
        if self.is_vhost_user:
            return {"type": "vhost-user", "chardev": f"char{plug.alias}"}
        return {
            "type": "stream",
            "addr": {
                "type": AtLaunch(shown="unix", live="fd"),
                "path": self._handle(plug, context, "{}", "str"),
            },
            "server": False,
            **_again(context, "netdev_add/arg-type/+stream"),
        }

    def _link(self, plug: Plug) -> HelperLink:
        return HelperLink(name=f"{plug.alias}-passt")

    def _handle(self, plug: Plug, context: Context, live: str, key: str) -> Handle:
        name = short_name(context.domain.name)
        shown = f"/var/run/libvirt/qemu/passt/{name}-{plug.alias}.socket"
        return Handle(resource=self._link(plug), shown=shown, live=live, live_key=key)


def parse_user(node: Node) -> Netdev:
    """Read `<interface type='user'>`.

    Raises:
        ConfigError: what it says makes no sense.
    """
    backend = node.child("backend")
    kind = (backend.get("type") if backend is not None else None) or "default"
    if kind == "passt":
        return parse_passt(node)
    if kind != "default":
        raise node.error(f"<backend type='{kind}'> is unknown", hint="passt or default")
    return UserNet.parse(node)


def parse_vhost_user_or_passt(node: Node) -> Netdev:
    """Read `<interface type='vhostuser'>`; errors as of `parse_user`."""
    backend = node.child("backend")
    if backend is not None and backend.get("type") == "passt":
        return parse_passt(node, is_vhost_user=True)
    return parse_vhost_user(node)


def parse_passt(node: Node, *, is_vhost_user: bool = False) -> PasstNet:
    """Read what an interface tells passt; errors as of `parse_user`."""
    backend, source = node.child("backend"), node.child("source")
    device = source.get("dev") if source is not None else None
    words = ["--interface", device] if device else []
    for ip in node.children("ip"):
        words += _address(ip)
    for forward in node.children("portForward"):
        words += _forward(forward)
    return PasstNet(
        is_vhost_user=is_vhost_user,
        words=tuple(words),
        log=backend.file("logFile") if backend is not None else None,
    )


def _again(context: Context, where: str) -> dict[str, Value]:
    """Show that libvirt's QEMU reconnects; with a descriptor there is nothing to reconnect to."""
    return {
        key: AtLaunch(shown=value, live=None)
        for key, value in reconnecting(_RECONNECT_S, context, where).items()
        if isinstance(value, int)
    }


def _address(ip: Node) -> list[str]:
    text = ip.required("address")
    address = _parsed(ip, text)
    family = f"ipv{address.version}"
    if (ip.get("family") or family) != family:
        raise ip.error(f"address='{text}' is not of family='{ip.get('family')}'")
    prefix = ip.integer("prefix", low=0, high=address.max_prefixlen)
    words = ["--address", str(address)]
    if prefix and isinstance(address, ipaddress.IPv4Address):
        words += ["--netmask", str(ipaddress.IPv4Network((0, prefix)).netmask)]
    return words


def _forward(node: Node) -> list[str]:
    """Give passt's own word for the ports of one `<portForward>`."""
    proto = node.required("proto")
    if proto not in _PROTOCOLS:
        raise node.error(f"proto='{proto}' is unknown", hint="tcp or udp")
    text, device = node.get("address"), node.get("dev")
    where = str(_parsed(node, text)) if text else ""
    if device:
        if not device.isascii() or not device.isprintable() or set(device) & set("/,%:~ "):
            raise node.error(f"dev='{device}' is no network device's name")
        where += f"%{device}"
    ranges = ",".join(map(_range, node.children("range"))) or "all"
    return [f"--{proto}-ports", f"{where}/{ranges}" if where else ranges]


def _range(part: Node) -> str:
    start = part.required_integer("start", low=1, high=0xFFFF)
    end = part.integer("end", low=1, high=0xFFFF)
    to = part.integer("to", low=1, high=0xFFFF)
    if end is not None and end < start:
        raise part.error(f"end='{end}' is before start='{start}'")
    span = f"{start}-{end}" if end is not None else str(start)
    if part.yes_no("exclude"):
        return f"~{span}"
    if to is None:
        return span
    last = to + (end or start) - start
    if last > 0xFFFF:  # noqa: PLR2004 - the last port
        raise part.error(f"to='{to}' leads beyond the last port")
    return f"{span}:{to}-{last}" if end is not None else f"{span}:{to}"


def _parsed(node: Node, text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        raise node.error(f"address='{text}' is no IP address") from None
