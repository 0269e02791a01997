"""What the guest sees of a disk beside its content, and how its queues are served.

Source: libvirt `formatdomain.rst`, "Hard drives, floppy disks, CDROMs"; `qemuBuildDiskDeviceProps`.
"""

import re
from collections.abc import Iterator
from enum import StrEnum, unique
from typing import Final, Self

from msgspec import Struct, field

from qsuper.options import Value
from qsuper.translate.disk_target import DiskBus, DiskKind
from qsuper.translate.node import Node
from qsuper.translate.virtio import VirtioModel, VirtioOptions
from qsuper.translate.vq_mapping import VqMapping

_SERIAL: Final = re.compile(r"[A-Za-z0-9_ .+-]*")
_WWN: Final = re.compile(r"[0-9a-fA-F]{16}")
_LONGEST_VENDOR: Final = 8
_LONGEST_PRODUCT: Final = 16
_ATA_BUSES: Final = (DiskBus.IDE, DiskBus.SATA)
_WITH_IDENTITY: Final = (DiskBus.IDE, DiskBus.SATA, DiskBus.SCSI)
_WITH_WWN: Final = (DiskBus.IDE, DiskBus.SCSI)


@unique
class ErrorPolicy(StrEnum):
    """What becomes of the guest when I/O fails."""

    STOP = "stop"
    REPORT = "report"
    IGNORE = "ignore"
    ENOSPACE = "enospace"
    """Stop for lack of space, report all else; only for writes."""


@unique
class _ReadErrorPolicy(StrEnum):
    STOP = "stop"
    REPORT = "report"
    IGNORE = "ignore"


@unique
class _Translation(StrEnum):
    NONE = "none"
    LBA = "lba"
    AUTO = "auto"


class Geometry(Struct, frozen=True, kw_only=True):
    """`<geometry>`: cylinders, heads and sectors."""

    cylinders: int | None
    heads: int | None
    sectors: int | None
    translation: str | None = None

    @classmethod
    def parse(cls, node: Node) -> Self:
        """Read `<geometry cyls= heads= secs= trans=>`."""
        translation = node.enum("trans", _Translation, None)
        return cls(
            cylinders=node.integer("cyls", low=0, high=0xFFFFFFFF) or None,
            heads=node.integer("heads", low=0, high=0xFFFFFFFF) or None,
            sectors=node.integer("secs", low=0, high=0xFFFFFFFF) or None,
            translation=None if translation is None else str(translation),
        )

    def props(self) -> dict[str, Value]:
        return {
            "cyls": self.cylinders,
            "heads": self.heads,
            "secs": self.sectors,
            "bios-chs-trans": self.translation,
        }


class Look(Struct, frozen=True, kw_only=True):
    """What the guest sees of a disk; None: QEMU's default."""

    serial: str = ""
    wwn: str | None = None
    vendor: str | None = None
    product: str | None = None
    geometry: Geometry | None = None
    logical_block_bytes: int | None = None
    physical_block_bytes: int | None = None
    discard_granularity_bytes: int | None = None
    rotation_rate: int | None = None
    """Rotations a minute; 1 is a solid-state drive."""
    is_removable: bool | None = None
    error_policy: ErrorPolicy | None = None
    rerror_policy: str | None = None

    @classmethod
    def parse(cls, node: Node, driver: Node | None, target: Node) -> Self:
        """Read it from a `<disk>`, its `<driver>` and `<target>`.

        Raises:
            ConfigError: a value is no good.
        """
        geometry, blockio = node.child("geometry"), node.child("blockio")
        rerror = driver.enum("rerror_policy", _ReadErrorPolicy, None) if driver else None
        sizes = ("logical_block_size", "physical_block_size", "discard_granularity")
        blocks = [blockio.integer(name, low=0) if blockio else None for name in sizes]
        return cls(
            serial=_serial(node),
            wwn=_wwn(node),
            vendor=_inquiry(node, "vendor", _LONGEST_VENDOR),
            product=_inquiry(node, "product", 40),
            geometry=Geometry.parse(geometry) if geometry is not None else None,
            logical_block_bytes=blocks[0],
            physical_block_bytes=blocks[1],
            discard_granularity_bytes=blocks[2] or None,
            rotation_rate=target.integer("rotation_rate", low=0, high=0xFFFF) or None,
            is_removable=target.on_off("removable"),
            error_policy=driver.enum("error_policy", ErrorPolicy, None) if driver else None,
            rerror_policy=None if rerror is None else str(rerror),
        )

    @property
    def has_block_sizes(self) -> bool:
        sizes = (self.logical_block_bytes, self.physical_block_bytes)
        return any(sizes) or self.discard_granularity_bytes is not None

    @property
    def has_policies(self) -> bool:
        return self.error_policy is not None or self.rerror_policy is not None

    def props(self, bus: DiskBus) -> dict[str, Value]:
        """Give the front end's props."""
        escaped = self.serial.replace(" ", "\\ ")  # as libvirt hands it over, and guests know it
        props: dict[str, Value] = {
            "logical_block_size": self.logical_block_bytes or None,
            "physical_block_size": self.physical_block_bytes or None,
            "discard_granularity": self.discard_granularity_bytes,
            "wwn": int(self.wwn, 16) if self.wwn else None,
            "rotation_rate": self.rotation_rate,
            "vendor": self.vendor,
            "model" if bus in _ATA_BUSES else "product": self.product,
            "serial": escaped or None,
            "removable": self._removable(bus),
        }
        if self.geometry is not None:
            props |= self.geometry.props()
        return props | self._policies()

    def _removable(self, bus: DiskBus) -> bool | None:
        return bool(self.is_removable) if bus is DiskBus.USB else self.is_removable

    def _policies(self) -> dict[str, Value]:
        """An error policy without one for reads holds for both, but for lack of space."""
        write, read = self.error_policy, self.rerror_policy
        if read is None and write not in (None, ErrorPolicy.ENOSPACE):
            read = str(write)
        name = "enospc" if write is ErrorPolicy.ENOSPACE else write
        return {"werror": None if name is None else str(name), "rerror": read}

    def misfits(self, bus: DiskBus, kind: DiskKind) -> Iterator[str]:
        """Give what does not go with the bus."""
        is_lun = kind is DiskKind.LUN
        if is_lun and (self.serial or self.wwn is not None):
            yield "device='lun' has its own <serial> and <wwn>"
        if self.vendor is not None and (bus is not DiskBus.SCSI or is_lun):
            yield "only SCSI disks have a <vendor>"
        if self.product is not None:
            if bus not in _WITH_IDENTITY or is_lun:
                yield "only SCSI, IDE and SATA disks have a <product>"
            elif bus is DiskBus.SCSI and len(self.product) > _LONGEST_PRODUCT:
                yield f"<product> is longer than {_LONGEST_PRODUCT} characters"
        if self.wwn is not None and bus not in _WITH_WWN:
            yield "only SCSI and IDE disks have a <wwn>"
        if self.serial and bus is DiskBus.SD:
            yield "an SD card has no <serial>"
        yield from self._misfit_mechanics(bus, kind)
        is_scsi_disk = bus is DiskBus.SCSI and kind is DiskKind.DISK
        may_be_removable = bus is DiskBus.USB or is_scsi_disk
        if self.is_removable is not None and not may_be_removable:
            yield "removable= is for USB and SCSI disks"

    def _misfit_mechanics(self, bus: DiskBus, kind: DiskKind) -> Iterator[str]:
        if self.rotation_rate is not None and kind is not DiskKind.DISK:
            yield "rotation_rate= is for device='disk'"
        if self.rotation_rate is not None and bus not in _WITH_IDENTITY:
            yield "only SCSI, IDE and SATA disks have a rotation_rate"
        if self.geometry is not None and bus in (DiskBus.USB, DiskBus.SD):
            yield f"a disk with bus='{bus}' has no <geometry>"
        elif self.geometry is not None and self.geometry.translation and bus is not DiskBus.IDE:
            yield "only IDE disks have a <geometry trans=>"


def _serial(node: Node) -> str:
    found = node.child("serial")
    if found is None:
        return ""
    if not _SERIAL.fullmatch(found.raw_text):
        raise found.error("letters, digits, space and _.+- are the only characters in a serial")
    return found.raw_text


def _wwn(node: Node) -> str | None:
    found = node.child("wwn")
    if found is None:
        return None
    if not _WWN.fullmatch(found.text):
        raise found.error(
            f"'{found.text[:60]}' is no World Wide Name", hint="16 hexadecimal digits"
        )
    return found.text


def _inquiry(node: Node, tag: str, longest: int) -> str | None:
    found = node.child(tag)
    if found is None:
        return None
    if not (found.raw_text.isascii() and found.raw_text.isprintable()):
        raise found.error("only printable ASCII characters are allowed")
    if len(found.raw_text) > longest:
        raise found.error(f"it is longer than {longest} characters")
    return found.raw_text or None


class VirtioBlock(Struct, frozen=True, kw_only=True):
    """What only virtio disks have."""

    model: VirtioModel = VirtioModel.VIRTIO
    options: VirtioOptions = field(default_factory=VirtioOptions)
    ioeventfd: bool | None = None
    event_idx: bool | None = None
    queues: int | None = None
    queue_size: int | None = None
    iothread: int | None = None
    mapping: VqMapping = VqMapping()

    @classmethod
    def parse(cls, node: Node, driver: Node | None) -> Self:
        """Read it from a `<disk>` and its `<driver>`.

        Raises:
            ConfigError: a value is no good.
        """
        model = node.enum("model", VirtioModel, VirtioModel.VIRTIO)
        if driver is None:
            return cls(model=model)
        return cls(
            model=model,
            options=VirtioOptions.parse(driver),
            ioeventfd=driver.on_off("ioeventfd"),
            event_idx=driver.on_off("event_idx"),
            queues=driver.integer("queues", low=0, high=1024) or None,
            queue_size=driver.integer("queue_size", low=0, high=1024) or None,
            iothread=driver.integer("iothread", low=1),
            mapping=VqMapping.parse(driver),
        )

    def props(self) -> dict[str, Value]:
        """Give the front end's props."""
        return {
            "iothread": f"iothread{self.iothread}" if self.iothread else None,
            "iothread-vq-mapping": self.mapping.value,
            "ioeventfd": self.ioeventfd,
            "event_idx": self.event_idx,
            "num-queues": self.queues,
            "queue-size": self.queue_size,
            **self.options.props(),
        }

    def misfits(self) -> Iterator[str]:
        """Give what is wrong with the dealing of queues to I/O threads."""
        yield from self.mapping.misfits(self.queues)

    @property
    def iothreads(self) -> Iterator[int]:
        """The I/O threads it names."""
        if self.iothread is not None:
            yield self.iothread
        yield from self.mapping.threads
