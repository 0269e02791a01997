"""`<iommu>`: what keeps the guest's devices to their memory.

Sources: libvirt `formatdomain.rst`, "IOMMU devices"; `qemuBuildIOMMUCommandLine()`.
"""

from collections.abc import Iterator
from enum import StrEnum, unique
from typing import ClassVar, Final, Self

from qsuper.errors import ConfigError
from qsuper.options import Option, Props
from qsuper.translate.devices.base import Context, Device, common, placed
from qsuper.translate.node import Node
from qsuper.translate.places import PciKind, PciTurn
from qsuper.translate.remapping import needs_remapping


@unique
class Model(StrEnum):
    """The hardware."""

    INTEL = "intel"
    SMMUV3 = "smmuv3"
    """Part of arm's `virt`."""
    VIRTIO = "virtio"


_QEMU: Final = {Model.INTEL: "intel-iommu", Model.VIRTIO: "virtio-iommu"}
_QOM: Final = _QEMU | {Model.VIRTIO: "virtio-iommu-pci"}
"""The types' own names; QEMU's list of types leaves aliases out."""


class Iommu(Device, frozen=True, kw_only=True):
    """An IOMMU."""

    TAG: ClassVar[str] = "iommu"
    ALIAS: ClassVar[str] = "iommu"
    PCI_TURN: ClassVar[int] = PciTurn.IOMMU

    model: Model
    intremap: bool | None = None
    caching_mode: bool | None = None
    eim: bool | None = None
    iotlb: bool | None = None
    aw_bits: int | None = None
    dma_translation: bool | None = None

    @classmethod
    def parse(cls, node: Node) -> Self:
        model = node.enum("model", Model)
        driver = node.child("driver")
        if driver is None:
            return cls(**common(node), model=model)
        if model is not Model.INTEL:
            raise driver.error(f"model='{model}' takes no <driver>", hint="remove it")
        return cls(
            **common(node),
            model=model,
            intremap=driver.on_off("intremap"),
            caching_mode=driver.on_off("caching_mode"),
            eim=driver.on_off("eim"),
            iotlb=driver.on_off("iotlb"),
            aw_bits=driver.integer("aw_bits", low=0, high=64),
            dma_translation=driver.on_off("dma_translation"),
        )

    def pci_kind(self, context: Context) -> PciKind | None:
        del context
        return PciKind.INTEGRATED if self.model is Model.VIRTIO else None

    @classmethod
    def missing(cls, context: Context) -> Iterator[Self]:
        """Without interrupt remapping, a PC's CPUs above the 255th get no interrupts."""
        if needs_remapping(context) and not context.has("iommu"):
            yield cls(at=context.domain.at, model=Model.INTEL, intremap=True, eim=True)

    @property
    def remaps_interrupts(self) -> bool:
        return bool(self.intremap)

    def stem(self, context: Context) -> str | None:
        del context
        return "iommu0"

    def problems(self, context: Context) -> Iterator[ConfigError]:
        site = context.site
        is_arm_virt = site.is_virt and site.is_arm
        fits = {
            Model.INTEL: site.is_q35,
            Model.SMMUV3: is_arm_virt,
            Model.VIRTIO: site.is_q35 or is_arm_virt,
        }
        if not fits[self.model]:
            yield self._error(
                f"machine '{site.machine}' has no model='{self.model}'", "q35 has one"
            )
        elif self.model in _QOM and not site.caps.has_type(_QOM[self.model]):
            yield self._error(f"this QEMU has no model='{self.model}'", "remove it")
        if self.model is Model.VIRTIO and not context.domain.features.has_acpi:
            yield self._error("model='virtio' needs ACPI", "<features><acpi/>")
        if self.intremap and context.domain.features.ioapic != "qemu":
            yield self._error(
                "intremap='on' needs a split I/O APIC", "<features><ioapic driver='qemu'/>"
            )
        if self.address is not None and self.model is not Model.VIRTIO:
            yield self._error(f"model='{self.model}' has no address", "remove <address>")
        if self.eim and not self.intremap:
            yield self._error("eim='on' needs intremap='on'", "add it")
        if needs_remapping(context) and not self.eim:
            yield self._error(
                "more than 255 CPUs need eim='on'", "<driver intremap='on' eim='on'/>"
            )
        if len(list(context.devices("iommu"))) > 1:
            yield self._error("there can be one", "remove the others")

    def machine_props(self, context: Context) -> Props:
        del context
        return {"iommu": "smmuv3"} if self.model is Model.SMMUV3 else {}

    def options(self, context: Context) -> Iterator[Option]:
        if self.model is Model.SMMUV3:
            return
        props: Props = {
            "driver": _QEMU[self.model],
            "intremap": _on_off(self.intremap),
            "caching-mode": self.caching_mode,
            "eim": _on_off(self.eim),
            "aw-bits": self.aw_bits,
            "device-iotlb": self.iotlb,
            "dma-translation": self.dma_translation,
        }
        yield Option.json("device", {**props, **placed(self, context)})

    def _error(self, message: str, hint: str) -> ConfigError:
        return ConfigError(f"<iommu>: {message}", at=self.at, hint=hint)


def _on_off(value: bool | None) -> str | None:  # noqa: FBT001 - the value, not a switch
    if value is None:
        return None
    return "on" if value else "off"
