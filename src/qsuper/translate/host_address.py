"""`<ip>` and `<route>` of an interface's host side: checked as libvirt does, set by the user.

Source: libvirt `formatdomain.rst`, "IP configuration"; `virNetDevIPRouteCreate()`.
"""

import ipaddress
from collections.abc import Iterator

from qsuper.errors import ConfigError
from qsuper.translate.node import Node


def ip_errors(ip: Node) -> Iterator[ConfigError]:
    """Give what is wrong with an address."""
    address = _address(ip, "address")
    longest = address.max_prefixlen if address is not None else 0
    if address is None or (ip.has("family") and longest != ip_bits(ip)):
        yield _misfit(ip, "address")
    elif (ip.integer("prefix", low=0) or 0) > longest:
        yield ip.error(f"prefix='{ip.get('prefix')}' is too long", hint=f"at most {longest}")
    elif ip.get("peer"):
        peer = _address(ip, "peer")
        if peer is None or peer.max_prefixlen != longest:
            yield ip.error(f"peer='{ip.required('peer')[:60]}' is no address of the same family")


def ip_bits(node: Node) -> int:
    """Give how long an address of the element's family is; IPv4's where it names none."""
    family = node.get("family") or "ipv4"
    if family not in ("ipv4", "ipv6"):
        raise node.error(f"family='{family[:60]}' is unknown", hint="ipv4 or ipv6")
    return 32 if family == "ipv4" else 128


def route_errors(route: Node) -> Iterator[ConfigError]:
    """Give the first thing that is wrong with a route."""
    longest = ip_bits(route)
    if route.integer("metric", low=0) == 0:
        yield route.error("metric='0' is none", hint="1 or more")
        return
    for name in ("address", "gateway"):
        address = _address(route, name)
        if address is None or address.max_prefixlen != longest:
            yield _misfit(route, name)
            return
    if route.get("prefix") and route.get("netmask"):
        yield route.error("prefix= and netmask= are the same", hint="keep one")
        return
    # Without a length it is the default route, whose address is all zeros.
    length = route.get("prefix") or route.get("netmask") or "0"
    try:
        ipaddress.ip_network(f"{route.required('address')}/{length}")
    except ValueError:
        yield route.error("that is not the address of a network", hint="prefix=")


def _address(node: Node, name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(node.required(name))
    except ValueError:
        return None


def _misfit(node: Node, name: str) -> ConfigError:
    family = node.get("family") or "ipv4"
    text = node.required(name)[:60]
    return node.error(f"{name}='{text}' is no address of family='{family}'", hint="family='ipv6'")
