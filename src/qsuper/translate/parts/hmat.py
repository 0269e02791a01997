"""`<interconnects>` and `<cache>` of NUMA cells: how far memory is (ACPI's HMAT)."""

from collections.abc import Iterator
from enum import StrEnum, unique
from typing import Final, Self

from msgspec import Struct

from qsuper.options import Option, Props
from qsuper.translate.node import Node

_KIB: Final = 1024


@unique
class _Access(StrEnum):
    ACCESS = "access"
    READ = "read"
    WRITE = "write"


@unique
class _Associativity(StrEnum):
    NONE = "none"
    DIRECT = "direct"
    FULL = "full"


@unique
class _CachePolicy(StrEnum):
    NONE = "none"
    WRITEBACK = "writeback"
    WRITETHROUGH = "writethrough"


_ASSOCIATIVITY: Final = {
    _Associativity.NONE: "none",
    _Associativity.DIRECT: "direct",
    _Associativity.FULL: "complex",
}
_POLICY: Final = {
    _CachePolicy.NONE: "none",
    _CachePolicy.WRITEBACK: "write-back",
    _CachePolicy.WRITETHROUGH: "write-through",
}
_HIERARCHY: Final = ("memory", "first-level", "second-level", "third-level")


class MemoryCache(Struct, frozen=True, kw_only=True):
    """A cache on the memory side of a cell."""

    cell: int
    level: int
    size_bytes: int
    line_bytes: int
    associativity: str
    policy: str

    @classmethod
    def parse(cls, node: Node, cell: int) -> Self:
        """Read `<cache>` of the cell numbered *cell*.

        Raises:
            ConfigError: an unknown word, a number that is missing or out of range.
        """
        return cls(
            cell=cell,
            level=node.required_integer("level", low=1, high=3),
            size_bytes=_size(node.required_child("size")),
            line_bytes=_size(node.required_child("line")),
            associativity=_ASSOCIATIVITY[node.enum("associativity", _Associativity)],
            policy=_POLICY[node.enum("policy", _CachePolicy)],
        )

    def option(self) -> Option:
        """Give `-numa hmat-cache`."""
        props: Props = {
            "type": "hmat-cache",
            "node-id": self.cell,
            "size": f"{self.size_bytes // _KIB}K",
            "level": self.level,
            "associativity": self.associativity,
            "policy": self.policy,
            "line": self.line_bytes,
        }
        return Option.keyed("numa", props, implied="type")


class Interconnect(Struct, frozen=True, kw_only=True):
    """Latency or bandwidth between two cells."""

    node: Node
    initiator: int
    target: int
    level: int
    data: str
    latency_ns: int | None = None
    bandwidth_kib: int | None = None
    """Per second."""

    @classmethod
    def parse(cls, node: Node) -> Self:
        """Read `<latency>` or `<bandwidth>`.

        Raises:
            ConfigError: an unknown word, a number that is missing or out of range.
        """
        is_latency = node.tag == "latency"
        kind = node.enum("type", _Access)
        latency = node.required_integer("value", low=1, high=0xFFFF) if is_latency else None
        width = None
        if not is_latency:
            node.required("value")
            width = (node.quantity("value") or 0) // _KIB
            if width < 1:
                raise node.error("value is too small", hint="at least 1 KiB")
        return cls(
            node=node,
            initiator=node.required_integer("initiator", low=0, high=255),
            target=node.required_integer("target", low=0, high=255),
            level=node.integer("cache", low=0, high=3) or 0,
            data=f"{kind}-{node.tag}",
            latency_ns=latency,
            bandwidth_kib=width,
        )

    def option(self) -> Option:
        """Give `-numa hmat-lb`."""
        width = self.bandwidth_kib
        props: Props = {
            "type": "hmat-lb",
            "initiator": self.initiator,
            "target": self.target,
            "hierarchy": _HIERARCHY[self.level],
            "data-type": self.data,
            "latency": self.latency_ns,
            "bandwidth": None if width is None else f"{width}K",
        }
        return Option.keyed("numa", props, implied="type")


def parse_interconnects(node: Node) -> Iterator[Interconnect]:
    """Read `<interconnects>` below *node*, which is `<numa>`."""
    parent = node.child("interconnects")
    for found in parent.children("latency", "bandwidth") if parent is not None else ():
        yield Interconnect.parse(found)


def _size(node: Node) -> int:
    text = node.required("value")
    del text
    return node.quantity("value") or 0
