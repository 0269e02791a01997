"""PCI places for all devices: a dry run that adds the buses they need, then the real dealing.

Source: libvirt `qemuDomainAssignPCIAddresses`.
"""

from collections.abc import Iterator

from msgspec.structs import replace

from qsuper.translate.controllers import inserted
from qsuper.translate.families import ordered, supply
from qsuper.translate.model import Context, Device, Need
from qsuper.translate.pci_dealer import Dealer
from qsuper.translate.pci_topology import MOST_BUSES, Topology, controller_kind
from qsuper.translate.places import PciAddress, PciKind, PciModel
from qsuper.translate.site import Site


def assign_pci(context: Context) -> Context:
    """Deal PCI places; adds PCI controllers.

    Raises:
        ConfigErrors: an address is taken twice, or is none of this guest's.
        ConfigError: no slot is left.
    """
    if 0 not in _models(context) or not _knows_pci(context.site):
        return context
    topology, context = _dry_run(context)
    context = _with_controllers(context, topology)
    dealer = Dealer(context, _topology(context), grows=False)
    dealer.reserve()
    dealer.deal_all()
    devices = [
        replace(device, address=dealer.places.get(number, device.address))
        for number, device in enumerate(context.domain.devices)
    ]
    return _with(context, tuple(_multifunction(devices)))


def _knows_pci(site: Site) -> bool:
    """Tell whether places are dealt on this machine; on others QEMU finds them itself."""
    if site.is_arm:
        return site.is_virt or site.has_pci_root
    return site.machine not in ("none", "isapc")


def _dry_run(context: Context) -> tuple[Topology, Context]:
    """Find out which buses the guest needs, and which devices must move for one of them."""
    known = _models(context)
    topology = _topology(context)
    dealer = Dealer(context, topology, grows=True)
    dealer.reserve()
    if not topology.is_express and not all(bus.is_full for bus in topology.buses):
        dealer.deal(PciKind.CONVENTIONAL)  # room for a bridge, should there be need of one
    dealer.deal_all()
    if topology.is_express and max(known) == 0 and len(topology.buses) > 1:
        dealer.deal(PciKind.EXPRESS)  # a free port for a device plugged in later
    index = 1
    while index < len(topology.buses):  # which may add to them
        bus = topology.buses[index]
        if index not in known and not bus.has_port:
            dealer.deal(controller_kind(bus.model))
        index += 1
    devices = tuple(
        replace(device, address=dealer.moved.get(number, device.address))
        for number, device in enumerate(context.domain.devices)
    )
    return topology, _with(context, devices)


def _topology(context: Context) -> Topology:
    prefers_dmi = not context.site.caps.has_type("pcie-pci-bridge")
    return Topology(_models(context), prefers_dmi=prefers_dmi)


def _models(context: Context) -> dict[int, PciModel]:
    return {
        device.bus_key[1]: device.pci_model
        for device in context.domain.devices
        if device.pci_model is not None and device.bus_key and device.bus_key[1] < MOST_BUSES
    }


def _with_controllers(context: Context, topology: Topology) -> Context:
    """Add the controllers of the buses that the dry run found wanting."""
    known = _models(context)
    devices = context.domain.devices
    for bus in topology.buses:
        if bus.index not in known:
            made = supply(Need("pci", bus.index, bus.model), context.domain.at)
            devices = inserted(devices, made.defaulted(context))
    return _with(context, ordered(devices))


def _with(context: Context, devices: tuple[Device, ...]) -> Context:
    return replace(context, domain=replace(context.domain, devices=devices))


def _multifunction(devices: list[Device]) -> Iterator[Device]:
    """Mark function 0 of every slot that has others."""
    shared = {
        (device.address.bus, device.address.slot)
        for device in devices
        if isinstance(device.address, PciAddress) and device.address.function
    }
    for device in devices:
        address = device.address
        if (
            isinstance(address, PciAddress)
            and address.function == 0
            and address.multifunction is None
            and (address.bus, address.slot) in shared
        ):
            yield replace(device, address=replace(address, multifunction=True))
        else:
            yield device
