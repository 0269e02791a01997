"""Slots of smartcard readers.

Source: libvirt `virDomainDefMaybeAddSmartcardController`, `qemuDomainAssignCCIDAddresses`.
"""

from dataclasses import replace

from qsuper.translate.model import Context, Device
from qsuper.translate.places import Bus, CcidAddress


def assign_ccid(context: Context) -> Context:
    """Deal slots: the next free one of reader 0."""
    taken = {device.address for device in context.domain.devices}
    devices: list[Device] = []
    for device in context.domain.devices:
        if device.bus(context) is not Bus.CCID or device.address is not None:
            devices.append(device)
            continue
        slot = 0
        while CcidAddress(controller=0, slot=slot) in taken:
            slot += 1
        place = CcidAddress(controller=0, slot=slot)
        taken.add(place)
        devices.append(replace(device, address=place))
    return replace(context, domain=replace(context.domain, devices=tuple(devices)))
