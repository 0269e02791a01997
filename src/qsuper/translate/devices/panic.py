"""`<panic>`: how a guest tells that it has crashed.

Sources: libvirt `formatdomain.rst`, "Panic device"; `qemuBuildPanicCommandLine()`.
"""

from collections.abc import Iterator
from enum import StrEnum, unique
from typing import ClassVar, Self

from msgspec.structs import replace

from qsuper.errors import ConfigError
from qsuper.options import Option
from qsuper.translate.devices.base import Context, Device, common, placed
from qsuper.translate.node import Node
from qsuper.translate.places import IsaAddress, PciKind, PciTurn


@unique
class Model(StrEnum):
    """The hardware."""

    ISA = "isa"
    PVPANIC = "pvpanic"
    """On PCI."""
    HYPERV = "hyperv"
    """A feature of the CPU."""
    PSERIES = "pseries"
    """Part of the machine."""
    S390 = "s390"
    """Part of the CPU."""


class Panic(Device, frozen=True, kw_only=True):
    """A panic device."""

    TAG: ClassVar[str] = "panic"
    ALIAS: ClassVar[str] = "panic"
    PCI_TURN: ClassVar[int] = PciTurn.PANIC

    model: Model | None = None
    """None until defaults."""
    is_on_pci: bool = False
    """The file says so, if not where."""

    @classmethod
    def parse(cls, node: Node) -> Self:
        address = node.child("address")
        return cls(
            **common(node),
            model=node.enum("model", Model, None),
            is_on_pci=address is not None and address.get("type") == "pci",
        )

    def defaulted(self, context: Context) -> Self:
        return replace(self, model=self.model or _default_model(context))

    def pci_kind(self, context: Context) -> PciKind | None:
        del context
        return PciKind.INTEGRATED if self.model is Model.PVPANIC else None

    @property
    def needs_hv_crash(self) -> bool:
        return self.model is Model.HYPERV

    def problems(self, context: Context) -> Iterator[ConfigError]:
        site = context.site
        fits = {
            Model.ISA: site.is_x86 and site.caps.has_type("pvpanic"),
            Model.PVPANIC: site.caps.has_type("pvpanic-pci"),
            Model.HYPERV: site.is_x86,
            Model.PSERIES: site.machine.startswith("pseries"),
            Model.S390: site.arch == "s390x",
        }
        is_isa = self.model is Model.ISA and isinstance(self.address, IsaAddress)
        has_address = self.address is not None or self.is_on_pci
        if has_address and not is_isa and self.model is not Model.PVPANIC:
            text = f"<panic>: model='{self.model}' has no such <address>"
            yield ConfigError(text, at=self.at, hint="remove it")
        if self.model is None:
            text = f"<panic>: machine '{site.machine}' has no default for model="
            yield ConfigError(text, at=self.at, hint="pvpanic")
        elif not fits[self.model]:
            models = ", ".join(model for model, fit in fits.items() if fit)
            text = f"<panic>: machine '{site.machine}' has no model='{self.model}'"
            yield ConfigError(text, at=self.at, hint=models)
        twins = [getattr(other, "model", None) for other in context.devices("panic")]
        if twins.count(self.model) > 1:
            text = f"<panic>: there can be one model='{self.model}'"
            yield ConfigError(text, at=self.at, hint="remove the others")

    def details(self, context: Context) -> Iterator[tuple[str, str | int | None]]:
        del context
        yield "@model", self.model

    def options(self, context: Context) -> Iterator[Option]:
        if self.model is Model.ISA:
            port = (self.address.iobase or 0) if isinstance(self.address, IsaAddress) else None
            yield Option.json("device", {"driver": "pvpanic", "ioport": port})
        elif self.model is Model.PVPANIC:
            place = placed(self, context) | {"id": None}
            yield Option.json("device", {"driver": "pvpanic-pci", **place})


def _default_model(context: Context) -> Model | None:
    site = context.site
    if site.machine.startswith("pseries"):
        return Model.PSERIES
    if site.arch == "s390x":
        return Model.S390
    if site.is_x86:
        return Model.ISA
    return Model.PVPANIC if site.is_arm and site.is_virt else None
