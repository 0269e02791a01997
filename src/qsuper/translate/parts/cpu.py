"""`<cpu>`: the model of the virtual CPU and its features."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from qsuper.options import Option
from qsuper.translate.node import Node
from qsuper.translate.parts.clock import Clock
from qsuper.translate.parts.features import Features
from qsuper.translate.site import Site


@dataclass(frozen=True, slots=True, kw_only=True)
class Cpu:
    """The CPU that the guest sees."""

    @classmethod
    def parse(cls, node: Node) -> Self:
        """Read `<cpu>` of `<domain>`."""
        node.child("cpu")
        return cls()

    def options(
        self, site: Site, *, features: Features, clock: Clock, has_hyperv_panic: bool = False
    ) -> Iterator[Option]:
        """Give `-cpu`."""
        del site, features, clock, has_hyperv_panic
        yield Option.keyed("cpu", {"": "max"}, implied="")
