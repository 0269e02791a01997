"""What all virtio devices share: the name per bus, the place, the options of `<driver>`.

Source: libvirt `formatdomain.rst`, "Virtio-related options", "Virtio transitional devices".
"""

from enum import StrEnum, unique
from typing import Final, Self

from msgspec import Struct

from qsuper.options import Value
from qsuper.translate.model import Context, Device
from qsuper.translate.node import Node
from qsuper.translate.places import Address, MmioAddress, PciKind


@unique
class VirtioModel(StrEnum):
    """Which virtio standards the device speaks on PCI."""

    VIRTIO = "virtio"
    """Left to QEMU: transitional on PCI, modern on PCI Express."""
    TRANSITIONAL = "virtio-transitional"
    NON_TRANSITIONAL = "virtio-non-transitional"


_SUFFIX: Final = {
    VirtioModel.VIRTIO: "",
    VirtioModel.TRANSITIONAL: "-transitional",
    VirtioModel.NON_TRANSITIONAL: "-non-transitional",
}


class VirtioOptions(Struct, frozen=True, kw_only=True):
    """The attributes of `<driver>` that every virtio device may have; None: QEMU's default."""

    iommu: bool | None = None
    ats: bool | None = None
    packed: bool | None = None
    page_per_vq: bool | None = None

    @classmethod
    def parse(cls, driver: Node | None) -> Self:
        """Read them from a device's `<driver>`, if there is one."""
        if driver is None:
            return cls()
        return cls(
            iommu=driver.on_off("iommu"),
            ats=driver.on_off("ats"),
            packed=driver.on_off("packed"),
            page_per_vq=driver.on_off("page_per_vq"),
        )

    @property
    def is_default(self) -> bool:
        """Nothing of it is written."""
        return self == VirtioOptions()

    def props(self) -> dict[str, Value]:
        """Give the front end's props; what is None is not written."""
        return {
            "iommu_platform": self.iommu,
            "ats": self.ats,
            "packed": self.packed,
            "page-per-vq": self.page_per_vq,
        }


def virtio_driver(
    stem: str, address: Address | None, model: VirtioModel = VirtioModel.VIRTIO
) -> str:
    """Give QEMU's name of a virtio device: `virtio-net` becomes `virtio-net-pci` on PCI."""
    if isinstance(address, MmioAddress):
        return f"{stem}-device"
    return f"{stem}-pci{_SUFFIX[model]}"


def virtio_address(device: Device, context: Context) -> Address | None:
    """Give the device's address, virtio-mmio where libvirt would take that; for `defaulted`.

    That is on an arm board without PCI, and on `virt` when the file puts any device there.
    """
    if device.address is not None or not uses_mmio(context):
        return device.address
    return MmioAddress()


def uses_mmio(context: Context) -> bool:
    """Tell whether virtio devices without an address go to virtio-mmio."""
    site = context.site
    if site.is_virt:
        return any(isinstance(other.address, MmioAddress) for other in context.domain.devices)
    return site.is_arm and not site.has_pci_root


def virtio_pci_kind(
    device: Device, context: Context, model: VirtioModel = VirtioModel.VIRTIO
) -> PciKind | None:
    """Tell how a virtio device plugs into PCI; None on virtio-mmio."""
    if isinstance(device.address, MmioAddress):
        return None
    if context.site.has_pcie_root and model is not VirtioModel.TRANSITIONAL:
        return PciKind.EXPRESS
    return PciKind.CONVENTIONAL
