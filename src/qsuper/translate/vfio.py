"""Host devices given to the guest, by `<hostdev>` and `<interface type='hostdev'>` alike."""

from typing import Self

from msgspec import Struct

from qsuper.options import Value
from qsuper.translate.node import Node


class HostPci(Struct, frozen=True, kw_only=True):
    """The place of a PCI device on the host."""

    domain: int = 0
    bus: int
    slot: int
    function: int = 0

    @classmethod
    def parse(cls, address: Node) -> Self:
        """Read the `<address>` of a `<source>`."""
        address.ignore("type")
        return cls(
            domain=address.integer("domain", low=0, high=0xFFFF) or 0,
            bus=address.integer("bus", low=0, high=0xFF) or 0,
            slot=address.integer("slot", low=0, high=0x1F) or 0,
            function=address.integer("function", low=0, high=7) or 0,
        )

    def __str__(self) -> str:
        """Write it as the kernel does: `0000:03:07.1`."""
        return f"{self.domain:04x}:{self.bus:02x}:{self.slot:02x}.{self.function}"


def usb_path(address: Node) -> str:
    """Read the `<address>` of a `<source>` on USB; give the device's path."""
    bus = address.required_integer("bus", low=0, high=999)
    device = address.required_integer("device", low=0, high=999)
    return f"/dev/bus/usb/{bus:03}/{device:03}"


def host_card(node: Node) -> tuple[str, bool]:
    """Read where the card of an `<interface type='hostdev'>` is, and whether that is on USB."""
    source, driver = node.required_child("source"), node.child("driver")
    address = source.required_child("address")
    is_named = None not in (source.child("vendor"), source.child("product"))
    match "usb" if is_named and not address.has("type") else address.required("type"):
        case "usb":
            return usb_path(address), True
        case "pci":
            if driver is not None and driver.get("name") not in (None, "vfio"):
                raise driver.error(f"name='{driver.get('name')}' is unknown", hint="vfio")
            return str(HostPci.parse(address)), False
        case other:
            raise address.error(f"type='{other}' is not supported", hint="pci or usb")


def refuse_startup_policy(source: Node) -> None:
    """Refuse what only USB devices have."""
    if source.get("startupPolicy") is not None:
        raise source.error("startupPolicy= is for USB devices", hint="remove it")


class Rom(Struct, frozen=True, kw_only=True):
    """`<rom>`: the option ROM that the guest sees."""

    bar: bool | None = None
    file: str | None = None
    """Empty: none."""
    is_said: bool = False
    """Something is said of it, be it what holds anyway."""

    @classmethod
    def parse(cls, device: Node) -> Self:
        """Read a PCI device's `<rom>`."""
        rom = device.child("rom")
        if rom is None:
            return cls()
        file = rom.get("file")
        bar = rom.on_off("bar")
        if rom.yes_no("enabled") is False:
            if file or bar is not None:
                raise rom.error("enabled='no' leaves no place for file= and bar=")
            return cls(file="", is_said=True)
        is_said = bool(rom.attributes)
        return cls(bar=bar, file=rom.resolve(file) if file else file, is_said=is_said)

    def props(self) -> dict[str, Value]:
        """Give the front end's props."""
        return {"rombar": None if self.bar is None else int(self.bar), "romfile": self.file}
