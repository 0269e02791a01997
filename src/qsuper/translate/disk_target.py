"""The names of disks (`vda`, `sdb`, ...) and the places on a bus that follow from them.

Source: libvirt `virDiskNameParse`, `virDomainDiskDefAssignAddress`.
"""

import re
from enum import StrEnum, unique
from typing import Final

from msgspec import Struct

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


def qom_path(bus: DiskBus, alias: str) -> str:
    """Give by what QMP knows the part of a disk that holds the image."""
    match bus:
        case DiskBus.VIRTIO:
            return f"/machine/peripheral/{alias}/virtio-backend"
        case DiskBus.USB:
            return f"/machine/peripheral/{alias}/{alias}.0/legacy[0]"
        case _:
            return alias
