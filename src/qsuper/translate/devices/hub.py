"""`<hub type='usb'>`.

Source: libvirt `formatdomain.rst`, "Hub devices"; `qemuBuildHubDevProps`.
"""

from collections.abc import Iterator
from typing import ClassVar, Final, Self

from qsuper.location import Location
from qsuper.options import Option
from qsuper.translate.devices.base import Context, Device, common, placed
from qsuper.translate.model import Need
from qsuper.translate.node import Node
from qsuper.translate.places import Bus, UsbTurn

_PORTS: Final = 8


class Hub(Device, frozen=True, kw_only=True):
    """A USB hub: one port becomes eight."""

    TAG: ClassVar[str] = "hub"
    ALIAS: ClassVar[str] = "hub"
    USB_TURN: ClassVar[int] = UsbTurn.HUB

    @classmethod
    def parse(cls, node: Node) -> Self:
        if node.required("type") != "usb":
            raise node.error(f"type='{node.get('type')}' is not supported", hint="usb")
        return cls(**common(node))

    @classmethod
    def supplied(cls, need: Need, at: Location) -> Self | None:
        return cls(at=at) if need.kind == "usb-hub" else None

    def usb_ports(self) -> int:
        return _PORTS

    def bus(self, context: Context) -> Bus:
        del context
        return Bus.USB

    def details(self, context: Context) -> Iterator[tuple[str, str | int | None]]:
        del context
        yield "@type", "usb"

    def options(self, context: Context) -> Iterator[Option]:
        yield Option.json("device", {"driver": "usb-hub"} | placed(self, context))
