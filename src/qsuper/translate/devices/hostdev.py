"""`<hostdev>`: devices of the host, given to the guest whole.

Sources: libvirt `formatdomain.rst`, "Host device assignment"; `qemuBuildHostdevCommandLine()`.
"""

import re
from collections.abc import Iterator
from enum import StrEnum, unique
from typing import ClassVar, Final, Self

from msgspec import field
from msgspec.structs import replace

from qsuper.errors import ConfigError
from qsuper.location import Notice
from qsuper.options import Access, Handle, OpenFile, Option, Props, Value
from qsuper.translate.devices.base import Common, Context, Device, common, placed
from qsuper.translate.node import Node
from qsuper.translate.places import (
    Bus,
    MmioAddress,
    PciAddress,
    PciKind,
    PciTurn,
    UsbAddress,
    UsbTurn,
)
from qsuper.translate.source import StartupPolicy
from qsuper.translate.vfio import HostPci, Rom, refuse_startup_policy, usb_path
from qsuper.translate.virtio import VirtioModel, virtio_address, virtio_driver, virtio_pci_kind

_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_WWPN: Final = re.compile(r"naa\.[0-9a-fA-F]{16}")


@unique
class Kind(StrEnum):
    """What sort of device."""

    PCI = "pci"
    MDEV = "mdev"
    USB = "usb"
    SCSI_HOST = "scsi_host"


@unique
class GuestReset(StrEnum):
    """Whether the guest may reset a USB device."""

    OFF = "off"
    UNINITIALIZED = "uninitialized"
    ON = "on"


_RESETS: Final = {
    GuestReset.OFF: {"guest-reset": False},
    GuestReset.UNINITIALIZED: {"guest-reset": True, "guest-resets-all": False},
    GuestReset.ON: {"guest-reset": True, "guest-resets-all": True},
}


class Hostdev(Device, frozen=True, kw_only=True):
    """A host device."""

    TAG: ClassVar[str] = "hostdev"
    ALIAS: ClassVar[str] = "hostdev"
    ALIAS_SKIPS_NAMED: ClassVar[bool] = True
    PCI_TURN: ClassVar[int] = PciTurn.HOSTDEV
    USB_TURN: ClassVar[int] = UsbTurn.HOSTDEV

    kind: Kind
    source: str
    """What the host calls it; two of one kind can't have one source."""
    props: Props = field(default_factory=dict[str, Value])
    """Those by which QEMU finds it."""
    model: VirtioModel = VirtioModel.VIRTIO
    """Of `scsi_host`."""
    display: str | None = None
    has_ramfb: bool = False
    rom: Rom = field(default_factory=Rom)
    failover_pair: str | None = None
    is_unassigned: bool = False
    """Taken from the host, not seen by the guest."""

    @classmethod
    def claims(cls, node: Node) -> bool:
        return node.get("type") != "scsi"

    @classmethod
    def parse(cls, node: Node) -> Self:
        if (mode := node.get("mode")) not in (None, "subsystem"):
            raise node.error(f"mode='{mode}' is not supported", hint="subsystem")
        kind = node.enum("type", Kind)
        node.ignore("managed")
        rawio = node.get("rawio")
        if rawio is not None:
            raise node.error(f"rawio= is not for type='{kind}'", hint="remove it")
        if node.get("sgio") is not None:
            raise node.error(f"sgio= is not for type='{kind}'", hint="remove it")
        fields, is_unassigned = _common(node)
        if kind is not Kind.USB:
            refuse_startup_policy(node.required_child("source"))
        source, props = _source(node, kind)
        teaming = node.child("teaming")
        is_vfio = kind in (Kind.PCI, Kind.MDEV)
        return cls(
            **fields,
            kind=kind,
            source=source,
            props=props,
            model=_model(node, kind),
            display=_display(node, kind),
            has_ramfb=bool(node.on_off("ramfb")) if is_vfio else False,
            rom=Rom.parse(node) if kind is Kind.PCI else _no_rom(node),
            failover_pair=teaming.required("persistent") if teaming is not None else None,
            is_unassigned=is_unassigned,
        )

    def defaulted(self, context: Context) -> Self:
        if self.kind is Kind.SCSI_HOST:
            return replace(self, address=virtio_address(self, context))
        return self

    def pci_kind(self, context: Context) -> PciKind | None:
        if self.kind is Kind.USB or self.is_unassigned:
            return None
        if self.kind is Kind.SCSI_HOST:
            return virtio_pci_kind(self, context, self.model)
        return PciKind.EXPRESS if context.site.has_pcie_root else PciKind.CONVENTIONAL

    def bus(self, context: Context) -> Bus | None:
        del context
        return Bus.USB if self.kind is Kind.USB else None

    def problems(self, context: Context) -> Iterator[ConfigError]:
        others = [device for device in context.devices("hostdev") if isinstance(device, Hostdev)]
        twins = [
            other for other in others if (other.kind, other.source) == (self.kind, self.source)
        ]
        if twins[0] is not self:
            yield self._error(f"{self.source} stands here twice", "remove one")
        wanted = UsbAddress if self.kind is Kind.USB else PciAddress
        if self.address is not None and not isinstance(self.address, (wanted, MmioAddress)):
            yield self._error("<address type=> does not fit the device", "remove it")
        if self.kind is Kind.USB and self.is_unassigned:
            yield self._error("only a PCI device can be unassigned", "remove <address>")
        if self.kind in (Kind.SCSI_HOST, Kind.MDEV) and self.boot_order is not None:
            yield self._error(f"no guest boots from type='{self.kind}'", "remove <boot>")
        if not context.site.caps.has_type(self._driver()):
            yield self._error(f"this QEMU has no type='{self.kind}'", "remove it")
        if self.display == "on" and not context.has("graphics"):
            yield self._error("display='on' needs <graphics>", "add one")
        if self.has_ramfb and next(other for other in others if other.has_ramfb) is not self:
            yield self._error("only one device can have ramfb='on'", "remove it")

    def notices(self, context: Context) -> Iterator[Notice]:
        del context
        if self.kind is Kind.PCI:
            text = f"<hostdev>: bind {self.source} to vfio-pci yourself, before"
            yield Notice(self.at, text)

    def options(self, context: Context) -> Iterator[Option]:
        if self.is_unassigned:
            return
        own: dict[str, Value] = {"driver": self._driver(), **self.props}
        if self.kind is Kind.SCSI_HOST:
            vhost = OpenFile(name=self.alias, path="/dev/vhost-scsi", access=Access.DEVICE)
            own["vhostfd"] = Handle(resource=vhost, shown="</dev/vhost-scsi>")
        own |= {"display": self.display, "ramfb": True if self.has_ramfb else None}
        own |= {"failover_pair_id": self.failover_pair, "bootindex": self.boot_order}
        rom = self.rom.props() if self.kind is Kind.PCI else {}
        yield Option.json("device", {**own, **placed(self, context), **rom})

    def _driver(self) -> str:
        match self.kind:
            case Kind.USB:
                return "usb-host"
            case Kind.SCSI_HOST:
                return virtio_driver("vhost-scsi", self.address, self.model)
            case _:
                return "vfio-pci-nohotplug" if self.has_ramfb else "vfio-pci"

    def _error(self, message: str, hint: str) -> ConfigError:
        return ConfigError(f"<hostdev>: {message}", at=self.at, hint=hint)


def _common(node: Node) -> tuple[Common, bool]:
    """Read the common elements; `<address type='unassigned'>` is a host device's own."""
    address = node.child("address")
    if address is None or address.get("type") != "unassigned":
        return common(node), False
    return {"at": node.at, "alias": "", "address": None, "boot_order": None}, True


def _display(node: Node, kind: Kind) -> str | None:
    """Read `display=`; libvirt keeps a mediated device's off where nothing is said."""
    if kind not in (Kind.PCI, Kind.MDEV):
        return None
    display = node.on_off("display")
    if display is None and kind is Kind.PCI:
        return None
    return "on" if display else "off"


def _no_rom(node: Node) -> Rom:
    """Read a `<rom>` that has no effect, as with libvirt: the device is no whole PCI device."""
    Rom.parse(node)
    return Rom()


def _model(node: Node, kind: Kind) -> VirtioModel:
    if kind is Kind.SCSI_HOST:
        return node.enum("model", VirtioModel, VirtioModel.VIRTIO)
    model = node.get("model")
    if kind is not Kind.MDEV and model is not None:
        raise node.error(f"model= is not for type='{kind}'", hint="remove it")
    if kind is Kind.MDEV and model != "vfio-pci":
        raise node.error(f"model='{model}' is not supported", hint="vfio-pci")
    return VirtioModel.VIRTIO


def _source(node: Node, kind: Kind) -> tuple[str, Props]:
    source = node.required_child("source")
    match kind:
        case Kind.PCI:
            driver = node.child("driver")
            name = driver.get("name") if driver is not None else None
            if name not in (None, "vfio"):
                raise node.error(f"<driver name='{name}'> is not supported", hint="vfio")
            if source.get("writeFiltering") is not None:
                raise source.error("QEMU knows no writeFiltering=", hint="remove it")
            place = str(HostPci.parse(source.required_child("address")))
            return place, {"host": place}
        case Kind.MDEV:
            uuid = source.required_child("address").required("uuid")
            if not _UUID.fullmatch(uuid):
                raise source.error(f"uuid='{uuid}' is no uuid")
            return uuid, {"sysfsdev": f"/sys/bus/mdev/devices/{uuid}"}
        case Kind.USB:
            return _usb_source(source)
        case Kind.SCSI_HOST:
            if source.required("protocol") != "vhost":
                raise source.error(f"protocol='{source.get('protocol')}' is unknown", hint="vhost")
            wwpn = source.required("wwpn")
            if not _WWPN.fullmatch(wwpn):
                raise source.error(f"wwpn='{wwpn}' is no name", hint="naa.5123456789abcde0")
            return wwpn, {"wwpn": wwpn}


def _usb_source(source: Node) -> tuple[str, Props]:
    source.enum("startupPolicy", StartupPolicy, None)  # checked: none starts without it
    reset = source.enum("guestReset", GuestReset, None)
    resets: Props = _RESETS[reset] if reset is not None else {}
    address = source.child("address")
    if address is not None:
        path = usb_path(address)
        return path, {"hostdevice": path, **resets}
    vendor = source.required_child("vendor").required_integer("id", low=0, high=0xFFFF)
    product = source.required_child("product").required_integer("id", low=0, high=0xFFFF)
    found: Props = {"vendorid": vendor, "productid": product}
    return f"{vendor:04x}:{product:04x}", {**found, **resets}
