"""`<controller type='ccid'>`: the reader that smartcards are put into, a USB device itself.

Source: libvirt `formatdomain.rst`, "Controllers"; `qemuBuildControllerDevProps`.
"""

from collections.abc import Iterator
from typing import ClassVar, Self

from msgspec.structs import replace

from qsuper.location import Location
from qsuper.options import Option
from qsuper.translate.controllers import UNINDEXED, refuse_scsi_words
from qsuper.translate.devices.base import Context, Device, common, placed
from qsuper.translate.model import Need
from qsuper.translate.node import Node
from qsuper.translate.places import Bus, UsbTurn


class CcidController(Device, frozen=True, kw_only=True):
    """A USB smartcard reader."""

    TAG: ClassVar[str] = "controller"
    ALIAS: ClassVar[str] = "ccid"
    USB_TURN: ClassVar[int] = UsbTurn.CONTROLLER

    index: int = UNINDEXED

    @classmethod
    def claims(cls, node: Node) -> bool:
        return node.get("type") == "ccid"

    @classmethod
    def parse(cls, node: Node) -> Self:
        index = node.integer("index", low=0, high=255)
        if (model := node.get("model")) is not None:
            raise node.error(f"model='{model}' is unknown", hint="remove it")
        refuse_scsi_words(node.child("driver"))
        return cls(**common(node), index=UNINDEXED if index is None else index)

    @classmethod
    def supplied(cls, need: Need, at: Location) -> Self | None:
        return cls(at=at, index=need.index) if need.kind == "ccid" else None

    def indexed(self, index: int) -> Self:
        return replace(self, index=index)

    @property
    def bus_key(self) -> tuple[str, int]:
        return ("ccid", self.index)

    def bus(self, context: Context) -> Bus:
        del context
        return Bus.USB

    def stem(self, context: Context) -> str:
        del context
        return f"ccid{self.index}"

    def details(self, context: Context) -> Iterator[tuple[str, str | int | None]]:
        del context
        yield "@type", self.ALIAS
        yield "@index", self.index

    def options(self, context: Context) -> Iterator[Option]:
        yield Option.json("device", {"driver": "usb-ccid"} | placed(self, context))
