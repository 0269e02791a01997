"""`<pm>`: whether the firmware offers sleep states."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from qsuper.options import Option
from qsuper.translate.node import Node
from qsuper.translate.site import Site


@dataclass(frozen=True, slots=True, kw_only=True)
class Pm:
    """Suspend to RAM and to disk; None: QEMU's default."""

    mem: bool | None = None
    disk: bool | None = None

    @classmethod
    def parse(cls, node: Node) -> Self:
        """Read `<pm>` of `<domain>`."""
        node.child("pm")
        return cls()

    def options(self, site: Site) -> Iterator[Option]:
        """Give `-no-shutdown` and the `-global`."""
        del site
        yield Option.flag("no-shutdown")
