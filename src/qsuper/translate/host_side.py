"""The host's side of an interface: what libvirt sets up there, and here the user does, before.

It is checked as libvirt does, and then has no effect, which is said.

Source: libvirt `formatdomain.rst`, "Network interfaces"; `virDomainNetDefValidate`,
`qemuValidateDomainDeviceDefNetwork`.
"""

import re
from collections.abc import Iterator
from enum import StrEnum, unique
from typing import Final

from qsuper.errors import ConfigError
from qsuper.location import Notice
from qsuper.translate.host_address import ip_errors, route_errors
from qsuper.translate.node import Node

_PLUGGED: Final = ("network", "bridge")
_KINDS: Final = {
    "script": ("ethernet",),
    "mtu": ("network", "bridge", "ethernet", "vhostuser"),
    "coalesce": _PLUGGED,
    "vlan": ("network", "bridge", "hostdev"),
    "virtualport": ("network", "bridge", "direct", "hostdev"),
}
"""The types of interface that have an element."""
_NOTHING_IF_EMPTY: Final = ("script", "mtu", "coalesce")
_WITH_PASST: Final = ("user", "vhostuser")
_WITH_TAP: Final = ("network", "bridge", "ethernet")
_LAST_VLAN: Final = 4095
_ELEMENTS: Final = ("bandwidth", "vlan", "virtualport", "coalesce", "port")


@unique
class PortType(StrEnum):
    """What the other end of a port speaks."""

    QBG = "802.1Qbg"
    QBH = "802.1Qbh"
    OPENVSWITCH = "openvswitch"
    MIDONET = "midonet"


_NEEDED: Final = {
    PortType.QBG: ("managerid", "typeid", "typeidversion"),
    PortType.QBH: ("profileid",),
    PortType.MIDONET: ("interfaceid",),
}
_TAKEN: Final = {
    PortType.QBG: ("managerid", "typeid", "typeidversion", "instanceid"),
    PortType.QBH: ("profileid",),
    PortType.OPENVSWITCH: ("interfaceid", "profileid"),
}
"""What they take at most; libvirt lets everything stand for the last."""
_PORT_NUMBERS: Final = {"managerid": 0xFF, "typeid": 0xFFFFFF, "typeidversion": 0xFF}
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-?[0-9a-fA-F]{4}){3}-?[0-9a-fA-F]{12}", re.ASCII)


@unique
class NativeMode(StrEnum):
    """How the packets of the native VLAN travel."""

    TAGGED = "tagged"
    UNTAGGED = "untagged"


def check_host_side(node: Node, kind: str) -> tuple[Notice, ...]:
    """Check the elements of an interface of type *kind*; give what has no effect.

    Raises:
        ConfigError: something makes no sense.
    """
    for error in _misplaced(node, kind):
        raise error
    _check_target(node, kind)
    node.yes_no("trustGuestRxFilters")
    _check_bandwidth(node, kind)
    _check_coalesce(node)
    _check_vlan(node)
    _check_port(node, kind)
    _check_isolation(node, kind)
    without_effect = list(node.children(*_ELEMENTS))
    for found in without_effect:
        found.accept()
    return tuple(found.notice("not supported here, has no effect") for found in without_effect)


def _check_target(node: Node, kind: str) -> None:
    target = node.child("target")
    if target is None:
        return
    name = target.get("dev")
    if target.yes_no("managed") is not False:
        return
    if kind != "ethernet":
        raise target.error("managed='no' is for type='ethernet'", hint="remove it")
    if not name:
        raise target.error("managed='no' needs the name of the device", hint="dev=")


def _misplaced(node: Node, kind: str) -> Iterator[ConfigError]:
    for tag, kinds in _KINDS.items():
        found = node.child(tag)
        if found is None or (tag in _NOTHING_IF_EMPTY and _is_empty(found)):
            continue
        if kind not in kinds:
            hint = f"it is for {', '.join(kinds)}"
            yield found.error(f"type='{kind}' has none", hint=hint)
    yield from _misplaced_addresses(node, kind)
    yield from _misplaced_backend(node, kind)
    bandwidth = node.child("bandwidth")
    if bandwidth is not None and kind == "hostdev":
        yield bandwidth.error("a device of the host has none to limit", hint="remove it")


def _is_empty(node: Node) -> bool:
    """Tell whether an element says nothing, neither by itself nor below; `size='0'` is nothing."""
    return not any(value != "0" for value in node.attributes.values()) and all(
        _is_empty(part) for part in node.elements
    )


def _has_passt(node: Node) -> bool:
    backend = node.child("backend")
    return backend is not None and backend.get("type") == "passt"


def _misplaced_backend(node: Node, kind: str) -> Iterator[ConfigError]:
    backend = node.child("backend")
    if backend is None:
        return
    if backend.get("type") == "passt" and kind not in _WITH_PASST:
        hint = f"it is for {', '.join(_WITH_PASST)}"
        yield backend.error(f"type='passt' is not for type='{kind}'", hint=hint)
    if backend.get("tap") and kind not in _WITH_TAP:
        yield backend.error(f"tap= is not for type='{kind}'", hint=f"{', '.join(_WITH_TAP)}")


def _misplaced_addresses(node: Node, kind: str) -> Iterator[ConfigError]:
    source = node.child("source")
    for ip in source.children("ip", "route") if source is not None else ():
        ip.accept()
        yield from route_errors(ip) if ip.tag == "route" else ip_errors(ip)
        if kind != "ethernet":
            yield ip.error(f"the host's side of type='{kind}' can't be set", hint="remove it")
    is_passt = _has_passt(node)
    for ip in node.children("ip"):
        if ip.get("peer"):
            yield ip.error("the guest's peer can't be set", hint="remove peer=")
        if kind != "user" and not is_passt:
            yield ip.error(f"the guest's side of type='{kind}' can't be set", hint="remove it")
    for route in node.children("route"):
        yield route.error("the guest's routes can't be set", hint="remove it")


def _check_bandwidth(node: Node, kind: str) -> None:
    bandwidth = node.child("bandwidth")
    if bandwidth is not None and bandwidth.integer("classID", low=0) is not None:
        raise bandwidth.error("classID= is for a network's own file", hint="remove it")
    for found in bandwidth.children("inbound", "outbound") if bandwidth is not None else ():
        average, floor = found.integer("average", low=0), found.integer("floor", low=0)
        for name in ("peak", "burst"):
            found.integer(name, low=0)
        if average is None and floor is None:
            raise found.error("attribute 'average' is missing")
        if floor is not None and (kind != "network" or found.tag == "outbound"):
            raise found.error("floor= is for what comes in from a network", hint="remove it")


def _check_coalesce(node: Node) -> None:
    coalesce = node.child("coalesce")
    received = coalesce.child("rx") if coalesce is not None else None
    frames = received.child("frames") if received is not None else None
    if frames is not None:
        frames.integer("max", low=0)


def _check_vlan(node: Node) -> None:
    vlan = node.child("vlan")
    if vlan is None:
        return
    is_trunk, tags = vlan.yes_no("trunk"), list(vlan.children("tag"))
    for tag in tags:
        tag.required_integer("id", low=0, high=_LAST_VLAN)
        tag.enum("nativeMode", NativeMode, None)
    if not tags:
        raise vlan.error("<tag> is missing")
    if len(tags) > 1 and is_trunk is False:
        raise vlan.error("several tags are a trunk", hint="trunk='yes'")


def _check_port(node: Node, kind: str) -> None:
    port = node.child("virtualport")
    if port is None:
        return
    if kind == "network" and port.get("type") is None:
        return  # the network says it
    what = port.enum("type", PortType)
    parameters = port.child("parameters")
    for name in _NEEDED.get(what, ()):
        if parameters is None or not parameters.get(name):
            raise port.error(f"type='{what}' needs {name}=")
    if parameters is not None:
        taken = _TAKEN.get(what, tuple(parameters.attributes))
        for name in parameters.attributes.keys() - set(taken):
            raise parameters.error(f"type='{what}' has no {name}=", hint="remove it")
        _check_parameters(parameters)


def _check_isolation(node: Node, kind: str) -> None:
    port, virtual = node.child("port"), node.child("virtualport")
    if port is None or not port.yes_no("isolated"):
        return
    if kind not in _PLUGGED:
        raise port.error(f"isolated='yes' is not for type='{kind}'", hint="remove it")
    what = virtual.enum("type", PortType, None) if virtual is not None else None
    if what is not None:
        raise port.error(f"isolated='yes' is not for a port of type='{what}'", hint="remove it")


def _check_parameters(parameters: Node) -> None:
    for name, high in _PORT_NUMBERS.items():
        parameters.integer(name, low=0, high=high)
    for name in ("instanceid", "interfaceid"):
        uuid = parameters.get(name)
        if uuid is not None and not _UUID.fullmatch(uuid):
            raise parameters.error(f"{name}='{uuid[:60]}' is no uuid")
