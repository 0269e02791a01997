"""`<watchdog>`: what resets a guest that hangs.

Sources: libvirt `formatdomain.rst`, "Watchdog devices"; `qemuBuildWatchdogCommandLine()`.
"""

from collections.abc import Iterator
from enum import StrEnum, unique
from typing import ClassVar, Final, Self

from qsuper.errors import ConfigError
from qsuper.options import Option
from qsuper.translate.devices.base import Context, Device, common, placed
from qsuper.translate.node import Node
from qsuper.translate.places import PciKind, PciTurn


@unique
class Model(StrEnum):
    """The hardware."""

    I6300ESB = "i6300esb"
    IB700 = "ib700"
    ITCO = "itco"
    """Part of q35's chipset: there whether the file says so or not."""
    DIAG288 = "diag288"


@unique
class Action(StrEnum):
    """What happens when the guest has not reported in time."""

    RESET = "reset"
    SHUTDOWN = "shutdown"
    POWEROFF = "poweroff"
    PAUSE = "pause"
    NONE = "none"
    DUMP = "dump"
    INJECT_NMI = "inject-nmi"


_QEMU_ACTION: Final = {Action.DUMP: Action.PAUSE}  # the dump is libvirt's work, not QEMU's


class Watchdog(Device, frozen=True, kw_only=True):
    """A watchdog."""

    TAG: ClassVar[str] = "watchdog"
    ALIAS: ClassVar[str] = "watchdog"
    PCI_TURN: ClassVar[int] = PciTurn.WATCHDOG

    model: Model
    action: Action = Action.RESET

    @classmethod
    def parse(cls, node: Node) -> Self:
        return cls(
            **common(node),
            model=node.enum("model", Model),
            action=node.enum("action", Action, Action.RESET),
        )

    @classmethod
    def missing(cls, context: Context) -> Iterator[Self]:
        present = _watchdogs(context)
        if context.site.is_q35 and all(dog.model is not Model.ITCO for dog in present):
            action = present[0].action if present else Action.RESET
            yield cls(at=context.domain.at, model=Model.ITCO, action=action)

    def pci_kind(self, context: Context) -> PciKind | None:
        del context
        return PciKind.CONVENTIONAL if self.model is Model.I6300ESB else None

    def problems(self, context: Context) -> Iterator[ConfigError]:
        first, *others = _watchdogs(context)
        if self.action is not first.action:
            text = f"action='{self.action}' differs from the other watchdog's '{first.action}'"
            yield self._error(text, "QEMU has one action for all")
        twins = [dog for dog in (first, *others) if dog.model is self.model]
        if self.model is not Model.I6300ESB and self is twins[0] and len(twins) > 1:
            yield self._error(f"there can be one model='{self.model}'", "remove the others")
        if self.model is not Model.I6300ESB and self.address is not None:
            yield self._error(f"model='{self.model}' has no address", "remove <address>")
        if self.model is Model.ITCO:
            if not context.site.is_q35:
                yield self._error("model='itco' is part of q35", "machine='q35'")
        elif self.model is Model.IB700 and not context.site.is_i440fx:
            yield self._error("only i440fx has an ISA bus for model='ib700'", "i6300esb")
        elif self.model is Model.DIAG288 and context.site.arch != "s390x":
            yield self._error("model='diag288' is part of s390x", "i6300esb")
        elif not context.site.caps.has_type(self.model):
            yield self._error(f"this QEMU has no model='{self.model}'", "i6300esb")

    def details(self, context: Context) -> Iterator[tuple[str, str | int | None]]:
        del context
        if self.ordinal:  # libvirt adds a chipset's own too, and only lately writes it
            yield "@model", self.model
            yield "@action", self.action

    def options(self, context: Context) -> Iterator[Option]:
        if self.model is Model.ITCO:
            yield Option.keyed("global", {"ICH9-LPC.noreboot": False})
        else:
            yield Option.json("device", {"driver": str(self.model), **placed(self, context)})
        if self.alias == _watchdogs(context)[-1].alias:
            yield Option.word("watchdog-action", _QEMU_ACTION.get(self.action, self.action))

    def _error(self, message: str, hint: str) -> ConfigError:
        return ConfigError(f"<watchdog>: {message}", at=self.at, hint=hint)


def _watchdogs(context: Context) -> list[Watchdog]:
    found = context.devices("watchdog")
    return [device for device in found if isinstance(device, Watchdog)]
