"""Where a device stands among its like; two on one line of the file may be equal."""

from collections.abc import Iterable

from qsuper.translate.model import Device


def position(device: Device, among: Iterable[Device]) -> int:
    """Give the number of *device* itself, not of one that equals it.

    Raises:
        ValueError: it is not there.
    """
    for number, other in enumerate(among):
        if other is device:
            return number
    raise ValueError(f"{device.alias or device.TAG} is not among them")
