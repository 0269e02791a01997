"""Aliases: every device gets its name, which becomes QEMU's id; block nodes get their numbers.

Source: libvirt `qemuAssignDeviceAliases`, `qemuProcessPrepareDomainStorage`.
"""

from msgspec.structs import replace

from qsuper.errors import ConfigError, ConfigErrors
from qsuper.translate.model import Context, Device, Domain


def assign_aliases(context: Context) -> Domain:
    """Name all devices; a user's own names stay.

    Raises:
        ConfigErrors: two devices have one name.
    """
    counts: dict[str, int] = {}
    devices: list[Device] = []
    for device in context.domain.devices:
        stem = device.stem(context)
        number = counts.get(device.ALIAS, 0)
        if stem is None:
            is_counted = not (device.alias and device.ALIAS_SKIPS_NAMED)
            counts[device.ALIAS] = number + is_counted
            stem = f"{device.ALIAS}{number}"
        devices.append(device if device.alias else replace(device, alias=stem))
    _refuse_twins(devices)
    return replace(context.domain, devices=tuple(devices))


def number_nodes(domain: Domain) -> Domain:
    """Deal the `libvirt-N` numbers: from the last disk to the first, then to SCSI units."""
    first = 1
    devices = list(domain.devices)
    places = range(len(devices))
    followers = [place for place in places if devices[place].numbers_follow]
    leaders = [place for place in reversed(places) if not devices[place].numbers_follow]
    for place in leaders + followers:
        device = devices[place]
        if device.node_count:
            devices[place] = device.numbered(first)
            first += device.node_count
    return replace(domain, devices=tuple(devices))


def _refuse_twins(devices: list[Device]) -> None:
    seen: dict[str, Device] = {}
    errors: list[ConfigError] = []
    for device in devices:
        other = seen.setdefault(device.alias, device)
        if other is not device and device.alias.startswith("ua-"):
            text = f"alias '{device.alias}' is used twice, also in line {other.at.line}"
            errors.append(ConfigError(text, at=device.at))
    if errors:
        raise ConfigErrors(errors)
