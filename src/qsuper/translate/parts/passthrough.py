"""`<qemu:...>`: what the XML says to QEMU itself, and our own metadata."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Self

from qsuper.options import Option
from qsuper.translate.node import Node

QEMU: Final = "{http://libvirt.org/schemas/domain/qemu/1.0}"
OURS: Final = "{urn:qsuper:domain:1}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Passthrough:
    """Arguments, environment and overrides for QEMU."""

    args: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, node: Node) -> Self:
        """Read the elements of the `qemu` namespace, and `<metadata>`."""
        del node
        return cls()

    def compat_options(self) -> Iterator[Option]:
        """Give `-compat`; it stands first."""
        return iter(())

    def options(self) -> Iterator[Option]:
        """Give the user's own arguments."""
        if self.args:
            yield Option.raw(*self.args)

    def overridden(self, option: Option) -> Option:
        """Give *option* with what `<qemu:override>` says of the device of its id."""
        return option
