"""`<throttlegroups>`: limits of speed that disks share, each a `throttle-group` object.

Sources: libvirt `formatdomain.rst`, "Throttle groups"; QEMU `qapi/block-core.json`, ThrottleLimits.
"""

from collections.abc import Iterator
from itertools import product
from typing import Final, Self

from msgspec import Struct

from qsuper.options import Option, Value
from qsuper.translate.node import Node

_WAYS: Final = ("total", "read", "write")
_QEMU_KIND: Final = {"bytes": "bps", "iops": "iops"}
_LARGEST: Final = (1 << 63) - 1


class ThrottleGroup(Struct, frozen=True, kw_only=True):
    """A set of limits."""

    name: str
    limits: tuple[tuple[str, int], ...]
    """By QEMU's names."""

    @property
    def ident(self) -> str:
        return f"throttle-{self.name}"


class Throttle(Struct, frozen=True):
    """The groups, in the order of the file."""

    groups: tuple[ThrottleGroup, ...] = ()

    @property
    def names(self) -> frozenset[str]:
        """What disks may name."""
        return frozenset(group.name for group in self.groups)

    @classmethod
    def parse(cls, node: Node) -> Self:
        """Read `<throttlegroups>` of `<domain>`.

        Raises:
            ConfigError: a name given twice, limits that exclude each other.
        """
        found = node.child("throttlegroups")
        if found is None:
            return cls()
        groups = tuple(_group(part) for part in found.children("throttlegroup"))
        names = [group.name for group in groups]
        if len(set(names)) != len(names):
            raise found.error("two groups have one name")
        return cls(groups)

    def options(self) -> Iterator[Option]:
        """Give the objects."""
        for group in self.groups:
            if not any(value for _, value in group.limits):
                continue
            limits: dict[str, Value] = dict(group.limits)
            props: dict[str, Value] = {"qom-type": "throttle-group", "id": group.ident}
            yield Option.json("object", {**props, "limits": limits})


def filter_groups(disk: Node) -> tuple[str, ...]:
    """Give the groups that a disk's `<throttlefilters>` names."""
    filters = disk.child("throttlefilters")
    if filters is None:
        return ()
    groups = [part.required("group") for part in filters.children("throttlefilter")]
    if len(set(groups)) != len(groups):
        raise filters.error("a group is named twice", hint="name it once")
    return tuple(groups)


def _check(node: Node) -> None:
    for kind in ("bytes_sec", "iops_sec", "bytes_sec_max", "iops_sec_max"):
        given = [way for way in _WAYS if _number(node, f"{way}_{kind}")]
        if len(given) > 1 and "total" in given:
            raise node.error(f"total_{kind} excludes read_{kind} and write_{kind}")


def _group(node: Node) -> ThrottleGroup:
    _check(node)
    limits: list[tuple[str, int]] = [("iops-size", _number(node, "size_iops_sec") or 0)]
    for way, kind in product(_WAYS, _QEMU_KIND):
        tag, name = f"{way}_{kind}_sec", f"{_QEMU_KIND[kind]}-{way}"
        limits.append((name, _number(node, tag) or 0))
        limits.append((f"{name}-max", _number(node, f"{tag}_max") or 0))
        if length := _number(node, f"{tag}_max_length"):
            limits.append((f"{name}-max-length", length))
    return ThrottleGroup(name=node.required_child("group_name").text, limits=tuple(limits))


def _number(node: Node, tag: str) -> int | None:
    found = node.child(tag)
    return None if found is None else found.integer_text(low=0, high=_LARGEST)
