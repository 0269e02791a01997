"""The device families that qsuper knows.

To add a family: write its module, put its classes in FAMILIES. Where families share an element,
each `claims` its own.
"""

from typing import Final

from qsuper.translate.devices.audio import Audio
from qsuper.translate.devices.ccid import CcidController
from qsuper.translate.devices.channel import Channel
from qsuper.translate.devices.controller import (
    FdcController,
    IdeController,
    SataController,
    VirtioSerialController,
)
from qsuper.translate.devices.crypto import Crypto
from qsuper.translate.devices.disk import Disk
from qsuper.translate.devices.filesystem import Filesystem
from qsuper.translate.devices.hostdev import Hostdev
from qsuper.translate.devices.hub import Hub
from qsuper.translate.devices.input import Input
from qsuper.translate.devices.interface import HostInterface, Interface
from qsuper.translate.devices.iommu import Iommu
from qsuper.translate.devices.lease import Lease
from qsuper.translate.devices.memballoon import Memballoon
from qsuper.translate.devices.memory_device import MemoryDevice
from qsuper.translate.devices.panic import Panic
from qsuper.translate.devices.parallel import Parallel
from qsuper.translate.devices.pci_controller import PciController
from qsuper.translate.devices.pstore import Pstore
from qsuper.translate.devices.redirdev import Redirdev, RedirFilter
from qsuper.translate.devices.rng import Rng
from qsuper.translate.devices.scsi_controller import ScsiController
from qsuper.translate.devices.scsi_hostdev import ScsiHostdev
from qsuper.translate.devices.serial import Console, Serial
from qsuper.translate.devices.shmem import Shmem
from qsuper.translate.devices.smartcard import Smartcard
from qsuper.translate.devices.sound import Sound
from qsuper.translate.devices.spice import Spice
from qsuper.translate.devices.tpm import Tpm
from qsuper.translate.devices.usb_controller import UsbController
from qsuper.translate.devices.video import Video
from qsuper.translate.devices.vnc import Vnc
from qsuper.translate.devices.vsock import Vsock
from qsuper.translate.devices.watchdog import Watchdog
from qsuper.translate.devices.window import DbusDisplay, EglHeadless, Sdl
from qsuper.translate.model import Device

FAMILIES: Final[tuple[type[Device], ...]] = (
    Iommu,
    PciController,
    UsbController,
    ScsiController,
    IdeController,
    SataController,
    VirtioSerialController,
    FdcController,
    MemoryDevice,
    Hub,
    CcidController,
    Disk,
    Filesystem,
    HostInterface,
    Interface,
    Smartcard,
    Serial,
    Parallel,
    Channel,
    Console,
    Tpm,
    Input,
    Audio,
    Vnc,
    Spice,
    Sdl,
    EglHeadless,
    DbusDisplay,
    Video,
    Sound,
    Watchdog,
    RedirFilter,
    Redirdev,
    Hostdev,
    ScsiHostdev,
    Memballoon,
    Rng,
    Panic,
    Shmem,
    Vsock,
    Crypto,
    Pstore,
    Lease,
)
"""In the order in which their options stand on the command line, which is libvirt's."""
