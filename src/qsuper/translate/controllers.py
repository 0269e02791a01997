"""The list of devices with its controllers in libvirt's order: grouped by type, by index within.

The order decides which controller gets which PCI slot.

Source: libvirt `virDomainControllerInsertPreAlloced`.
"""

from typing import Final

from qsuper.errors import ConfigError
from qsuper.location import Location
from qsuper.translate.model import Device, Need

Devices = tuple[Device, ...]

UNINDEXED: Final = -1
"""The index of a controller that the file leaves without one."""


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


def supply(families: tuple[type[Device], ...], need: Need, at: Location) -> Device:
    """Make the controller that *need* asks for.

    Raises:
        ConfigError: no family has such a controller.
    """
    for family in families:
        made = family.supplied(need, at)
        if made is not None:
            return made
    raise ConfigError(f"a {need.kind} controller is needed and not supported", at=at)


def _is_companion(device: Device, new: Device) -> bool:
    """Tell whether *device* serves the main controller *new*: the main one stands first."""
    return device.is_companion and not new.is_companion
