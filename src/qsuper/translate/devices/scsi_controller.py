"""`<controller type='scsi'>`.

Source: libvirt `formatdomain.rst`, "Controllers"; `qemuBuildControllerSCSIDevProps`.
"""

from collections.abc import Iterator
from enum import StrEnum, unique
from typing import ClassVar, Final, Self

from msgspec import field
from msgspec.structs import replace

from qsuper.errors import ConfigError
from qsuper.location import Location
from qsuper.options import Option, Props, Value
from qsuper.translate.controllers import UNINDEXED
from qsuper.translate.devices.base import Context, Device, common, placed
from qsuper.translate.model import Need
from qsuper.translate.node import Node
from qsuper.translate.order import position
from qsuper.translate.places import PciKind, PciTurn
from qsuper.translate.site import Site
from qsuper.translate.virtio import (
    VirtioModel,
    VirtioOptions,
    virtio_address,
    virtio_driver,
    virtio_pci_kind,
)
from qsuper.translate.vq_mapping import VqMapping


@unique
class ScsiModel(StrEnum):
    """libvirt's names of the controllers."""

    AUTO = "auto"
    BUSLOGIC = "buslogic"
    LSILOGIC = "lsilogic"
    LSISAS1068 = "lsisas1068"
    LSISAS1078 = "lsisas1078"
    VMPVSCSI = "vmpvscsi"
    IBMVSCSI = "ibmvscsi"
    VIRTIO_SCSI = "virtio-scsi"
    TRANSITIONAL = "virtio-transitional"
    NON_TRANSITIONAL = "virtio-non-transitional"
    NCR53C90 = "ncr53c90"
    DC390 = "dc390"
    AM53C974 = "am53c974"


_DRIVER: Final = {
    ScsiModel.LSILOGIC: "lsi",
    ScsiModel.LSISAS1068: "mptsas1068",
    ScsiModel.LSISAS1078: "megasas",
    ScsiModel.VMPVSCSI: "pvscsi",
    ScsiModel.IBMVSCSI: "spapr-vscsi",
    ScsiModel.DC390: "dc390",
    ScsiModel.AM53C974: "am53c974",
}
_QOM: Final = _DRIVER | {
    ScsiModel.LSILOGIC: "lsi53c895a",
    ScsiModel.DC390: "dc390",
    ScsiModel.AM53C974: "am53c974",
}
"""The type's full name; `lsi` is an alias that QEMU's list of types leaves out."""
_FIRST_REG: Final = 0x2000
"""Where libvirt puts the first spapr-vscsi on its bus, each next one 0x1000 higher."""
_VIRTIO: Final = {
    ScsiModel.VIRTIO_SCSI: VirtioModel.VIRTIO,
    ScsiModel.TRANSITIONAL: VirtioModel.TRANSITIONAL,
    ScsiModel.NON_TRANSITIONAL: VirtioModel.NON_TRANSITIONAL,
}


class ScsiController(Device, frozen=True, kw_only=True):
    """A SCSI host bus adapter."""

    TAG: ClassVar[str] = "controller"
    ALIAS: ClassVar[str] = "scsi"
    PCI_TURN: ClassVar[int] = PciTurn.CONTROLLER

    index: int = UNINDEXED
    model: ScsiModel | None = None
    queues: int | None = None
    cmd_per_lun: int | None = None
    max_sectors: int | None = None
    ioeventfd: bool | None = None
    iothread: int | None = None
    mapping: VqMapping = VqMapping()
    virtio: VirtioOptions = field(default_factory=VirtioOptions)

    @classmethod
    def claims(cls, node: Node) -> bool:
        return node.get("type") == "scsi"

    @classmethod
    def parse(cls, node: Node) -> Self:
        index = node.integer("index", low=0, high=255)
        device = cls(
            **common(node),
            index=UNINDEXED if index is None else index,
            model=node.enum("model", ScsiModel, None),
        )
        driver = node.child("driver")
        if driver is None:
            return device
        return replace(
            device,
            queues=driver.integer("queues", low=0, high=0xFFFF) or None,
            cmd_per_lun=driver.integer("cmd_per_lun", low=0, high=0xFFFFFFFF),
            max_sectors=driver.integer("max_sectors", low=0, high=0xFFFFFFFF),
            ioeventfd=driver.on_off("ioeventfd"),
            iothread=driver.integer("iothread", low=0) or None,
            mapping=VqMapping.parse(driver),
            virtio=VirtioOptions.parse(driver),
        )

    @classmethod
    def supplied(cls, need: Need, at: Location) -> Self | None:
        if need.kind != "scsi":
            return None
        return cls(at=at, index=need.index, model=ScsiModel(need.model) if need.model else None)

    def defaulted(self, context: Context) -> Self:
        model = self.model
        if model is None or model is ScsiModel.AUTO:
            model = _default_model(context)
        device = replace(self, model=model)
        return replace(device, address=virtio_address(device, context)) if device.kind else device

    def indexed(self, index: int) -> Self:
        return replace(self, index=index)

    @property
    def kind(self) -> VirtioModel | None:
        """Which virtio; None for the others."""
        return _VIRTIO.get(self.model) if self.model else None

    @property
    def bus_key(self) -> tuple[str, int]:
        return ("scsi", self.index)

    def pci_kind(self, context: Context) -> PciKind | None:
        if self.kind:
            return virtio_pci_kind(self, context, self.kind)
        is_pci = self.model in _DRIVER and self.model is not ScsiModel.IBMVSCSI
        return PciKind.CONVENTIONAL if is_pci else None

    def stem(self, context: Context) -> str:
        del context
        return f"scsi{self.index}"

    def problems(self, context: Context) -> Iterator[ConfigError]:
        if self.model is None:
            yield self._wrong("this QEMU has none of the default models", "write model=")
        elif not self.kind and self.model not in _DRIVER:
            yield self._wrong(f"model='{self.model}' is not supported", "virtio-scsi is")
        elif self.model is not ScsiModel.IBMVSCSI and self._is_missing(context):
            driver = _DRIVER.get(self.model, self.model)
            yield self._wrong(f"this QEMU has no {driver}", "write another model=")
        yield from self._driver_problems(context)

    def obstacles(self, context: Context) -> Iterator[ConfigError]:
        if self.model is ScsiModel.IBMVSCSI and self._is_missing(context):
            yield self._wrong(f"only pseries machines have model='{self.model}'", "virtio-scsi")

    def _is_missing(self, context: Context) -> bool:
        name = _QOM.get(self.model) if self.model is not None else None
        return name is not None and not context.site.caps.has_type(name)

    def _driver_problems(self, context: Context) -> Iterator[ConfigError]:
        written: dict[str, object] = {
            "queues": self.queues,
            "cmd_per_lun": self.cmd_per_lun,
            "max_sectors": self.max_sectors,
            "ioeventfd": self.ioeventfd,
            "iothread": self.iothread,
            "iothreads": self.mapping.rows or None,
        }
        for name, value in written.items():
            if value is not None and not self.kind:
                yield self._wrong(f"<driver {name}> is for virtio-scsi only")
        if self.iothread is not None and self.mapping.rows:
            yield self._wrong("<driver iothread=> together with <iothreads>")
        for thread in [*self.mapping.threads, *([self.iothread] if self.iothread else [])]:
            if thread not in context.domain.iothreads.ids:
                yield self._wrong(f"there is no iothread {thread}", "define it by <iothreads>")
        if self.mapping.rows and not context.site.caps.has_prop(
            "virtio-scsi-pci", "iothread-vq-mapping"
        ):
            yield self._wrong("this QEMU can't map queues to iothreads")
        for text in self.mapping.misfits(self.queues):
            yield self._wrong(text)

    def details(self, context: Context) -> Iterator[tuple[str, str | int | None]]:
        del context
        yield "@type", self.ALIAS
        yield "@index", self.index
        yield "@model", self.model

    def options(self, context: Context) -> Iterator[Option]:
        if self.model is None:
            return
        if not self.kind:
            props = {"driver": _DRIVER[self.model], **placed(self, context)}
            yield Option.json("device", {**props, **self._register(context)})
            return
        own: dict[str, Value] = {
            "driver": virtio_driver("virtio-scsi", self.address, self.kind),
            "iothread": f"iothread{self.iothread}" if self.iothread else None,
            "iothread-vq-mapping": self.mapping.value,
            "num_queues": self.queues,
            "cmd_per_lun": self.cmd_per_lun,
            "max_sectors": self.max_sectors,
            "ioeventfd": self.ioeventfd,
        }
        yield Option.json("device", own | self.virtio.props() | placed(self, context))

    def _register(self, context: Context) -> Props:
        """Give the place of a spapr-vscsi."""
        if self.model is not ScsiModel.IBMVSCSI:
            return {}
        same = [
            other
            for other in context.devices(self.TAG)
            if isinstance(other, ScsiController) and other.model is self.model
        ]
        return {"reg": _FIRST_REG + 0x1000 * position(self, same)}

    def _wrong(self, text: str, hint: str = "") -> ConfigError:
        return ConfigError(f"<controller type='scsi'>: {text}", at=self.at, hint=hint)


def _default_model(context: Context) -> ScsiModel | None:
    site: Site = context.site
    if site.arch in ("s390x", "loongarch64"):
        return ScsiModel.VIRTIO_SCSI
    for model, name in (
        (ScsiModel.LSILOGIC, "lsi53c895a"),
        (ScsiModel.VIRTIO_SCSI, "virtio-scsi-device"),
    ):
        if site.caps.has_type(name):
            return model
    return None
