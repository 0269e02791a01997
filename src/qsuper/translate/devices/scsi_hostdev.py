"""`<hostdev type='scsi'>`: a SCSI unit of the host, or of an iSCSI target, given to the guest.

Sources: libvirt `formatdomain.rst`, "Host device assignment"; `virDomainHostdevAssignAddress`,
`qemuBuildSCSIHostdevDevProps`.
"""

from collections.abc import Iterator
from itertools import islice, product
from typing import ClassVar, Final, Self

from msgspec.structs import replace

from qsuper.errors import ConfigError
from qsuper.options import Option, Props, Value
from qsuper.translate.devices.base import Context, Device, common
from qsuper.translate.disk_target import NARROW, controller_model, drive_props
from qsuper.translate.model import Need
from qsuper.translate.netstorage import IscsiStorage
from qsuper.translate.node import Node
from qsuper.translate.order import position
from qsuper.translate.places import DriveAddress
from qsuper.translate.site import HostData
from qsuper.translate.source import SourceType, parse_source
from qsuper.translate.vfio import Rom, refuse_startup_policy

_UNITS: Final = 7
"""What libvirt deals out of a controller, whatever its model has."""
_LAST_WIDE_UNIT: Final = 16383


class ScsiHostdev(Device, frozen=True, kw_only=True):
    """A SCSI unit."""

    TAG: ClassVar[str] = "hostdev"
    ALIAS: ClassVar[str] = "hostdev"
    ALIAS_SKIPS_NAMED: ClassVar[bool] = True
    IMPLIES_EARLY: ClassVar[bool] = True

    unit: str = ""
    """Of the host: HOST:BUS:TARGET:UNIT; empty for iSCSI."""
    iscsi: IscsiStorage | None = None
    is_readonly: bool = False
    node: str = ""

    @classmethod
    def claims(cls, node: Node) -> bool:
        return node.get("type") == "scsi"

    @classmethod
    def parse(cls, node: Node) -> Self:
        if (mode := node.get("mode")) not in (None, "subsystem"):
            raise node.error(f"mode='{mode}' is not supported", hint="subsystem")
        if node.get("model") is not None:
            raise node.error("model= is not for type='scsi'", hint="remove it")
        node.yes_no("rawio")  # whether QEMU may send all commands is the host's
        node.ignore("managed", "type")
        if (sgio := node.get("sgio")) not in (None, "filtered"):
            raise node.error(f"sgio='{sgio}' is not supported by Linux", hint="filtered")
        fields = common(node)
        if fields["address"] is not None and not isinstance(fields["address"], DriveAddress):
            raise node.error("<address type=> does not fit the device", hint="drive")
        node.accept("shareable")
        if Rom.parse(node).is_said:
            raise node.error("<rom> is for devices on PCI", hint="remove it")
        source = node.required_child("source")
        refuse_startup_policy(source)
        iscsi = _iscsi(node, source)
        return cls(
            **fields,
            unit="" if iscsi is not None else _unit(source),
            iscsi=iscsi,
            is_readonly=node.child("readonly") is not None,
        )

    # Defaults

    def defaulted(self, context: Context) -> Self:
        if self.address is not None:
            return self
        units = list(_units(context))
        taken = {device.address for device in units}
        taken |= set(_disk_places(context))
        mine = sum(device.address is None for device in units[: position(self, units)])
        free = (place for place in _places() if place not in taken)
        return replace(self, address=next(islice(free, mine, None)))

    def implied(self, context: Context) -> Iterator[Need]:
        yield Need("scsi", self._place.controller, _model_of_added(context))

    @property
    def node_count(self) -> int:
        return 1

    @property
    def numbers_follow(self) -> bool:
        return True

    def numbered(self, first: int) -> Self:
        return replace(self, node=f"libvirt-{first}-backend")

    # Check

    def problems(self, context: Context) -> Iterator[ConfigError]:
        mine = position(self, _units(context))
        for other in list(_units(context))[:mine]:
            if other._source == self._source:  # noqa: SLF001 - of this class
                name = self.unit or "one iSCSI unit"
                yield self._error(f"{name} stands here twice", "remove one")
            if other.address == self.address:
                yield self._error(f"its place is taken, by line {other.at.line}")
        if self.address in list(_disk_places(context)):
            yield self._error("its place is taken, by a disk")
        if not context.site.caps.has_type("scsi-generic"):
            yield self._error("this QEMU has no type='scsi'", "remove it")
        if self.iscsi is None and not _generic_device(context.site.host, self.unit):
            yield self._error(f"the host has no SCSI unit {self.unit}", "see `lsscsi`")
        place = self._place
        if place.unit > _LAST_WIDE_UNIT or place.bus or place.target > 0xFF:  # noqa: PLR2004
            yield self._error("SCSI controllers have no such place", "controller, target, unit")
        if controller_model(context, "scsi", place.controller) == NARROW and (
            place.target or place.unit > _UNITS
        ):
            hint = "model='virtio-scsi' has room for more"
            yield self._error("its SCSI controller has no such place", hint)

    @property
    def _source(self) -> Props:
        """What tells one unit from another."""
        return {"unit": self.unit} if self.iscsi is None else self.iscsi.props("")

    def _error(self, message: str, hint: str = "") -> ConfigError:
        return ConfigError(f"<hostdev>: {message}", at=self.at, hint=hint)

    # Options

    def options(self, context: Context) -> Iterator[Option]:
        props: dict[str, Value]
        if self.iscsi is not None:
            secret = f"{self.node}-secret0"
            props = self.iscsi.props(self.node)
            if self.iscsi.auth is not None:
                yield self.iscsi.auth.secret.option(secret, context.site.host)
                props["password-secret"] = secret
        else:
            path = _generic_device(context.site.host, self.unit)
            props = {"driver": "host_device", "filename": path}
        props |= {"node-name": self.node, "read-only": self.is_readonly}
        yield Option.json("blockdev", props)
        placed = drive_props(context, "scsi", self._place)
        own: dict[str, Value] = {"driver": "scsi-generic", "drive": self.node, "id": self.alias}
        yield Option.json("device", {**own, **placed, "bootindex": self.boot_order})

    @property
    def _place(self) -> DriveAddress:
        return self.address if isinstance(self.address, DriveAddress) else DriveAddress()


def _generic_device(host: HostData, unit: str) -> str:
    """Give `/dev/sgN`; empty where the host has none such."""
    return host.scsi_generic.get(unit) or host.reference_scsi_generic


def _unit(source: Node) -> str:
    adapter = source.required_child("adapter").required("name")
    number = adapter.removeprefix("scsi_host")
    if not (number.isascii() and number.isdigit()):
        raise source.error(f"<adapter name='{adapter}'> is unknown", hint="scsi_host0")
    place = source.required_child("address")
    place.ignore("type")
    parts = [place.required_integer(key, low=0) for key in ("bus", "target", "unit")]
    return ":".join(map(str, [number, *parts]))


def _iscsi(node: Node, source: Node) -> IscsiStorage | None:
    protocol = source.get("protocol")
    if protocol in (None, "adapter"):
        return None
    if protocol != "iscsi":
        raise source.error(f"protocol='{protocol}' is not supported", hint="iscsi")
    storage = parse_source(node, SourceType.NETWORK)
    return storage if isinstance(storage, IscsiStorage) else None


def _units(context: Context) -> Iterator[ScsiHostdev]:
    for device in context.devices("hostdev"):
        if isinstance(device, ScsiHostdev):
            yield device


def _places() -> Iterator[DriveAddress]:
    for controller, unit in product(range(1 << 16), range(_UNITS)):
        yield DriveAddress(controller=controller, unit=unit)


def _disk_places(context: Context) -> Iterator[DriveAddress]:
    """Give the places of the SCSI disks."""
    for disk in context.devices("disk"):
        placed = disk.defaulted(context)
        is_scsi = any(need.kind == "scsi" for need in placed.implied(context))
        if is_scsi and isinstance(placed.address, DriveAddress):
            yield placed.address


def _controller_models(context: Context) -> dict[int, str]:
    return {
        device.bus_key[1]: str(getattr(device, "model", None) or "")
        for device in context.devices("controller")
        if device.bus_key is not None and device.bus_key[0] == "scsi"
    }


def _model_of_added(context: Context) -> str | None:
    """Give the model of the controllers added for SCSI units: that of the last one in use."""
    models = _controller_models(context)
    highest, model = -1, None
    for device in _units(context):
        address = device.defaulted(context).address
        index = address.controller if isinstance(address, DriveAddress) else 0
        if index > highest:
            highest, model = index, models.get(index) or model
    return model
