"""Places on buses, and what a device asks for when it has none yet."""

from enum import StrEnum, unique
from typing import TypeAlias

from msgspec import Struct


class PciAddress(Struct, frozen=True, kw_only=True):
    """`<address type='pci'>`."""

    bus: int
    """Index of the PCI controller."""
    slot: int
    function: int = 0
    multifunction: bool | None = None
    """None where nothing is said: no option is written."""
    domain: int = 0


class DriveAddress(Struct, frozen=True, kw_only=True):
    """`<address type='drive'>`: IDE, SATA, SCSI, floppy."""

    controller: int = 0
    bus: int = 0
    target: int = 0
    unit: int = 0


class UsbAddress(Struct, frozen=True, kw_only=True):
    """`<address type='usb'>`."""

    bus: int
    port: str | None = None
    """`1`, or through hubs `1.2.4`; None: still to be dealt."""


class VirtioSerialAddress(Struct, frozen=True, kw_only=True):
    """`<address type='virtio-serial'>`."""

    controller: int = 0
    bus: int = 0
    port: int | None = None
    """None: still to be dealt."""


class CcidAddress(Struct, frozen=True, kw_only=True):
    """`<address type='ccid'>`."""

    controller: int
    slot: int


class IsaAddress(Struct, frozen=True, kw_only=True):
    """`<address type='isa'>`."""

    iobase: int | None = None
    irq: int | None = None


class MmioAddress(Struct, frozen=True):
    """`<address type='virtio-mmio'>`: QEMU places the device."""


class DimmAddress(Struct, frozen=True, kw_only=True):
    """`<address type='dimm'>`."""

    slot: int | None = None
    base: int | None = None


Address: TypeAlias = (
    PciAddress
    | DriveAddress
    | UsbAddress
    | VirtioSerialAddress
    | CcidAddress
    | IsaAddress
    | MmioAddress
    | DimmAddress
)


@unique
class PciKind(StrEnum):
    """How a device plugs into PCI; decides which bus accepts it."""

    CONVENTIONAL = "pci"
    EXPRESS = "pcie"
    INTEGRATED = "integrated"
    """Straight onto the root bus."""
    ROOT_PORT = "root-port"
    SWITCH_UPSTREAM = "switch-upstream"
    SWITCH_DOWNSTREAM = "switch-downstream"
    DMI_BRIDGE = "dmi-to-pci-bridge"
    PCIE_TO_PCI = "pcie-to-pci-bridge"
    PCI_BRIDGE = "pci-bridge"
    EXPANDER = "pci-expander-bus"
    PCIE_EXPANDER = "pcie-expander-bus"


@unique
class PciModel(StrEnum):
    """`<controller type='pci' model=>`: what sort of bus the controller gives."""

    PCI_ROOT = "pci-root"
    PCIE_ROOT = "pcie-root"
    PCI_BRIDGE = "pci-bridge"
    DMI_BRIDGE = "dmi-to-pci-bridge"
    PCIE_TO_PCI = "pcie-to-pci-bridge"
    ROOT_PORT = "pcie-root-port"
    UPSTREAM = "pcie-switch-upstream-port"
    DOWNSTREAM = "pcie-switch-downstream-port"
    EXPANDER = "pci-expander-bus"
    PCIE_EXPANDER = "pcie-expander-bus"


@unique
class Bus(StrEnum):
    """The buses, other than PCI, on which places are dealt."""

    USB = "usb"
    VIRTIO_SERIAL = "virtio-serial"
    CCID = "ccid"


class PciTurn:
    """When a device's turn comes in the dealing of PCI slots, in libvirt's order."""

    CONTROLLER_PCI = 0
    FILESYSTEM = 10
    INTERFACE = 20
    SOUND = 30
    CONTROLLER = 40
    DISK = 50
    HOSTDEV = 60
    MEMBALLOON = 70
    RNG = 80
    WATCHDOG = 90
    VIDEO = 100
    SHMEM = 110
    INPUT = 120
    SERIAL = 130
    IOMMU = 140
    VSOCK = 150
    MEMORY = 160
    CRYPTO = 170
    PANIC = 180
    PSTORE = 190


class UsbTurn:
    """When a device's turn comes in the dealing of USB ports, in libvirt's order."""

    HUB = 0
    DISK = 10
    INTERFACE = 20
    SOUND = 30
    HOSTDEV = 40
    FILESYSTEM = 50
    CONTROLLER = 60
    SERIAL = 70
    INPUT = 80
    REDIRDEV = 90
