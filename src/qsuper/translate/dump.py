"""The domain as XML with everything filled in: the mirror of parsing.

What the file says stays as it is, what the passes found out is added: identity, machine, devices,
aliases, addresses. Translating the result gives the same command line again.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from msgspec.structs import asdict

from qsuper.translate.element import Element
from qsuper.translate.model import Context, Device
from qsuper.translate.node import Node
from qsuper.translate.parse import device_nodes
from qsuper.translate.places import (
    Address,
    CcidAddress,
    DimmAddress,
    DriveAddress,
    IsaAddress,
    MmioAddress,
    PciAddress,
    UsbAddress,
    VirtioSerialAddress,
)

_TYPES: Final[Mapping[type[Address], str]] = {
    PciAddress: "pci",
    DriveAddress: "drive",
    UsbAddress: "usb",
    VirtioSerialAddress: "virtio-serial",
    CcidAddress: "ccid",
    IsaAddress: "isa",
    MmioAddress: "virtio-mmio",
    DimmAddress: "dimm",
}
_FORMATS: Final[Mapping[type[Address], Mapping[str, str]]] = {
    PciAddress: {
        "domain": "0x{:04x}",
        "bus": "0x{:02x}",
        "slot": "0x{:02x}",
        "function": "0x{:x}",
    },
    IsaAddress: {"iobase": "0x{:x}", "irq": "0x{:x}"},
    DimmAddress: {"base": "0x{:x}"},
}


def dump(root: Node, context: Context) -> str:
    """Write the domain that *root* became.

    Args:
        root: The file's tree, as it was parsed.
        context: The complete domain on its ground.
    """
    domain, site = context.domain, context.site
    tree = Element.copied(root)
    tree.put_early("uuid", domain.uuid)
    tree.put("os/type@arch", site.arch)
    tree.put("os/type@machine", site.machine)
    tree.children = [child for child in tree.children if child.tag != "devices"]
    tree.children.append(Element(tag="devices", children=list(_devices(root, context))))
    return tree.written()


def _devices(root: Node, context: Context) -> Iterator[Element]:
    nodes = dict(enumerate(device_nodes(root), start=1))
    if context.domain.emulator:
        yield Element(tag="emulator", text=context.domain.emulator)
    devices = set(map(id, nodes.values()))
    for section in root.elements:
        for node in section.elements if section.tag == "devices" else ():
            if id(node) not in devices and node.tag != "emulator":
                node.file_text()  # so that a dependency's path is absolute
                yield Element.copied(node)
    for device in context.domain.devices:
        written = _written(device, nodes, context)
        if written is not None:
            yield written


def _written(device: Device, nodes: dict[int, Node], context: Context) -> Element | None:
    """Write a device; None for one that only counts and is not in the file."""
    details = dict(device.details(context))
    node = nodes.get(device.ordinal)
    if node is None and not details:
        return None
    element = Element.copied(node, device.TAG) if node else Element(tag=device.TAG)
    for path, value in details.items():
        element.put(path, value)
    if device.alias and device.IS_NAMED:
        element.put("alias@name", device.alias)
    if device.address is not None:
        address = element.child("address")
        place = dict(_place(device.address))
        address.attributes = {**place, **address.attributes, **place}  # in the usual order
    return element


def _place(address: Address) -> Iterator[tuple[str, str]]:
    """Give the attributes of `<address>`: the fields of the place, by libvirt's names."""
    yield "type", _TYPES[type(address)]
    formats = _FORMATS.get(type(address), {})
    for name, value in asdict(address).items():
        if isinstance(value, bool):
            yield name, "on" if value else "off"
        elif value is not None:
            yield name, formats.get(name, "{}").format(value)
