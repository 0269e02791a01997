"""`<cachetune>` and `<memorytune>`: shares of the host's caches and of its memory's bandwidth.

Source: libvirt `formatdomain.rst`, "CPU Tuning"; `virDomainCachetuneDefParse`,
`virDomainMemorytuneDefParse`.
"""

from enum import StrEnum, unique
from typing import Final

from qsuper.translate.node import Node
from qsuper.translate.parts.cpuset import numbers

_MONITORED_LEVEL: Final = 3
_SHARES: Final = {"cachetune": "cache", "memorytune": "node"}
"""What each of the elements deals out."""
_MOST: Final = (1 << 32) - 1


@unique
class _CacheType(StrEnum):
    BOTH = "both"
    CODE = "code"
    DATA = "data"


def check_resctrl(tune: Node) -> Node | None:
    """Check the elements in `<cputune>`; give the first one.

    Raises:
        ConfigError: something makes no sense.
    """
    groups: list[frozenset[int]] = []
    first: Node | None = None
    for found in tune.children("cachetune", "memorytune"):
        group = numbers(found, found.required("vcpus"), "vcpus=")
        if not any(found.children(_SHARES[found.tag], "monitor")):
            continue  # it asks for nothing
        is_shared = group in groups and found.tag == "memorytune"
        rivals = [] if is_shared else [group & other for other in groups if group & other]
        if rivals:
            raise found.error(
                f"CPU {min(rivals[0])} is in another group, too",
                hint="vcpus= as there, in a <memorytune>, or none of them",
            )
        groups.append(group)
        check = _check_caches if found.tag == "cachetune" else _check_nodes
        check(found)
        _check_monitors(found, group)
        first = first or found
    return first


def _check_caches(found: Node) -> None:
    seen: set[tuple[int, int, _CacheType]] = set()
    for cache in found.children("cache"):
        level = cache.required_integer("level", low=0, high=_MOST)
        number = cache.required_integer("id", low=0, high=_MOST)
        kind = cache.enum("type", _CacheType)
        cache.required("size")
        cache.quantity("size", "B")
        rivals = tuple(_CacheType) if kind is _CacheType.BOTH else (kind, _CacheType.BOTH)
        if any((level, number, rival) in seen for rival in rivals):
            raise cache.error(f"level='{level}' id='{number}' is dealt out twice")
        seen.add((level, number, kind))


def _check_nodes(found: Node) -> None:
    seen: set[int] = set()
    for node in found.children("node"):
        number = node.required_integer("id", low=0, high=_MOST)
        node.required_integer("bandwidth", low=0, high=_MOST)
        if number in seen:
            raise node.error(f"id='{number}' is there twice", hint="remove one")
        seen.add(number)


def _check_monitors(found: Node, group: frozenset[int]) -> None:
    seen: set[int] = set()
    for monitor in found.children("monitor"):
        if found.tag == "cachetune":
            level = monitor.required_integer("level", low=0, high=_MOST)
            if level != _MONITORED_LEVEL:
                raise monitor.error(f"level='{level}' can't be watched", hint="3")
        watched = numbers(monitor, monitor.required("vcpus"), "vcpus=")
        if not watched <= group:
            raise monitor.error(f"CPU {min(watched - group)} is not in the group")
        if watched & seen and watched != group:
            raise monitor.error(f"CPU {min(watched & seen)} is watched twice")
        if watched != group:
            seen |= watched
