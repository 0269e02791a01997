"""The names of disks (`vda`, `sdb`, ...) and the places on a bus that follow from them.

Source: libvirt `virDiskNameParse`, `virDomainDiskDefAssignAddress`.
"""

import re
from collections.abc import Iterator
from enum import StrEnum, unique
from typing import Final

from msgspec import Struct

from qsuper.options import Value
from qsuper.translate.model import Context
from qsuper.translate.node import Node
from qsuper.translate.places import DriveAddress

_NAME: Final = re.compile(r"(fd|hd|sd|vd|xvd|ubd)([a-z]+)([0-9]*)")
_LAST_INDEX: Final = (1 << 31) - 1
_SCSI_UNITS: Final = 7  # for every model: libvirt counts wide buses only for other hypervisors


@unique
class DiskKind(StrEnum):
    """`<disk device=>`."""

    DISK = "disk"
    CDROM = "cdrom"
    FLOPPY = "floppy"
    LUN = "lun"


@unique
class DiskBus(StrEnum):
    """The buses a disk may be on."""

    IDE = "ide"
    SATA = "sata"
    SCSI = "scsi"
    VIRTIO = "virtio"
    USB = "usb"
    FDC = "fdc"
    SD = "sd"


class Target(Struct, frozen=True):
    """A disk's name."""

    name: str
    prefix: str
    index: int
    """0 for `vda`, 26 for `vdaa`."""


def parse_target(node: Node) -> Target:
    """Read `<target dev=>`.

    Raises:
        ConfigError: it is no name of a whole disk.
    """
    name = node.required("dev")
    found = _NAME.fullmatch(name)
    if not found:
        raise node.error(f"dev='{name[:60]}' is no name of a disk", hint="vda, sdb, hdc, fda, ...")
    prefix, letters, partition = found.groups()
    if partition:
        raise node.error(f"dev='{name}' names a partition", hint=f"{prefix}{letters}")
    if len(letters) > len(str(_LAST_INDEX)):
        raise node.error(f"dev='{name[:60]}' is beyond the last disk")
    index = 0
    for letter in letters:
        index = index * 26 + ord(letter) - ord("a") + 1
    if index > _LAST_INDEX:
        raise node.error(f"dev='{name}' is beyond the last disk")
    return Target(name, prefix, index - 1)


_BUS_OF_PREFIX: Final = {
    "fd": DiskBus.FDC,
    "hd": DiskBus.IDE,
    "sd": DiskBus.SCSI,
    "vd": DiskBus.VIRTIO,
}


def bus_of(target: Target, node: Node) -> DiskBus:
    """Guess the bus from the name's first letters.

    Raises:
        ConfigError: it is one that QEMU does not have.
    """
    if target.prefix not in _BUS_OF_PREFIX:
        hint = f"bus= one of {', '.join(DiskBus)}"
        raise node.error(f"dev='{target.name}' says nothing of the bus", hint=hint)
    return _BUS_OF_PREFIX[target.prefix]


def drive_address(bus: DiskBus, index: int) -> DriveAddress:
    """Give the place of the disk number *index* on its bus.

    Raises:
        KeyError: the bus is none with drive addresses.
    """
    match bus:
        case DiskBus.IDE:
            return DriveAddress(controller=index // 4, bus=index % 4 // 2, unit=index % 2)
        case DiskBus.SATA:
            return DriveAddress(controller=index // 6, unit=index % 6)
        case DiskBus.FDC:
            return DriveAddress(controller=index // 2, unit=index % 2)
        case DiskBus.SCSI:
            return DriveAddress(controller=index // _SCSI_UNITS, unit=index % _SCSI_UNITS)
        case other:
            raise KeyError(other)


DRIVE_BUSES: Final = (DiskBus.IDE, DiskBus.SATA, DiskBus.SCSI, DiskBus.FDC)
"""Buses whose disks have drive addresses."""

NARROW: Final = "lsilogic"
"""The SCSI controller whose bus libvirt counts eight places on."""
_ESP: Final = ("ncr53c90", "dc390", "am53c974")


def misplaced(kind: DiskKind, bus: DiskBus, target: Target, *, is_readonly: bool) -> Iterator[str]:
    """Give what does not go with the bus."""
    if (kind is DiskKind.FLOPPY) != (bus is DiskBus.FDC):
        yield f"device='{kind}' does not go with bus='{bus}'"
    elif kind is DiskKind.FLOPPY and target.prefix != "fd":
        yield "a floppy's name begins with 'fd'"
    elif kind is not DiskKind.FLOPPY and target.prefix == "fd":
        yield "only a floppy's name begins with 'fd'"
    if kind is DiskKind.CDROM and bus in (DiskBus.VIRTIO, DiskBus.SD):
        yield f"bus='{bus}' has no CD-ROM drives"
    if kind is DiskKind.LUN and bus not in (DiskBus.SCSI, DiskBus.VIRTIO):
        yield f"device='lun' does not go with bus='{bus}'"
    if kind is DiskKind.DISK and is_readonly and bus in (DiskBus.IDE, DiskBus.SATA):
        yield f"a disk with bus='{bus}' can't be <readonly>"


def misdriven(bus: DiskBus, place: DriveAddress) -> Iterator[str]:
    """Give what of a drive's address its controller has not."""
    if place.bus and bus in (DiskBus.SATA, DiskBus.SCSI, DiskBus.FDC):
        yield f"a {bus} controller has one bus, number 0"
    if place.target and bus in (DiskBus.IDE, DiskBus.SATA, DiskBus.FDC):
        yield f"a drive on bus='{bus}' has target 0"


def controller_model(context: Context, bus: str, index: int) -> str | None:
    """Give the model of the controller *index*; None without one."""
    for device in context.devices("controller"):
        if device.bus_key == (bus, index):
            return getattr(device, "model", None)
    return None


def drive_props(context: Context, bus: str, place: DriveAddress) -> dict[str, Value]:
    """Give the props that place a drive on its bus."""
    alias = context.alias_of(bus, place.controller) or f"{bus}{place.controller}"
    match bus:
        case DiskBus.IDE:
            return {"bus": f"{alias}.{place.bus}", "unit": place.unit}
        case DiskBus.SATA:
            return {"bus": f"{alias}.{place.unit}"}
        case DiskBus.FDC:
            return {"unit": place.unit}
        case _:
            # These QEMU buses have targets without units.
            if controller_model(context, bus, place.controller) in (NARROW, *_ESP):
                return {"bus": f"{alias}.0", "scsi-id": place.unit}
            numbers = {"channel": place.bus, "scsi-id": place.target, "lun": place.unit}
            return {"bus": f"{alias}.0", **numbers}


def qom_path(bus: DiskBus, alias: str) -> str:
    """Give by what QMP knows the part of a disk that holds the image."""
    match bus:
        case DiskBus.VIRTIO:
            return f"/machine/peripheral/{alias}/virtio-backend"
        case DiskBus.USB:
            return f"/machine/peripheral/{alias}/{alias}.0/legacy[0]"
        case _:
            return alias
