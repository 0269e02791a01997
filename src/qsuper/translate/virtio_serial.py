"""Ports of virtio-serial controllers.

Source: libvirt `qemuDomainAssignVirtioSerialAddresses`.
"""

from collections.abc import Iterator

from msgspec.structs import replace

from qsuper.errors import ConfigError
from qsuper.translate.controllers import inserted
from qsuper.translate.families import ordered, supply
from qsuper.translate.model import Context, Device, Need
from qsuper.translate.places import Bus, VirtioSerialAddress

Ports = dict[int, set[int]]
"""The free ports by index of the controller."""


def assign_virtio_serial(context: Context) -> Context:
    """Deal ports to consoles, then to channels: the lowest free one, a new controller when full.

    Raises:
        ConfigError: a port is used twice or does not exist.
    """
    free = _ports(context.domain.devices)
    wanting: list[tuple[int, Device]] = []
    for number, device in enumerate(context.domain.devices):
        if device.bus(context) is not Bus.VIRTIO_SERIAL:
            continue
        if isinstance(device.address, VirtioSerialAddress) and _names_port(device):
            _reserve(free, device, device.address)
        elif isinstance(device.address, VirtioSerialAddress | None):
            wanting.append((number, device))
    wanting.sort(key=lambda row: row[1].FIRST_SERIAL_PORT)
    devices = list(context.domain.devices)
    added: list[Device] = []
    for number, device in wanting:
        place = next(_places(free, device), None)
        if place is None:
            made = supply(Need("virtio-serial", max(free, default=-1) + 1), device.at)
            made = made.defaulted(context)
            added.append(made)
            free |= _ports((made,))
            place = next(_places(free, device), None)
        if place is None or place.port is None:
            raise ConfigError("no virtio-serial port is free", at=device.at)
        free[place.controller].discard(place.port)
        devices[number] = replace(device, address=place)
    result = tuple(devices)
    for controller in added:
        result = inserted(result, controller)
    return replace(context, domain=replace(context.domain, devices=ordered(result)))


def _names_port(device: Device) -> bool:
    """Tell whether the file says which port it is; 0, where the device can't have it, says none."""
    port = device.address.port if isinstance(device.address, VirtioSerialAddress) else None
    return port is not None and (port > 0 or not device.FIRST_SERIAL_PORT)


def _ports(devices: tuple[Device, ...]) -> Ports:
    return {
        device.bus_key[1]: set(range(device.serial_ports()))
        for device in devices
        if device.serial_ports() and device.bus_key
    }


def _places(free: Ports, device: Device) -> Iterator[VirtioSerialAddress]:
    chosen = device.address.controller if isinstance(device.address, VirtioSerialAddress) else None
    for controller in sorted(free):
        if chosen in (None, controller):
            for port in sorted(free[controller]):
                if port >= device.FIRST_SERIAL_PORT:
                    yield VirtioSerialAddress(controller=controller, port=port)


def _reserve(free: Ports, device: Device, address: VirtioSerialAddress) -> None:
    if address.controller not in free:
        text = f"there is no virtio-serial controller {address.controller}"
        raise ConfigError(text, at=device.at)
    if address.port not in free[address.controller]:
        text = f"virtio-serial port {address.port} is taken or does not exist"
        raise ConfigError(text, at=device.at, hint=f"controller {address.controller}")
    free[address.controller].discard(address.port)
