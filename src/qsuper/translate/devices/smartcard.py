"""`<smartcard>`: a smartcard of the host, or one that comes over the network.

Sources: libvirt `formatdomain.rst`, "Smartcard devices"; `qemuBuildSmartcardCommandLine()`.
"""

from collections.abc import Iterator
from enum import StrEnum, unique
from typing import ClassVar, Final, Self

from msgspec.structs import replace

from qsuper.errors import ConfigError
from qsuper.options import Option, Props, Value
from qsuper.translate.chardev import Chardev
from qsuper.translate.devices.base import Context, Device, common, placed
from qsuper.translate.model import Need
from qsuper.translate.node import Node
from qsuper.translate.places import Bus, CcidAddress

_CERTIFICATES: Final = 3
_DATABASE: Final = "/etc/pki/nssdb"


@unique
class Mode(StrEnum):
    """Where the card is."""

    HOST = "host"
    HOST_CERTIFICATES = "host-certificates"
    PASSTHROUGH = "passthrough"


class Smartcard(Device, frozen=True, kw_only=True):
    """A smartcard in its reader."""

    TAG: ClassVar[str] = "smartcard"
    ALIAS: ClassVar[str] = "smartcard"
    IS_NAMED: ClassVar[bool] = False  # though some libvirts write it, no schema has it

    mode: Mode
    certificates: tuple[str, ...] = ()
    database: str | None = None
    chardev: Chardev | None = None
    """Of `passthrough`."""

    @classmethod
    def parse(cls, node: Node) -> Self:
        mode = node.enum("mode", Mode)
        certificates: tuple[str, ...] = ()
        database: str | None = None
        if mode is Mode.HOST_CERTIFICATES:
            certificates = tuple(part.text for part in node.children("certificate"))
            if len(certificates) != _CERTIFICATES:
                raise node.error(f"{len(certificates)} <certificate>", hint="three are needed")
            database = node.child_text("database") or _DATABASE
            if not database.startswith("/"):
                raise node.error(f"<database> '{database[:60]}' is no absolute path")
        if mode is Mode.PASSTHROUGH:
            node.required("type")
        return cls(
            **common(node),
            mode=mode,
            certificates=certificates,
            database=database,
            chardev=Chardev.parse(node) if mode is Mode.PASSTHROUGH else None,
        )

    def defaulted(self, context: Context) -> Self:
        """Take the first reader that nobody has."""
        if self.address is not None:
            return self
        cards = [card for card in context.devices("smartcard") if card.address is None]
        taken = {
            card.address.controller
            for card in context.devices("smartcard")
            if isinstance(card.address, CcidAddress)
        }
        free = (number for number in range(len(cards) + len(taken)) if number not in taken)
        place = next(number for number, card in zip(free, cards, strict=False) if card is self)
        return replace(self, address=CcidAddress(controller=place, slot=0))

    def implied(self, context: Context) -> Iterator[Need]:
        del context
        if isinstance(self.address, CcidAddress):
            yield Need("ccid", self.address.controller)

    def bus(self, context: Context) -> Bus | None:
        del context
        return Bus.CCID

    def problems(self, context: Context) -> Iterator[ConfigError]:
        if self.chardev:
            yield from self.chardev.problems(context)
        if self.address != CcidAddress(controller=0, slot=0):
            text = "<smartcard>: QEMU has room for one, in reader 0, slot 0"
            yield ConfigError(text, at=self.at, hint="remove the others")
        if not context.site.caps.has_type(self._driver()):
            text = f"<smartcard>: this QEMU has no mode='{self.mode}'"
            yield ConfigError(text, at=self.at, hint="remove it")

    def options(self, context: Context) -> Iterator[Option]:
        own: dict[str, Value] = {"driver": self._driver()}
        if self.chardev:
            yield from self.chardev.options(self.alias, context.site.caps, spice="smartcard")
            own["chardev"] = f"char{self.alias}"
        else:
            own["backend"] = "nss-emulated" if self.mode is Mode.HOST else "certificates"
            own |= {f"cert{n}": text for n, text in enumerate(self.certificates, start=1)}
            own["db"] = self.database
        props: Props = {**own, **placed(self, context)}
        yield Option.json("device", props)

    def _driver(self) -> str:
        return "ccid-card-passthru" if self.mode is Mode.PASSTHROUGH else "ccid-card-emulated"
