"""What a disk is, and what of it does not go together.

Source: libvirt `qemuValidateDomainDeviceDefDisk`, `virDomainDiskDefValidate`.
"""

from collections.abc import Iterator
from enum import StrEnum, unique
from typing import Final

from msgspec import field

from qsuper.translate.blockdev import RAW, Image
from qsuper.translate.chardev import Chardev
from qsuper.translate.disk_look import Look, VirtioBlock
from qsuper.translate.disk_target import DiskBus, DiskKind, Target
from qsuper.translate.iotune import Iotune
from qsuper.translate.manner import Aio, Manner
from qsuper.translate.model import Context, Device
from qsuper.translate.sharing import shares_memory
from qsuper.translate.source import SourceType
from qsuper.translate.storage import FileStorage

_PLUGGABLE: Final = (DiskBus.VIRTIO, DiskBus.SCSI, DiskBus.USB)
EJECTABLE: Final = (DiskKind.CDROM, DiskKind.FLOPPY)


@unique
class Snapshot(StrEnum):
    """What of a disk a snapshot of libvirt's holds."""

    NO = "no"
    INTERNAL = "internal"
    EXTERNAL = "external"
    MANUAL = "manual"


@unique
class Tray(StrEnum):
    """Of a drive for removable media."""

    OPEN = "open"
    CLOSED = "closed"


@unique
class Sgio(StrEnum):
    """Which SCSI commands of the guest reach a unit."""

    FILTERED = "filtered"
    UNFILTERED = "unfiltered"


@unique
class Transience(StrEnum):
    """Where a transient disk's writes go."""

    OWN = "own"
    """To an overlay; nobody else uses the image."""
    SHARED = "shared"
    """To an overlay; others use the image at the same time."""


class DiskFacts(Device, frozen=True, kw_only=True):
    """A disk's properties."""

    kind: DiskKind = DiskKind.DISK
    target: Target
    bus_type: DiskBus
    written_bus: DiskBus | None = None
    """As the file has it, which decides on the order."""
    source_type: SourceType = SourceType.FILE
    image: Image | None = None
    """None for an empty drive, and for a vhost-user disk."""
    vhost_user: Chardev | None = None
    has_no_unit: bool = False
    """To be passed through, and its source says nothing; libvirt writes it without a drive."""
    is_readonly: bool = False
    is_shareable: bool = False
    has_model: bool = False
    """The file says which virtio."""
    transience: Transience | None = None
    """What the guest writes is forgotten at its end."""
    is_requisite: bool = False
    """Its image may be missing where the domain is moved to; of removable media only."""
    is_optional: bool = False
    """The domain starts without its image, where that is missing."""
    copies_on_read: bool = False
    iotune: Iotune = field(default_factory=Iotune)
    throttles: tuple[str, ...] = ()
    """Groups whose limits hold, the innermost first."""
    manner: Manner = field(default_factory=Manner)
    look: Look = field(default_factory=Look)
    virtio: VirtioBlock = field(default_factory=VirtioBlock)
    first_node: int = 0

    @property
    def is_managed(self) -> bool:
        """Whether libvirt starts a helper for its persistent reservations."""
        storage = self.image.storage if self.image is not None else None
        reservations = storage.reservations if isinstance(storage, FileStorage) else None
        return reservations is not None and reservations.path is None

    def missing_image(self, context: Context) -> str | None:
        """Give the path of the image that the domain has to do without; None: it has it."""
        storage = self.image.storage if self.image is not None else None
        if not self.is_optional or not isinstance(storage, FileStorage):
            return None
        return storage.path if storage.path in context.site.host.missing else None

    def misfits(self, context: Context) -> Iterator[str]:
        """Give what does not go together."""
        yield from self._unfit_source(context)
        yield from self._unfit_limits(context)
        yield from self._unfit_driver(context)
        yield from self._unfit_writes()
        if self.is_requisite and self.kind not in EJECTABLE:
            yield "startupPolicy='requisite' is for CD-ROM and floppy drives"

    def _unfit_writes(self) -> Iterator[str]:
        is_lun, manner = self.kind is DiskKind.LUN, self.manner
        if self.copies_on_read and (self.is_readonly or is_lun):
            yield "copy_on_read= is not for read-only disks, nor for device='lun'"
        if manner.discard_no_unref and (self.image is None or self.image.format != "qcow2"):
            yield "discard_no_unref= is for format 'qcow2'"
        if manner.discard_no_unref and self.is_readonly:
            yield "discard_no_unref= is not for read-only disks"
        storage = self.image.storage if self.image is not None else None
        if isinstance(storage, FileStorage) and storage.reservations is not None and not is_lun:
            yield "<reservations> are for device='lun'"
        if self.transience is None:
            return
        if self.is_readonly or self.kind is not DiskKind.DISK:
            yield "only a disk that can be written to is <transient>"
        if self.source_type is not SourceType.FILE or self.image is None:
            yield "only a disk of type='file' is <transient>"
        if self.transience is Transience.SHARED and self.bus_type not in _PLUGGABLE:
            yield f"<transient shareBacking='yes'> is not for bus='{self.bus_type}'"

    def _unfit_source(self, context: Context) -> Iterator[str]:
        is_empty = self.image is None and self.vhost_user is None and not self.has_no_unit
        if is_empty and (self.kind not in EJECTABLE or self.bus_type is DiskBus.USB):
            yield f"a {self.kind} on bus='{self.bus_type}' can't be empty: <source> is missing"
        yield from self._unfit_daemon(context)
        image, is_lun = self.image, self.kind is DiskKind.LUN
        if self.is_shareable and not self.is_readonly and image and image.format != RAW:
            yield f"a <shareable> disk can't have format '{image.format}'"
        is_unit = image.storage.is_scsi_unit if image is not None else self.has_no_unit
        if is_lun and not is_unit:
            yield "device='lun' is for type='block' and for iSCSI"
        has_scsi = context.site.caps.has_prop("virtio-blk-pci", "scsi")
        if is_lun and image is not None and image.format != RAW:
            yield "device='lun' needs format 'raw'"
        if is_lun and image is not None and image.slice is not None:
            yield "device='lun' is given whole, without a slice"
        if is_lun and self.bus_type is DiskBus.VIRTIO and not has_scsi:
            yield "this QEMU's virtio-blk can't pass SCSI commands through"

    def _unfit_daemon(self, context: Context) -> Iterator[str]:
        is_virtio, is_user = self.bus_type is DiskBus.VIRTIO, self.vhost_user is not None
        if is_user and not is_virtio:
            yield "a vhost-user disk goes with bus='virtio'"
        unfit = {
            "<readonly>": self.is_readonly,
            "<shareable>": self.is_shareable,
            "<serial>": bool(self.look.serial),
            "<blockio>": self.look.has_block_sizes,
            "<iotune>": bool(self.iotune.limits),
            "<driver cache= io= discard= ...>": self.manner != Manner(),
            "<driver error_policy=>": self.look.has_policies,
            "<driver copy_on_read=>": self.copies_on_read,
        }
        yield from (f"a vhost-user disk has no {what}" for what in unfit if is_user and unfit[what])
        is_outside = is_user or self.source_type is SourceType.VHOSTVDPA
        if is_outside and not shares_memory(context):
            yield f"type='{self.source_type}' needs <memoryBacking><access mode='shared'/>"

    def _unfit_limits(self, context: Context) -> Iterator[str]:
        for other in context.devices(self.TAG):
            if other is self:
                break
            theirs = other.iotune if isinstance(other, DiskFacts) else Iotune()
            if theirs.group and theirs.group == self.iotune.group and theirs != self.iotune:
                yield f"group '{theirs.group}' has other limits, see line {other.at.line}"
        for group in self.throttles:
            if group not in context.domain.throttle.names:
                yield f"there is no throttle group '{group}'"
        if self.throttles and self.kind is DiskKind.CDROM:
            yield "a CD-ROM drive can't have <throttlefilters>"
        if self.iotune.limits and self.bus_type is DiskBus.SD:
            yield "an SD card's speed can't be limited"
        if self.acpi_index is not None and self.bus_type is DiskBus.USB:
            yield "only PCI devices have an <acpi index=>"

    def _unfit_driver(self, context: Context) -> Iterator[str]:
        if self.bus_type is not DiskBus.VIRTIO and self.has_model:
            yield f"model= is for bus='virtio', not for '{self.bus_type}'"
        if self.bus_type is not DiskBus.VIRTIO and self.virtio != VirtioBlock():
            yield "queues, I/O threads and virtio options are for bus='virtio'"
        for thread in self.virtio.iothreads:
            if thread not in context.domain.iothreads.ids:
                yield f"I/O thread {thread} does not exist"
        yield from self.virtio.misfits()
        if self.virtio.iothread is not None and self.virtio.mapping.rows:
            yield "iothread= and <iothreads> exclude each other"
        if self.manner.aio is Aio.NATIVE and not self.manner.cache.is_direct:
            yield "io='native' needs cache='none' or 'directsync'"
