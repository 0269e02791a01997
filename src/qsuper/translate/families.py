"""The device families that qsuper knows; a family's module is loaded when a domain needs it.

To add a family: write its module, put its classes in FAMILIES. Where families share an element,
each `claims` its own.
"""

from collections.abc import Iterator
from functools import cache
from importlib import import_module
from typing import Final, NamedTuple, cast

from qsuper.errors import ConfigError
from qsuper.location import Location
from qsuper.translate.model import Context, Device, Need


class Family(NamedTuple):
    """A class of devices, and what makes a domain need it."""

    tag: str
    """The element under `<devices>`."""
    module: str
    """In `qsuper.translate.devices`."""
    name: str
    supplies: str = ""
    """The kind of `Need` that it answers."""
    is_added: bool = False
    """Whether libvirt adds such devices to domains without them."""
    after: str = ""
    """The element that must be there for that; empty where it takes none."""

    def load(self) -> type[Device]:
        return _load(self.module, self.name)


FAMILIES: Final = (
    Family("iommu", "iommu", "Iommu", is_added=True),
    Family("controller", "pci_controller", "PciController", supplies="pci", is_added=True),
    Family("controller", "usb_controller", "UsbController", supplies="usb", is_added=True),
    Family("controller", "scsi_controller", "ScsiController", supplies="scsi"),
    Family("controller", "controller", "IdeController", supplies="ide"),
    Family("controller", "controller", "SataController", supplies="sata", is_added=True),
    Family("controller", "controller", "VirtioSerialController", supplies="virtio-serial"),
    Family("controller", "controller", "FdcController", supplies="fdc"),
    Family("memory", "memory_device", "MemoryDevice"),
    Family("hub", "hub", "Hub", supplies="usb-hub"),
    Family("controller", "ccid", "CcidController", supplies="ccid"),
    Family("disk", "disk", "Disk"),
    Family("filesystem", "filesystem", "Filesystem"),
    Family("interface", "interface", "HostInterface"),
    Family("interface", "interface", "Interface"),
    Family("smartcard", "smartcard", "Smartcard"),
    Family("serial", "serial", "Serial", is_added=True, after="console"),
    Family("parallel", "parallel", "Parallel"),
    Family("channel", "channel", "Channel"),
    Family("console", "serial", "Console", is_added=True, after="console"),
    Family("tpm", "tpm", "Tpm"),
    Family("input", "input", "Input"),
    Family("audio", "audio", "Audio", is_added=True),
    Family("graphics", "vnc", "Vnc"),
    Family("graphics", "spice", "Spice"),
    Family("graphics", "window", "Sdl"),
    Family("graphics", "window", "EglHeadless"),
    Family("graphics", "window", "DbusDisplay"),
    Family("graphics", "window", "RdpDisplay"),
    Family("video", "video", "Video", is_added=True, after="graphics"),
    Family("sound", "sound", "Sound"),
    Family("watchdog", "watchdog", "Watchdog", is_added=True),
    Family("redirfilter", "redirdev", "RedirFilter"),
    Family("redirdev", "redirdev", "Redirdev"),
    Family("hostdev", "hostdev", "Hostdev"),
    Family("hostdev", "scsi_hostdev", "ScsiHostdev"),
    Family("memballoon", "memballoon", "Memballoon", is_added=True),
    Family("rng", "rng", "Rng"),
    Family("panic", "panic", "Panic"),
    Family("shmem", "shmem", "Shmem"),
    Family("vsock", "vsock", "Vsock"),
    Family("crypto", "crypto", "Crypto"),
    Family("pstore", "pstore", "Pstore"),
    Family("lease", "lease", "Lease"),
)
"""In the order in which their options stand on the command line, which is libvirt's."""


_ADDED: Final = [family for family in FAMILIES if family.is_added]
_BY_TAG: Final = {
    tag: [family for family in FAMILIES if family.tag == tag]
    for tag in {family.tag for family in FAMILIES}
}
_PLACES: Final = {(family.module, family.name): number for number, family in enumerate(FAMILIES)}
_TAG_PLACES: Final = {family.tag: number for number, family in reversed([*enumerate(FAMILIES)])}


def of_tag(tag: str) -> Iterator[type[Device]]:
    """Give the classes for an element under `<devices>`."""
    return (family.load() for family in _BY_TAG.get(tag, ()))


def additions(context: Context) -> Iterator[type[Device]]:
    """Give the families of which libvirt may add devices to the domain."""
    for family in _ADDED:
        if not family.after or context.has(family.after):
            yield family.load()


def supply(need: Need, at: Location) -> Device:
    """Make the controller that *need* asks for.

    Raises:
        ConfigError: no family has such a controller.
    """
    for family in FAMILIES:
        if family.supplies == need.kind:
            made = family.load().supplied(need, at)
            if made is not None:
                return made
    raise ConfigError(f"a {need.kind} controller is needed and not supported", at=at)


def ordered(devices: tuple[Device, ...]) -> tuple[Device, ...]:
    """Sort by element, in the order of FAMILIES; what is of one element keeps its order."""
    return tuple(sorted(devices, key=lambda device: _TAG_PLACES[device.TAG]))


def in_order(devices: tuple[Device, ...]) -> list[Device]:
    """Sort by family, as the command line wants it."""
    return sorted(devices, key=lambda device: _place(type(device)))


@cache
def _load(module: str, name: str) -> type[Device]:
    loaded = import_module(f"qsuper.translate.devices.{module}")
    return cast("type[Device]", getattr(loaded, name))


def _place(kind: type[Device]) -> int:
    return _PLACES[kind.__module__.rpartition(".")[2], kind.__name__]
