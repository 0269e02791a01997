"""What is wrong with the PCI side of a domain whose places are dealt."""

from collections.abc import Iterator

from qsuper.errors import ConfigError
from qsuper.translate.model import Context
from qsuper.translate.places import PciAddress


def pci_problems(context: Context) -> Iterator[ConfigError]:
    """Give the devices that need PCI and have none, and controllers of one type and index."""
    machine = context.site.machine
    has_none = machine in ("none", "isapc")  # of other boards QEMU knows
    has_pci = any(device.pci_model for device in context.domain.devices)
    seen: dict[tuple[str, int, int | None], int] = {}
    for device in context.domain.devices:
        needs = isinstance(device.address, PciAddress) or (
            has_none and device.address is None and device.pci_kind(context) is not None
        )
        if needs and not has_pci:
            yield ConfigError(f"<{device.TAG}>: machine '{machine}' has no PCI", at=device.at)
        if device.bus_key is not None:
            key = (*device.bus_key, device.pci_function)
            line = seen.setdefault(key, device.at.line)
            if line != device.at.line:
                text = f"two {key[0]} controllers have index {key[1]}, also in line {line}"
                yield ConfigError(text, at=device.at)
