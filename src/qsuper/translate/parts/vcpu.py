"""`<vcpu>` and `<cpu><topology>`: how many CPUs, and how they sit."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from qsuper.options import Option
from qsuper.translate.node import Node
from qsuper.translate.site import Site


@dataclass(frozen=True, slots=True, kw_only=True)
class Vcpu:
    """The number of virtual CPUs."""

    maximum: int = 1

    @classmethod
    def parse(cls, node: Node) -> Self:
        """Read `<vcpu>`, `<vcpus>` and `<cpu><topology>` of `<domain>`."""
        vcpu = node.child("vcpu")
        return cls(maximum=vcpu.integer_text(low=1, high=0xFFFF) if vcpu is not None else 1)

    def options(self, site: Site) -> Iterator[Option]:
        """Give `-smp`."""
        del site
        yield Option.keyed(
            "smp",
            {"cpus": self.maximum, "sockets": self.maximum, "cores": 1, "threads": 1},
            implied="cpus",
        )
