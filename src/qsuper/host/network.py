"""What stands in for libvirt's networks: a table from the user, or libvirt's own definitions."""

import glob
import os
from typing import Final

from qsuper.errors import ConfigError, UsageError
from qsuper.host.files import read_xml
from qsuper.translate.node import Node
from qsuper.translate.site import Network, NetworkKind

_STAND_INS: Final = "user, bridge:BRIDGE or passt"
_IFNAME_BYTES_MAX: Final = 15  # Linux, IFNAMSIZ - 1

_DIRECT_MODES: Final = ("private", "vepa", "passthrough", "bridge")
"""Forward modes that put guests on an interface of the host, with macvtap."""


def parse_stand_in(text: str) -> Network:
    """Read what is to stand in for a network: `user`, `bridge:BRIDGE` or `passt`.

    Raises:
        ValueError: *text* is none of these.
    """
    word, colon, bridge = text.partition(":")
    if word == NetworkKind.BRIDGE and _is_interface(bridge):
        return Network(kind=NetworkKind.BRIDGE, bridge=bridge)
    if word in (NetworkKind.USER, NetworkKind.PASST) and not colon:
        return Network(kind=NetworkKind(word))
    raise ValueError(f"'{text}' is not {_STAND_INS}")


def parse_entry(text: str) -> tuple[str, Network]:
    """Read one entry of the table, `NAME=STAND-IN`, as in `--network default=bridge:br0`.

    Raises:
        UsageError: it is none.
    """
    name, equals, stand_in = text.rpartition("=")
    if not equals or not name:
        raise UsageError(f"--network {text}: not NAME=STAND-IN ({_STAND_INS})")
    try:
        return name, parse_stand_in(stand_in)
    except ValueError as error:
        raise UsageError(f"--network {text}: {error}") from None


def read_networks(directory: str) -> dict[str, Network]:
    """Read libvirt's definitions: `networks/*.xml` and `network-ports/*.xml` in *directory*.

    A network goes by its name and by its file's; together with a port, which says what libvirt's
    network driver made of it for one interface, by `NETWORK;PORT`, both by their files.

    Raises:
        ConfigError: a file is no such definition.
    """
    networks = _read(os.path.join(directory, "networks"), "network")
    ports = _read(os.path.join(directory, "network-ports"), "networkport")
    plugs = {port: _plugged(root) for port, root in ports.items()}
    result: dict[str, Network] = {}
    for stem, root in networks.items():
        if network := _forwarded(root):
            result[stem] = network
            result[f"{stem};"] = network  # without a port
            result.setdefault(root.child_text("name") or stem, network)
        result |= {f"{stem};{port}": plug for port, plug in plugs.items()}
    return result


def _is_interface(name: str) -> bool:
    """Tell whether Linux would take *name* for a network interface."""
    has_bad = any(letter in "/:" or letter.isspace() for letter in name)
    return not has_bad and name not in ("", ".", "..") and len(name.encode()) <= _IFNAME_BYTES_MAX


def _read(directory: str, tag: str) -> dict[str, Node]:
    result: dict[str, Node] = {}
    for path in sorted(glob.glob(os.path.join(glob.escape(directory), "*.xml"))):
        root = read_xml(path).root
        if root.tag != tag:
            raise root.error(f"this file is no <{tag}>")
        result[os.path.basename(path).removesuffix(".xml")] = root
    return result


def _forwarded(root: Node) -> Network | None:
    """Give a network by its `<forward>`; None where only a port could tell."""
    forward = root.child("forward")
    mode = forward.get("mode") if forward else None
    bridge = root.child("bridge")
    if forward and mode == "hostdev":
        addresses = tuple(_pci(address) for address in forward.children("address"))
        return Network(kind=NetworkKind.HOSTDEV, devices=addresses)
    if bridge:
        ip = root.child("ip")
        address = (ip.get("address") or "") if ip else ""
        return Network(kind=NetworkKind.BRIDGE, bridge=bridge.required("name"), address=address)
    if forward and mode in _DIRECT_MODES and forward.child("interface"):
        return Network(kind=NetworkKind.DIRECT)
    return None


def _plugged(root: Node) -> Network:
    """Give the network that a port is plugged into."""
    plug = root.required_child("plug")
    match plug.required("type"):
        case "network" | "bridge":
            return Network(kind=NetworkKind.BRIDGE, bridge=plug.required("bridge"))
        case "direct":
            return Network(kind=NetworkKind.DIRECT)
        case "hostdev-pci":
            address = _pci(plug.required_child("address"))
            return Network(kind=NetworkKind.HOSTDEV, devices=(address,))
        case kind:
            raise plug.error(f"type='{kind}' is unknown")


def _pci(address: Node) -> str:
    """Give a `<address domain= bus= slot= function=>` as QEMU writes it."""
    parts = [_hex(address, name) for name in ("domain", "bus", "slot", "function")]
    return "{:04x}:{:02x}:{:02x}.{:x}".format(*parts)


def _hex(address: Node, name: str) -> int:
    """Read a part of a PCI address: libvirt takes it as hexadecimal, with or without 0x."""
    text = address.get(name) or "0"
    try:
        return int(text, 16)
    except ValueError:
        raise _bad_number(address, name, text) from None


def _bad_number(address: Node, name: str, text: str) -> ConfigError:
    return address.error(f"{name}='{text}' is not a number")
