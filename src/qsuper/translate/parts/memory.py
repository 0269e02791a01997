"""`<memory>` and its kin: how much RAM the guest has and what the host backs it with."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from qsuper.options import Option
from qsuper.translate.node import Node
from qsuper.translate.parts.numa import Numa
from qsuper.translate.site import Site


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """The guest's RAM."""

    size_bytes: int
    """What `<memory>` says: all of it, pluggable devices included."""

    @classmethod
    def parse(cls, node: Node) -> Self:
        """Read the memory elements of `<domain>`."""
        return cls(size_bytes=node.required_child("memory").bytes_text())

    def options(self, site: Site, *, numa: Numa, plugged_bytes: int = 0) -> Iterator[Option]:
        """Give `-m`, the object of the RAM, `-overcommit`.

        Args:
            plugged_bytes: Size of all memory devices (dimm, nvdimm, ...) together.
        """
        del site, numa
        yield Option.keyed("m", {"size": f"{(self.size_bytes - plugged_bytes) // 1024}k"})

    def machine_backend(self, site: Site, *, numa: Numa) -> str | None:
        """Give the value of `-machine memory-backend=`; None with NUMA cells."""
        del site, numa
        return None
