"""What libvirt fills in: identity, default devices, indexes, implied controllers.

Source: libvirt `virDomainDefPostParse`, `qemuDomainDefAddDefaultDevices`,
`virDomainDefAddImplicitControllers`.
"""

from collections.abc import Iterator
from typing import Final
from uuid import UUID, uuid5

from msgspec.structs import replace

from qsuper.errors import ConfigError, ConfigErrors
from qsuper.translate.boot import boot_problems
from qsuper.translate.controllers import UNINDEXED, Devices, inserted
from qsuper.translate.families import additions, ordered, supply
from qsuper.translate.model import Context, Device, Domain, Need
from qsuper.translate.parts.features import Ioapic
from qsuper.translate.remapping import needs_remapping
from qsuper.translate.site import HostData

_NAMESPACE: Final = UUID("6c1b2a5e-6a5b-5b0e-9d59-5d3ec1b7b0ad")  # any one, but always this one
_ORDER: Final = ("scsi", "fdc", "ide", "sata", "virtio-serial", "ccid")
_FILLED: Final = ("scsi", "fdc", "ide", "sata")
"""The types of which all controllers from 0 to the highest exist."""
_MOST_CONTROLLERS: Final = 256


def identify(domain: Domain, host: HostData) -> Domain:
    """Give the domain a uuid that stays, where the file has none; obey the forced accelerator."""
    uuid = domain.uuid or str(uuid5(_NAMESPACE, f"{host.machine_id}/{domain.name}"))
    return replace(domain, uuid=uuid, is_kvm=domain.is_kvm and not host.force_tcg)


def fill_in(context: Context) -> Context:
    """Fill in the devices that are missing and what is missing in the devices.

    Raises:
        ConfigError, ConfigErrors: something is wrong that leaves no place to go on from.
    """
    errors = list(boot_problems(context))
    if errors:
        raise ConfigErrors(errors)
    domain = context.domain
    firmware = domain.os.defaulted(
        context.site, name=domain.name, pm=domain.pm, features=domain.features
    )
    memory = domain.memory
    plugged_bytes = sum(device.plugged_bytes for device in domain.devices)
    left_bytes = (memory.size_bytes or 0) - plugged_bytes
    numa = domain.numa.defaulted(
        domain.vcpu, at=memory.node, slots=memory.slots, size_bytes=left_bytes
    )
    features = domain.features
    remaps = needs_remapping(context) or any(dev.remaps_interrupts for dev in domain.devices)
    if remaps and features.ioapic is None:
        features = replace(features, ioapic=Ioapic.QEMU)
    context = replace(context, domain=replace(domain, os=firmware, numa=numa, features=features))
    # These come with their device, before any is dealt an index; all others after the defaults.
    context = _with(context, _with_implied(context, _early_needs(context)))
    context = _with(context, _indexed(context.domain.devices))
    for family in additions(context):
        for device in family.missing(context):
            context = _with(context, inserted(context.domain.devices, device))
    context = _defaulted(context)
    before = context.domain.devices
    context = _with(context, _with_implied(context, _needs(context)))
    if context.domain.devices != before:
        context = _defaulted(context)
    return context


def _with(context: Context, devices: Devices) -> Context:
    return replace(context, domain=replace(context.domain, devices=ordered(devices)))


def _defaulted(context: Context) -> Context:
    devices: list[Device] = []
    errors: list[ConfigError] = []
    for device in context.domain.devices:
        try:
            devices.append(device.defaulted(context))
        except ConfigError as error:
            errors.append(error)
    if errors:
        raise ConfigErrors(errors)
    return replace(context, domain=replace(context.domain, devices=tuple(devices)))


def _indexed(devices: Devices) -> Devices:
    """Give every controller an index: the lowest that is free, or that of its companions."""
    used = {device.bus_key for device in devices}
    result: Devices = ()
    for device in devices:
        key = device.bus_key
        if key is None or key[1] != UNINDEXED:
            result = (*result, device)
            continue
        index = _index_of_companions(device, result)
        if index is None:
            index = next(number for number in range(len(devices)) if (key[0], number) not in used)
        used.add((key[0], index))
        numbered = device.indexed(index)
        has_companions = device.pci_function is not None
        result = inserted(result, numbered) if has_companions else (*result, numbered)
    return result


def _index_of_companions(device: Device, before: Devices) -> int | None:
    """Give the index of the slot that was begun last and lacks the device's function."""
    functions: dict[int, set[int]] = {}
    for other in before:
        if other.pci_function is not None and other.bus_key and device.bus_key:
            functions.setdefault(other.bus_key[1], set()).add(other.pci_function)
    if device.pci_function is None or not functions:
        return None
    last = list(functions)[-1]
    return None if device.pci_function in functions[last] else last


def _needs(context: Context) -> list[tuple[Need, Device]]:
    return [(need, device) for device in context.domain.devices for need in device.implied(context)]


def _early_needs(context: Context) -> list[tuple[Need, Device]]:
    return [
        (need, device)
        for device in context.domain.devices
        if device.IMPLIES_EARLY
        for need in device.defaulted(context).implied(context)
    ]


def _with_implied(context: Context, wants: list[tuple[Need, Device]]) -> Devices:
    devices = context.domain.devices
    wants.sort(key=lambda want: _ORDER.index(want[0].kind) if want[0].kind in _ORDER else 99)
    have = {device.bus_key for device in devices}
    for need, device in wants:
        if need.index >= _MOST_CONTROLLERS:
            text = f"there can't be a {need.kind} controller {need.index}"
            raise ConfigError(text, at=device.at)
        for index in _indexes(need):
            if (need.kind, index) not in have:
                have.add((need.kind, index))
                made = supply(replace(need, index=index), device.at)
                devices = inserted(devices, made)
    return devices


def _indexes(need: Need) -> Iterator[int]:
    if need.kind in _FILLED:
        yield from range(need.index)
    yield need.index
