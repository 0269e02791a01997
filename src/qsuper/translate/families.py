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
from qsuper.translate.devices.disk import Disk
from qsuper.translate.devices.hub import Hub
from qsuper.translate.devices.input import Input
from qsuper.translate.devices.interface import HostInterface, Interface
from qsuper.translate.devices.memballoon import Memballoon
from qsuper.translate.devices.parallel import Parallel
from qsuper.translate.devices.pci_controller import PciController
from qsuper.translate.devices.rng import Rng
from qsuper.translate.devices.scsi_controller import ScsiController
from qsuper.translate.devices.serial import Console, Serial
from qsuper.translate.devices.sound import Sound
from qsuper.translate.devices.spice import Spice
from qsuper.translate.devices.usb_controller import UsbController
from qsuper.translate.devices.video import Video
from qsuper.translate.devices.vnc import Vnc
from qsuper.translate.devices.watchdog import Watchdog
from qsuper.translate.devices.window import DbusDisplay, EglHeadless, Sdl
from qsuper.translate.model import Device

FAMILIES: Final[tuple[type[Device], ...]] = (
    PciController,
    UsbController,
    ScsiController,
    IdeController,
    SataController,
    VirtioSerialController,
    FdcController,
    Hub,
    CcidController,
    Disk,
    # filesystem: here
    HostInterface,
    Interface,
    # smartcard: here
    Serial,
    Parallel,
    Channel,
    Console,
    # tpm: here
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
    # redirdev, hostdev: here
    Memballoon,
    Rng,
    # nvram, panic, shmem, vsock, crypto, pstore: here
)
"""In the order in which their options stand on the command line, which is libvirt's."""
