"""Boot indexes: from `<boot order=>` of the devices, or from `<os><boot dev=>`.

Source: libvirt `qemuProcessPrepareDeviceBootorder`, `virDomainDefBootOrderPostParse`.
"""

from collections.abc import Iterator

from msgspec.structs import replace

from qsuper.errors import ConfigError
from qsuper.translate.model import Context, Device, Domain


def assign_boot_order(domain: Domain) -> Domain:
    """Give the first device of each kind that `<os><boot dev=>` names its boot index."""
    if any(device.boot_order is not None for device in domain.devices):
        return domain
    wanted = {kind: number for number, kind in enumerate(domain.os.boot_devs or ("hd",), start=1)}
    devices: list[Device] = []
    for device in domain.devices:
        order = wanted.pop(device.boot_class, None) if device.boot_class else None
        devices.append(replace(device, boot_order=order) if order else device)
    return replace(domain, devices=tuple(devices))


def boot_problems(context: Context) -> Iterator[ConfigError]:
    """Give what is wrong with the boot order as the file has it."""
    seen: dict[int, Device] = {}
    for device in context.domain.devices:
        if device.boot_order is None:
            continue
        if context.domain.os.boot_devs:
            hint = "use <boot order=> in the devices or <boot dev=> in <os>"
            yield ConfigError(
                "<boot order=> together with <os><boot dev=>", at=device.at, hint=hint
            )
        if device.boot_order in seen:
            other = seen[device.boot_order].at.line
            text = f"boot order {device.boot_order} is used twice, also in line {other}"
            yield ConfigError(text, at=device.at)
        seen[device.boot_order] = device
