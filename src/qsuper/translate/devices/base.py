"""What the device families share: reading the common elements, writing the common props."""

import re
from typing import Final, NotRequired, TypedDict

from qsuper.location import Location
from qsuper.options import Value
from qsuper.translate.model import Context, Device
from qsuper.translate.node import Node
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

__all__ = ["Context", "Device", "common", "parse_address", "pci_props", "placed"]

_USER_ALIAS: Final = re.compile(r"ua-[a-zA-Z0-9_-]*", re.ASCII)
_LOADPARM: Final = re.compile(r"[A-Za-z0-9. ]{1,8}", re.ASCII)


class Common(TypedDict):
    """The fields of `Device` that every family reads alike."""

    at: Location
    alias: str
    address: Address | None
    boot_order: int | None
    acpi_index: NotRequired[int | None]


def common(node: Node) -> Common:
    """Read what every device may have: alias, address, boot order, ACPI index.

    Use as `cls(**common(node), ...)`.
    """
    alias = node.child("alias")
    name = (alias.get("name") or "") if alias is not None else ""
    boot = node.child("boot")
    if boot is not None:
        _check_loadparm(boot)
    address = node.child("address")
    acpi = node.child("acpi")
    return {
        "at": node.at,
        # Others are libvirt's own of an earlier run, and are dealt anew.
        "alias": name if _USER_ALIAS.fullmatch(name) else "",
        "address": parse_address(address) if address is not None else None,
        "boot_order": boot.required_integer("order", low=1) if boot is not None else None,
        "acpi_index": acpi.integer("index", low=1, high=16383) if acpi is not None else None,
    }


def _check_loadparm(boot: Node) -> None:
    """Check what s390x machines tell their loader; elsewhere it has no effect, and is so told."""
    text = boot.attributes.get("loadparm")
    if text is not None and not _LOADPARM.fullmatch(text):
        raise boot.error(f"loadparm='{text[:60]}' is none", hint="1 to 8 of A-Z, 0-9, dot, blank")


def parse_address(node: Node) -> Address | None:  # noqa: PLR0911 - one return per kind
    """Read `<address type=...>`.

    Gives None for `type='pci'` without a slot, which asks for a PCI place of libvirt's choice.

    Raises:
        ConfigError: a type that qsuper does not know, or a value out of range.
    """
    match node.required("type"):
        case "pci":
            return _pci_address(node)
        case "drive":
            return DriveAddress(
                controller=node.integer("controller", low=0) or 0,
                bus=node.integer("bus", low=0) or 0,
                target=node.integer("target", low=0) or 0,
                unit=node.integer("unit", low=0) or 0,
            )
        case "usb":
            return UsbAddress(bus=node.integer("bus", low=0) or 0, port=node.get("port"))
        case "virtio-serial":
            return VirtioSerialAddress(
                controller=node.integer("controller", low=0) or 0,
                bus=node.integer("bus", low=0) or 0,
                port=node.integer("port", low=0),
            )
        case "ccid":
            return CcidAddress(
                controller=node.integer("controller", low=0) or 0,
                slot=node.integer("slot", low=0) or 0,
            )
        case "isa":
            return IsaAddress(iobase=node.hexadecimal("iobase"), irq=node.hexadecimal("irq"))
        case "virtio-mmio":
            return MmioAddress()
        case "dimm":
            return DimmAddress(slot=node.integer("slot", low=0), base=node.hexadecimal("base"))
        case other:
            raise node.error(
                f"type='{other}' is not supported",
                hint="one of pci, drive, usb, virtio-serial, ccid, isa, virtio-mmio, dimm",
            )


def _pci_address(node: Node) -> PciAddress | None:
    zpci = node.child("zpci")
    if zpci is not None and (zpci.get("uid") or zpci.get("fid")):
        raise zpci.error("only s390x guests have it", hint="remove it")
    address = PciAddress(
        domain=node.integer("domain", low=0, high=0xFFFF) or 0,
        bus=node.integer("bus", low=0, high=0xFF) or 0,
        slot=node.integer("slot", low=0, high=0x1F) or 0,
        function=node.integer("function", low=0, high=7) or 0,
        multifunction=node.on_off("multifunction"),
    )
    # Slot 0 of bus 0 is the host bridge: libvirt, too, takes it for no address at all.
    return address if address.domain or address.bus or address.slot else None


def placed(device: Device, context: Context) -> dict[str, Value]:
    """Give the props that name and place a front end: id, bus, addr or their like.

    Drive addresses differ by bus type and belong to the disk family; ISA ones to theirs.
    """
    props: dict[str, Value] = {"id": device.alias}
    address = device.address
    match address:
        case PciAddress():
            props |= pci_props(address, context)
            props |= {"acpi-index": device.acpi_index}
        case UsbAddress():
            bus = context.alias_of("usb", address.bus) or "usb"
            props |= {"bus": f"{bus}.0", "port": address.port}
        case VirtioSerialAddress():
            bus = context.alias_of("virtio-serial", address.controller) or "virtio-serial0"
            props |= {"bus": f"{bus}.{address.bus}", "nr": address.port}
        case CcidAddress():
            bus = context.alias_of("ccid", address.controller) or "ccid0"
            props |= {"bus": f"{bus}.0"}
        case IsaAddress():
            iobase = None if address.iobase is None else address.iobase
            props |= {"iobase": iobase, "irq": address.irq}
        case _:
            pass
    return props


def pci_props(address: PciAddress, context: Context) -> dict[str, Value]:
    """Give `bus`, `multifunction`, `addr` of a PCI device."""
    function = f".0x{address.function:x}" if address.function else ""
    return {
        "bus": context.alias_of("pci", address.bus) or f"pci.{address.bus}",
        "multifunction": address.multifunction,
        "addr": f"0x{address.slot:x}{function}",
    }
