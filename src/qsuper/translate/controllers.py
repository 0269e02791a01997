"""The list of devices with its controllers in libvirt's order: grouped by type, by index within.

The order decides which controller gets which PCI slot.

Source: libvirt `virDomainControllerInsertPreAlloced`.
"""

from typing import Final

from qsuper.translate.model import Device
from qsuper.translate.node import Node

Devices = tuple[Device, ...]

UNINDEXED: Final = -1
"""The index of a controller that the file leaves without one."""
_SCSI_WORDS: Final = ("queues", "cmd_per_lun", "max_sectors", "ioeventfd", "iothread")


def inserted(devices: Devices, new: Device) -> Devices:
    """Put *new* among *devices*: a controller with those of its type, others where they say."""
    if new.bus_key is None:
        where = new.place_among(devices)
        return (*devices[:where], new, *devices[where:])
    kind, index = new.bus_key
    place: int | None = None
    for number in range(len(devices) - 1, -1, -1):
        key = devices[number].bus_key
        if key is None or key[0] != kind:
            continue
        if index == UNINDEXED:
            place = number + 1
            break
        if key[1] > index or (key[1] == index and _is_companion(devices[number], new)):
            place = number
        elif place is None:
            place = number + 1
    if place is None:
        return (*devices, new)
    return (*devices[:place], new, *devices[place:])


def refuse_scsi_words(driver: Node | None) -> None:
    """Refuse what of `<driver>` is only for virtio-scsi."""
    if driver is None:
        return
    for name in _SCSI_WORDS:
        if driver.get(name) is not None:
            raise driver.error(f"{name}= is for virtio-scsi controllers only")
    if driver.child("iothreads") is not None:
        raise driver.error("<iothreads> is for virtio-scsi controllers only")


def _is_companion(device: Device, new: Device) -> bool:
    """Tell whether *device* serves the main controller *new*: the main one stands first."""
    return device.is_companion and not new.is_companion
