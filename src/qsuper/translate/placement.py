"""What is wrong with the places of a domain's devices when all are dealt."""

from collections.abc import Iterator
from typing import Final

from qsuper.errors import ConfigError
from qsuper.translate.model import Context, Device
from qsuper.translate.places import Bus, PciAddress, UsbAddress, VirtioSerialAddress

_KIND: Final = {Bus.USB: UsbAddress, Bus.VIRTIO_SERIAL: VirtioSerialAddress}


def place_problems(context: Context) -> Iterator[ConfigError]:
    """Give the devices on a bus that is none of theirs, and controllers of one type and index."""
    seen: dict[tuple[str, int], Device] = {}
    for device in context.domain.devices:
        yield from _misplaced(device, context)
        if device.bus_key is not None and not device.is_companion:
            kind, index = device.bus_key
            other = seen.setdefault(device.bus_key, device)
            if other is not device:
                text = f"two {kind} controllers have index {index}, also in line {other.at.line}"
                yield ConfigError(text, at=device.at)


def _misplaced(device: Device, context: Context) -> Iterator[ConfigError]:
    machine = context.site.machine
    address = device.address
    is_pci = device.pci_kind(context) is not None
    has_pci = any(each.pci_model for each in context.domain.devices)
    has_none = machine in ("none", "isapc")  # of other boards QEMU knows
    if not has_pci and (isinstance(address, PciAddress) or (is_pci and has_none and not address)):
        yield ConfigError(f"<{device.TAG}>: machine '{machine}' has no PCI", at=device.at)
    if device.acpi_index is not None and not isinstance(address, PciAddress | UsbAddress | None):
        text = f"<{device.TAG}>: only PCI devices have an <acpi index=>"
        yield ConfigError(text, at=device.at, hint="remove it")
    if address is None:
        return
    bus = device.bus(context)
    kind = PciAddress if is_pci else _KIND.get(bus) if bus else None
    if kind is not None and not isinstance(address, kind):
        text = f"<{device.TAG}>: the device is not on a bus with such an <address>"
        hint = f"type='{'pci' if is_pci else bus}', or none"
        yield ConfigError(text, at=device.at, hint=hint)
