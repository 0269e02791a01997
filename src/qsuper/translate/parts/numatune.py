"""`<numatune>`: on which of the host's NUMA nodes the guest's memory lies."""

from collections.abc import Iterator
from enum import StrEnum, unique
from typing import Final, Self

from msgspec import Struct, field

from qsuper.errors import ConfigError
from qsuper.location import Notice
from qsuper.options import Props
from qsuper.translate.node import Node
from qsuper.translate.parts.cpuset import numbers
from qsuper.translate.site import Site


@unique
class NumaMode(StrEnum):
    """How strictly the host obeys."""

    STRICT = "strict"
    PREFERRED = "preferred"
    INTERLEAVE = "interleave"
    RESTRICTIVE = "restrictive"
    """By the host's control groups alone: QEMU is told nothing."""


@unique
class _Placement(StrEnum):
    STATIC = "static"
    AUTO = "auto"


_POLICIES: Final = {
    NumaMode.STRICT: "bind",
    NumaMode.PREFERRED: "preferred",
    NumaMode.INTERLEAVE: "interleave",
}


class Binding(Struct, frozen=True, kw_only=True):
    """Where some memory lies."""

    node: Node
    mode: NumaMode
    nodes: frozenset[int] | None
    """None: automatic placement, by a daemon of libvirt's that qsuper has not."""

    def policy(self, site: Site) -> Props:
        """Give `policy` and `host-nodes` of a memory back end."""
        nodes = self.nodes_on(site)
        if self.mode is NumaMode.RESTRICTIVE or not nodes:
            return {}
        return {"host-nodes": nodes, "policy": _POLICIES[self.mode]}

    def nodes_on(self, site: Site) -> list[int]:
        """Give the numbers of the nodes, where the threads belong that touch the memory first."""
        return sorted(self.nodes if self.nodes is not None else site.host.numa_nodes)


class Numatune(Struct, frozen=True, kw_only=True):
    """Bindings of all memory, and of single cells."""

    memory: Binding | None = None
    cells: dict[int, Binding] = field(default_factory=dict[int, Binding])

    @classmethod
    def parse(cls, node: Node) -> Self:
        """Read `<numatune>` of `<domain>`.

        Raises:
            ConfigError: an unknown word, a set that is none.
        """
        found = node.child("numatune")
        if found is None:
            return cls(memory=_automatic(node))
        memory = found.child("memory")
        cells: dict[int, Binding] = {}
        for one in found.children("memnode"):
            cell = one.required_integer("cellid", low=0, high=255)
            if cell in cells:
                raise one.error(f"cellid='{cell}' is given twice", hint="one <memnode> per cell")
            nodes = numbers(one, one.required("nodeset"), "nodeset=")
            mode = one.enum("mode", NumaMode, NumaMode.STRICT)
            cells[cell] = Binding(node=one, mode=mode, nodes=nodes)
        automatic = _automatic(node)
        if memory is None:
            return cls(memory=automatic, cells=cells)
        return cls(memory=_memory(memory, is_automatic=automatic is not None), cells=cells)

    def binding(self, cell: int | None) -> Binding | None:
        """Give the binding of the cell, or of memory that is in none (None)."""
        if cell is not None and cell in self.cells:
            return self.cells[cell]
        return self.memory

    def problems(self, site: Site, *, cells: int) -> Iterator[ConfigError]:
        """Give what does not fit the guest's *cells* or the host's nodes."""
        bindings = [*self.cells.values(), *([self.memory] if self.memory is not None else [])]
        here = site.host.numa_nodes
        for binding in bindings:
            away = sorted((binding.nodes or frozenset()) - here) if here else []
            if away:
                yield binding.node.error(f"the host has no NUMA node {away[0]}")
        modes = {binding.mode is NumaMode.RESTRICTIVE for binding in bindings}
        if self.cells and len(modes) > 1:
            yield bindings[0].node.error(
                "mode='restrictive' must be everywhere or nowhere", hint="make the modes agree"
            )
        for cell, binding in self.cells.items():
            if cell >= cells:
                hint = "add it to <cpu><numa>"
                yield binding.node.error(f"the guest has no NUMA cell {cell}", hint=hint)
            if self.memory is not None and self.memory.nodes is None:
                yield binding.node.error(
                    "cells can't be bound where placement is automatic", hint="placement='static'"
                )

    def notices(self, site: Site) -> Iterator[Notice]:
        """Tell that nobody places memory by itself."""
        memory = self.memory
        if memory is not None and memory.nodes is None and not site.host.numa_nodes:
            yield memory.node.notice("automatic placement has no effect: memory is not bound")


def _memory(found: Node, *, is_automatic: bool) -> Binding | None:
    mode = found.enum("mode", NumaMode, NumaMode.STRICT)
    text = found.get("nodeset")
    if not any(found.has(name) for name in ("mode", "nodeset", "placement")):
        return None
    default = _Placement.AUTO if is_automatic and text is None else _Placement.STATIC
    placement = found.enum("placement", _Placement, default)
    if placement is _Placement.AUTO:
        return Binding(node=found, mode=mode, nodes=None)
    if text is None:
        raise found.error("attribute 'nodeset' is missing", hint="or placement='auto'")
    return Binding(node=found, mode=mode, nodes=numbers(found, text, "nodeset="))


def _automatic(node: Node) -> Binding | None:
    """Automatic placement of CPUs places memory, too."""
    vcpu = node.child("vcpu")
    if vcpu is None or vcpu.get("placement") != _Placement.AUTO:
        return None
    return Binding(node=vcpu, mode=NumaMode.STRICT, nodes=None)
