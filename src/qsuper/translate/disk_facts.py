"""What a disk is, and what of it does not go together.

Source: libvirt `qemuValidateDomainDeviceDefDisk`, `virDomainDiskDefValidate`.
"""

from collections.abc import Iterator
from typing import Final

from msgspec import field

from qsuper.translate.blockdev import RAW, Aio, Image, Manner
from qsuper.translate.chardev import Chardev
from qsuper.translate.disk_look import Look, VirtioBlock
from qsuper.translate.disk_target import DiskBus, DiskKind, Target
from qsuper.translate.iotune import Iotune
from qsuper.translate.model import Context, Device
from qsuper.translate.sharing import shares_memory
from qsuper.translate.source import SourceType

EJECTABLE: Final = (DiskKind.CDROM, DiskKind.FLOPPY)


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
    is_readonly: bool = False
    is_shareable: bool = False
    copies_on_read: bool = False
    iotune: Iotune = field(default_factory=Iotune)
    throttles: tuple[str, ...] = ()
    """Groups whose limits hold, the innermost first."""
    manner: Manner = field(default_factory=Manner)
    look: Look = field(default_factory=Look)
    virtio: VirtioBlock = field(default_factory=VirtioBlock)
    first_node: int = 0

    def misfits(self, context: Context) -> Iterator[str]:
        """Give what does not go together."""
        yield from self._unfit_source(context)
        yield from self._unfit_limits(context)
        yield from self._unfit_driver(context)

    def _unfit_source(self, context: Context) -> Iterator[str]:
        is_empty = self.image is None and self.vhost_user is None
        if is_empty and (self.kind not in EJECTABLE or self.bus_type is DiskBus.USB):
            yield f"a {self.kind} on bus='{self.bus_type}' can't be empty: <source> is missing"
        yield from self._unfit_daemon(context)
        image, is_lun = self.image, self.kind is DiskKind.LUN
        if self.is_shareable and not self.is_readonly and image and image.format != RAW:
            yield f"a <shareable> disk can't have format '{image.format}'"
        if is_lun and not (image is not None and image.storage.is_scsi_unit):
            yield "device='lun' is for type='block' and for iSCSI"
        has_scsi = context.site.caps.has_prop("virtio-blk-pci", "scsi")
        if is_lun and image is not None and image.format != RAW:
            yield "device='lun' needs format 'raw'"
        if is_lun and self.bus_type is DiskBus.VIRTIO and not has_scsi:
            yield "this QEMU's virtio-blk can't pass SCSI commands through"

    def _unfit_daemon(self, context: Context) -> Iterator[str]:
        is_virtio, is_user = self.bus_type is DiskBus.VIRTIO, self.vhost_user is not None
        if is_user and not is_virtio:
            yield "a vhost-user disk goes with bus='virtio'"
        if is_user and self.is_readonly:
            yield "a vhost-user disk can't be <readonly>"
        is_outside = is_user or self.source_type is SourceType.VHOSTVDPA
        if is_outside and not shares_memory(context):
            yield f"type='{self.source_type}' needs <memoryBacking><access mode='shared'/>"

    def _unfit_limits(self, context: Context) -> Iterator[str]:
        for group in self.throttles:
            if group not in context.domain.throttle.names:
                yield f"there is no throttle group '{group}'"
        if self.throttles and self.kind is DiskKind.CDROM:
            yield "a CD-ROM drive can't have <throttlefilters>"
        if self.iotune.limits and self.bus_type is DiskBus.SD:
            yield "an SD card's speed can't be limited"
        if self.acpi_index is not None and self.bus_type not in (DiskBus.VIRTIO, DiskBus.SD):
            yield "only PCI devices have an <acpi index=>"

    def _unfit_driver(self, context: Context) -> Iterator[str]:
        if self.bus_type is not DiskBus.VIRTIO and self.virtio != VirtioBlock():
            yield "queues, I/O threads and virtio options are for bus='virtio'"
        for thread in self.virtio.iothreads:
            if thread not in context.domain.iothreads.ids:
                yield f"I/O thread {thread} does not exist"
        yield from self.virtio.misfits()
        if self.virtio.iothread is not None and self.virtio.mapping:
            yield "iothread= and <iothreads> exclude each other"
        if self.copies_on_read and self.is_readonly:
            yield "copy_on_read= is not for read-only disks"
        is_qcow2 = self.image is not None and self.image.format == "qcow2"
        if self.manner.discard_no_unref and not is_qcow2:
            yield "discard_no_unref= is for format 'qcow2'"
        if self.manner.aio is Aio.NATIVE and not self.manner.cache.is_direct:
            yield "io='native' needs cache='none' or 'directsync'"
