"""USB ports: the lowest free one on the lowest bus; hubs are added where there are too few.

Source: libvirt `qemuDomainAssignUSBAddresses`, `virDomainUSBAddressFindFreePort`.
"""

import re
from typing import Final

from msgspec.structs import replace

from qsuper.errors import ConfigError, ConfigErrors
from qsuper.translate.families import ordered, supply
from qsuper.translate.model import Context, Device, Need
from qsuper.translate.places import Bus, UsbAddress

_DEEPEST: Final = 4
_HUB_PORTS: Final = 8
_PORT: Final = re.compile(r"[1-9][0-9]{0,2}(\.[1-9][0-9]{0,2}){0,3}", re.ASCII)

Path = tuple[int, ...]


class _Hub:
    """A controller or hub: so many ports, some of them with another hub."""

    def __init__(self, ports: int) -> None:
        self.ports = ports
        self.taken: dict[int, _Hub | None] = {}

    def free(self, level: int = 1) -> Path | None:
        """Give the path to the first free port: here first, then down each hub."""
        for port in range(1, self.ports + 1):
            if port not in self.taken:
                return (port,)
        if level < _DEEPEST:
            for port, hub in sorted(self.taken.items()):
                path = hub.free(level + 1) if hub is not None else None
                if path is not None:
                    return (port, *path)
        return None

    def below(self, path: Path) -> "_Hub | None":
        """Give the hub at *path*."""
        hub: _Hub | None = self
        for port in path:
            hub = hub.taken.get(port) if hub is not None else None
        return hub


def assign_usb(context: Context) -> Context:
    """Deal USB ports; adds hubs.

    Raises:
        ConfigErrors: a port is used twice or does not exist, or there is no USB.
        ConfigError: no port is left.
    """
    context = _with_hubs(context)
    devices = list(context.domain.devices)
    wanting = [
        number
        for number, device in enumerate(devices)
        if device.bus(context) is Bus.USB and isinstance(device.address, UsbAddress | None)
    ]
    wanting.sort(key=lambda number: devices[number].USB_TURN)
    buses = _buses(devices)
    if wanting and not buses:
        first = devices[wanting[0]]
        hint = "add <controller type='usb'>"
        raise ConfigError(f"<{first.TAG}>: the domain has no USB", at=first.at, hint=hint)
    errors: list[ConfigError] = []
    fixed = [number for number in wanting if _path(devices[number])]
    for number in sorted(fixed, key=lambda number: len(_path(devices[number]) or ())):
        problem = _reserve(buses, devices[number])
        if problem is not None:
            errors.append(problem)
    if errors:
        raise ConfigErrors(errors)
    for number in wanting:
        if number not in fixed:
            devices[number] = _deal(buses, devices[number])
    return replace(context, domain=replace(context.domain, devices=tuple(devices)))


def _with_hubs(context: Context) -> Context:
    """Add as many hubs as it takes to have a port for all, and one to spare."""
    devices = context.domain.devices
    users = [d for d in devices if d.bus(context) is Bus.USB and not d.usb_ports()]
    hubs = [d for d in devices if d.bus(context) is Bus.USB and d.usb_ports()]
    controllers = [d for d in devices if d.bus_key and d.usb_ports()]
    ports = sum(d.usb_ports() for d in controllers) + sum(d.usb_ports() - 1 for d in hubs)
    if not controllers or len(users) <= ports:
        return context
    count = -(-(len(users) - ports + 1) // (_HUB_PORTS - 1))
    made = [supply(Need("usb-hub", number), context.domain.at) for number in range(count)]
    return replace(context, domain=replace(context.domain, devices=ordered((*devices, *made))))


def _buses(devices: list[Device]) -> dict[int, _Hub]:
    return {
        device.bus_key[1]: _Hub(device.usb_ports())
        for device in devices
        if device.bus_key and device.usb_ports()
    }


def _path(device: Device) -> Path | None:
    """Give the port that the file has; None where it is to be dealt.

    Raises:
        ConfigError: it is no port.
    """
    address = device.address
    if not isinstance(address, UsbAddress) or not address.port:
        return None
    if not _PORT.fullmatch(address.port):
        hint = "numbers with dots, at most 4: '1.2'"
        raise ConfigError(f"'{address.port[:60]}' is no USB port", at=device.at, hint=hint)
    return tuple(int(part) for part in address.port.split("."))


def _reserve(buses: dict[int, _Hub], device: Device) -> ConfigError | None:
    path = _path(device)
    if not isinstance(device.address, UsbAddress) or path is None:
        return None
    root = buses.get(device.address.bus)
    if root is None:
        return ConfigError(f"there is no USB bus {device.address.bus}", at=device.at)
    hub = root.below(path[:-1])
    where = f"USB port {device.address.port} of bus {device.address.bus}"
    if hub is None:
        above = ".".join(map(str, path[:-1]))
        return ConfigError(f"{where}: there is no hub at port {above}", at=device.at)
    if path[-1] > hub.ports:
        return ConfigError(f"{where} does not exist", at=device.at, hint=f"1..{hub.ports}")
    if path[-1] in hub.taken:
        return ConfigError(f"{where} is used twice", at=device.at)
    hub.taken[path[-1]] = _hub_of(device)
    return None


def _deal(buses: dict[int, _Hub], device: Device) -> Device:
    chosen = device.address.bus if isinstance(device.address, UsbAddress) else None
    if chosen is not None and chosen not in buses:
        raise ConfigError(f"there is no USB bus {chosen}", at=device.at)
    for number in sorted(buses):
        path = buses[number].free() if chosen in (None, number) else None
        if path is not None:
            hub = buses[number].below(path[:-1])
            if hub is not None:
                hub.taken[path[-1]] = _hub_of(device)
            return replace(device, address=UsbAddress(bus=number, port=".".join(map(str, path))))
    raise ConfigError("no USB port is left", at=device.at, hint="add a USB controller or hub")


def _hub_of(device: Device) -> _Hub | None:
    return _Hub(device.usb_ports()) if device.usb_ports() else None
