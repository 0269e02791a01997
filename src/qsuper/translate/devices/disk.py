"""`<disk>`: hard disks, CD-ROM drives, floppy drives and passed-through SCSI units.

Sources: libvirt `formatdomain.rst`, "Hard drives, floppy disks, CDROMs";
`qemuBuildDisksCommandLine`, `virDomainDiskInsert`, `qemuValidateDomainDeviceDefDisk`.
"""

from collections.abc import Iterator
from typing import ClassVar, Final, Self

from msgspec.structs import replace

from qsuper.errors import ConfigError
from qsuper.location import Notice
from qsuper.options import Option, Value
from qsuper.plan import Command
from qsuper.translate.blockdev import RAW, Image, metadata_cache
from qsuper.translate.chardev import Chardev
from qsuper.translate.devices.base import Context, Device, common, placed
from qsuper.translate.disk_facts import (
    EJECTABLE,
    DiskFacts,
    Sgio,
    Snapshot,
    Transience,
    Tray,
)
from qsuper.translate.disk_look import Look, VirtioBlock
from qsuper.translate.disk_target import (
    DRIVE_BUSES,
    NARROW,
    DiskBus,
    DiskKind,
    bus_of,
    controller_model,
    drive_address,
    drive_props,
    misdriven,
    misplaced,
    parse_target,
    qom_path,
)
from qsuper.translate.iotune import Iotune
from qsuper.translate.manner import Cache, Manner
from qsuper.translate.model import Need
from qsuper.translate.node import Node
from qsuper.translate.parts.backing import short_name
from qsuper.translate.parts.throttle import filter_groups
from qsuper.translate.places import (
    Bus,
    DriveAddress,
    MmioAddress,
    PciAddress,
    PciKind,
    PciTurn,
    UsbAddress,
    UsbTurn,
)
from qsuper.translate.sd_card import sd_option
from qsuper.translate.source import SourceType, StartupPolicy
from qsuper.translate.storage import MANAGED_HELPER, as_cdrom
from qsuper.translate.virtio import virtio_address, virtio_driver, virtio_pci_kind

_BOOT_CLASS: Final = {DiskKind.CDROM: "cdrom", DiskKind.FLOPPY: "fd"}
_ADDRESSES: Final = {
    DiskBus.VIRTIO: (PciAddress, MmioAddress),
    DiskBus.USB: (UsbAddress,),
    DiskBus.SD: (),
} | dict.fromkeys(DRIVE_BUSES, (DriveAddress,))
_LAST_NARROW_UNIT: Final = 7


class Disk(DiskFacts, frozen=True, kw_only=True):
    """A disk or drive."""

    TAG: ClassVar[str] = "disk"
    ALIAS: ClassVar[str] = "disk"
    PCI_TURN: ClassVar[int] = PciTurn.DISK
    USB_TURN: ClassVar[int] = UsbTurn.DISK

    @classmethod
    def parse(cls, node: Node) -> Self:
        node.enum("snapshot", Snapshot, None)
        target_node = node.required_child("target")
        target, driver = parse_target(target_node), node.child("driver")
        kind = node.enum("device", DiskKind, DiskKind.DISK)
        # libvirt opens a tray by a monitor command, and forgets it
        if target_node.enum("tray", Tray, None) is Tray.OPEN and kind not in EJECTABLE:
            raise target_node.error("tray='open' is for CD-ROM and floppy drives")
        written = target_node.enum("bus", DiskBus, None)
        default = DiskBus.FDC if kind is DiskKind.FLOPPY else None
        bus = written or default or bus_of(target, target_node)
        _check_commands(node, is_lun=kind is DiskKind.LUN)
        source_type = node.enum("type", SourceType, SourceType.FILE)
        vhost_user: Chardev | None = None
        if source_type is SourceType.VHOSTUSER:
            vhost_user = Chardev.parse_vhost_user(node.required_child("source"))
        is_readonly = node.child("readonly") is not None or kind is DiskKind.CDROM
        image = _image(node, source_type, kind, driver)
        startup, base = _startup(node), common(node)
        if base["address"] is not None and not isinstance(base["address"], _ADDRESSES[bus]):
            raise node.error(f"the address does not fit bus='{bus}'")
        return cls(
            **base,
            kind=kind,
            target=target,
            bus_type=bus,
            written_bus=written,
            source_type=source_type,
            image=replace(image, is_readonly=is_readonly) if image is not None else None,
            vhost_user=vhost_user,
            has_no_unit=(
                kind is DiskKind.LUN
                and source_type is SourceType.BLOCK
                and image is None
                and node.child("source") is not None
            ),
            is_readonly=is_readonly,
            is_shareable=node.child("shareable") is not None,
            has_model=node.has("model"),
            transience=_transience(node),
            is_requisite=startup == StartupPolicy.REQUISITE,
            is_optional=startup == StartupPolicy.OPTIONAL,
            iotune=Iotune.parse(node),
            throttles=filter_groups(node),
            copies_on_read=bool(driver.on_off("copy_on_read")) if driver else False,
            manner=Manner.parse(driver, is_floppy=kind is DiskKind.FLOPPY),
            look=Look.parse(node, driver, target_node),
            virtio=VirtioBlock.parse(node, driver),
        )

    # Defaults

    def place_among(self, devices: tuple[Device, ...]) -> int:
        """Disks of one bus stand together, by name; those without one are a bus of their own."""
        place: int | None = None
        for number in range(len(devices) - 1, -1, -1):
            other = devices[number]
            if not isinstance(other, Disk) or other.written_bus is not self.written_bus:
                continue
            if other.target.index > self.target.index:
                place = number
            elif place is None:
                place = number + 1
        return len(devices) if place is None else place

    def defaulted(self, context: Context) -> Self:
        address, manner = self.address, self.manner
        if self.bus_type is DiskBus.VIRTIO:
            address = virtio_address(self, context)
        elif address is None and self.bus_type in DRIVE_BUSES:
            address = drive_address(self.bus_type, self.target.index)
        if self.is_shareable and not self.is_readonly and manner.cache is Cache.DEFAULT:
            manner = replace(manner, cache=Cache.NONE)
        image = self.image.resolved(context.site.host) if self.image is not None else None
        return replace(self, address=address, manner=manner, image=image)

    def implied(self, context: Context) -> Iterator[Need]:
        del context
        if isinstance(self.address, DriveAddress):
            yield Need(str(self.bus_type), self.address.controller)

    def pci_kind(self, context: Context) -> PciKind | None:
        if self.bus_type is not DiskBus.VIRTIO:
            return None
        return virtio_pci_kind(self, context, self.virtio.model)

    def bus(self, context: Context) -> Bus | None:
        del context
        return Bus.USB if self.bus_type is DiskBus.USB else None

    def stem(self, context: Context) -> str | None:
        address = self.address
        if not isinstance(address, DriveAddress):
            return f"{self.bus_type}-disk{self.target.index}"
        parts = [address.controller, address.bus, address.target, address.unit]
        if self.bus_type is not DiskBus.SCSI or self._is_narrow(context):
            del parts[2]
        return f"{self.bus_type}{'-'.join(map(str, parts))}"

    @property
    def boot_class(self) -> str | None:
        return _BOOT_CLASS.get(self.kind, "hd")

    @property
    def node_count(self) -> int:
        if self.bus_type is DiskBus.SD:  # it has no block nodes
            return 0
        return self._image_length + len(self.throttles)

    @property
    def _image_length(self) -> int:
        return self.image.length if self.image is not None else 1

    def numbered(self, first: int) -> Self:
        image = self.image.numbered(first) if self.image is not None else None
        return replace(self, image=image, first_node=first)

    # Check

    def problems(self, context: Context) -> Iterator[ConfigError]:
        yield from self._twins(context)
        drive = self._drive
        if self._is_narrow(context) and (drive.target or drive.unit > _LAST_NARROW_UNIT):
            hint = "model='virtio-scsi' has room for more"
            yield self._error("its SCSI controller has no such place", hint=hint)
        for text in (
            *self.misfits(context),
            *misplaced(self.kind, self.bus_type, self.target, is_readonly=self.is_readonly),
            *misdriven(self.bus_type, self._drive),
        ):
            yield self._error(text)
        for text in self.look.misfits(self.bus_type, self.kind):
            yield self._error(text)
        if self.image is not None:
            yield from self.image.problems(context.site)
        if self.vhost_user is not None:
            yield from self.vhost_user.problems(context)

    def obstacles(self, context: Context) -> Iterator[ConfigError]:
        del context
        if self.transience is not None:
            hint = "make an overlay with qemu-img"
            yield self._error("<transient> is not supported", hint=hint)
        if self.image is not None:
            yield from self.image.obstacles()
        if self.has_no_unit:
            yield self._error("<source> names no device", hint="dev=")
        if self.is_managed:
            hint = "managed='no', and start qemu-pr-helper yourself"
            yield self._error("<reservations managed='yes'> is not supported", hint=hint)

    def notices(self, context: Context) -> Iterator[Notice]:
        if path := self.missing_image(context):
            fate = "the drive is empty" if self.kind in EJECTABLE else "the disk is left out"
            yield Notice(self.at, f"<disk> '{self.target.name}': {path} is missing: {fate}")

    def setup(self, context: Context) -> Iterator[Command]:
        if self.missing_image(context):
            return
        if self.image is not None and self.bus_type is not DiskBus.SD:
            yield from self.iotune.setup(qom_path(self.bus_type, self.alias))

    def _error(self, message: str, *, hint: str = "") -> ConfigError:
        return ConfigError(f"<disk> '{self.target.name}': {message}", at=self.at, hint=hint)

    def _twins(self, context: Context) -> Iterator[ConfigError]:
        for other in context.devices("disk"):
            if other is self:
                break
            if isinstance(other, Disk) and other.target.name == self.target.name:
                yield self._error(f"the name is used twice, also in line {other.at.line}")
        if not isinstance(self.address, DriveAddress):
            return
        for other in (*context.devices("disk"), *context.devices("hostdev")):
            if other is self:
                break
            other_bus = other.bus_type if isinstance(other, Disk) else DiskBus.SCSI
            if other.address == self.address and other_bus is self.bus_type:
                yield self._error(f"its place is taken, by line {other.at.line}")

    # Options

    def options(self, context: Context) -> Iterator[Option]:
        is_missing = self.missing_image(context) is not None
        if is_missing and self.kind not in EJECTABLE:
            return
        if self.transience is Transience.SHARED:
            return  # libvirt plugs it in later
        yield from self._managed_helper(context)
        if self.bus_type is DiskBus.SD:
            yield sd_option(self.image, self.manner.cache, self.target.index)
            return
        drive: str | None = None
        if self.image is not None and not is_missing:
            yield from self.image.options(context.site, self.manner)
            drive = self.image.top(context.site.caps)
        if self.copies_on_read and drive is not None:
            node = f"libvirt-CoR-{self.target.name}"
            props = {"driver": "copy-on-read", "node-name": node, "file": drive, "discard": "unmap"}
            yield Option.json("blockdev", props)
            drive = node
        for number, group in enumerate(self.throttles, self.first_node + self._image_length):
            node = f"libvirt-{number}-filter"
            throttle = f"throttle-{group}"
            own = {"driver": "throttle", "node-name": node, "throttle-group": throttle}
            yield Option.json("blockdev", {**own, "file": drive})
            drive = node
        if self.vhost_user is not None:
            ident = f"chr-vu-{self.alias}"
            yield from self.vhost_user.options(self.alias, context.site.caps, ident=ident)
        if self.bus_type is DiskBus.FDC and self.boot_order and context.site.is_i440fx:
            letter = "AB"[min(self._drive.unit, 1)]
            yield Option.word("global", f"isa-fdc.bootindex{letter}={self.boot_order}")
        yield Option.json("device", self._front_end(context, drive))

    def _managed_helper(self, context: Context) -> Iterator[Option]:
        """Give the helper of all disks that want one, with the first of them."""
        disks = (disk for disk in context.devices(self.TAG) if isinstance(disk, Disk))
        if self.is_managed and self is next(disk for disk in disks if disk.is_managed):
            name = short_name(context.domain.name)
            path = f"/var/lib/libvirt/qemu/domain-{name}/{MANAGED_HELPER}.sock"
            props: dict[str, Value] = {"qom-type": "pr-manager-helper", "id": MANAGED_HELPER}
            yield Option.json("object", {**props, "path": path})

    @property
    def _drive(self) -> DriveAddress:
        return self.address if isinstance(self.address, DriveAddress) else DriveAddress()

    def _front_end(self, context: Context, drive: str | None) -> dict[str, Value]:
        props: dict[str, Value] = {"driver": self._driver(), "id": self.alias, "drive": drive}
        props |= self._place(context) | self.look.props(self.bus_type)
        if self.bus_type is DiskBus.VIRTIO:
            props |= self.virtio.props()
            if self.kind is DiskKind.LUN and context.site.caps.has_prop("virtio-blk-pci", "scsi"):
                props["scsi"] = True  # what has it (before QEMU 9) has it off
        if self.vhost_user is not None:
            props["chardev"] = f"chr-vu-{self.alias}"
        if self.is_shareable:
            props["share-rw"] = True
        if self.bus_type is not DiskBus.FDC:
            props["bootindex"] = self.boot_order
        if self.manner.cache is not Cache.DEFAULT and self.kind is not DiskKind.LUN:
            props["write-cache"] = "on" if self.manner.cache.has_write_cache else "off"
        return props

    def _driver(self) -> str:
        is_cdrom = self.kind is DiskKind.CDROM
        match self.bus_type:
            case DiskBus.VIRTIO:
                stem = "virtio-blk" if self.vhost_user is None else "vhost-user-blk"
                name = virtio_driver(stem, self.address, self.virtio.model)
            case DiskBus.SCSI if self.kind is DiskKind.LUN:
                name = "scsi-block"
            case DiskBus.SCSI:
                name = "scsi-cd" if is_cdrom else "scsi-hd"
            case DiskBus.USB:
                name = "usb-storage"
            case DiskBus.FDC:
                name = "floppy"
            case _:
                name = "ide-cd" if is_cdrom else "ide-hd"
        return name

    def _place(self, context: Context) -> dict[str, Value]:
        if not isinstance(self.address, DriveAddress):
            return placed(self, context)
        props = drive_props(context, self.bus_type, self.address)
        if self.bus_type is not DiskBus.SCSI or self.kind is DiskKind.LUN:
            return props
        if context.site.caps.has_prop("scsi-hd", "device_id"):
            props["device_id"] = self.look.serial or f"drive-{self.alias}"
        return props

    def _is_narrow(self, context: Context) -> bool:
        """Tell whether libvirt counts eight places on its bus."""
        return controller_model(context, self.bus_type, self._drive.controller) == NARROW


def _check_commands(node: Node, *, is_lun: bool) -> None:
    """Check the commands that a passed-through unit takes from the guest."""
    is_raw, sgio = node.yes_no("rawio"), node.enum("sgio", Sgio, None)
    if is_raw and not is_lun:
        raise node.error("rawio='yes' is for device='lun'")
    if sgio is not None and not is_lun:
        raise node.error("sgio= is for device='lun'")
    if sgio is Sgio.UNFILTERED:
        raise node.error("sgio='unfiltered' is no longer supported by Linux")


def _transience(node: Node) -> Transience | None:
    found = node.child("transient")
    if found is None:
        return None
    return Transience.SHARED if found.yes_no("shareBacking") else Transience.OWN


def _startup(node: Node) -> str | None:
    source = node.child("source")
    return source.get("startupPolicy") if source is not None else None


def _image(node: Node, kind: SourceType, device: DiskKind, driver: Node | None) -> Image | None:
    image_format = RAW
    if driver is not None:
        name = driver.get("name")
        if name not in (None, "qemu"):
            raise driver.error(f"name='{name}' is not supported", hint="qemu")
        written = driver.get("type")
        image_format = RAW if written is None else written
    if kind is SourceType.VHOSTUSER:
        return None
    image = Image.parse(node, kind, image_format)
    if image is not None and device is DiskKind.CDROM:
        image = replace(image, storage=as_cdrom(image.storage))
    if node.child("mirror") is not None:
        node.accept("mirror")  # the job of an earlier run
    if image is None or driver is None:
        return image
    return replace(image, metadata_cache_bytes=metadata_cache(driver))
