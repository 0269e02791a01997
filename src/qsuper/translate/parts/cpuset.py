"""Sets of numbers as libvirt writes them: `0-3,^2,8`."""

import re
from typing import Final

from qsuper.translate.node import Node

_PART: Final = re.compile(r"(\^)?([0-9]{1,6})(?:-([0-9]{1,6}))?", re.ASCII)
MOST: Final = 16384
"""How many numbers a set can hold; libvirt's own limit."""


def numbers(node: Node, text: str, where: str) -> frozenset[int]:
    """Read a set of numbers.

    Args:
        node: The element that holds it, for errors.
        text: Numbers, ranges `A-B` and, after them, exceptions `^A`, between commas.
        where: How errors name it: `cpus=`.

    Raises:
        ConfigError: it is none, or a number is too big.
    """
    result: set[int] = set()
    for part in text.replace(" ", "").split(","):
        found = _PART.fullmatch(part)
        if not found or (found[1] and found[3]):
            raise node.error(f"{where}'{text[:60]}' is no set of numbers", hint="such as 0-3,^2")
        first, last = int(found[2]), int(found[3] or found[2])
        if last < first or last >= MOST:
            raise node.error(f"{where}'{text[:60]}' is out of range", hint=f"0..{MOST - 1}")
        if found[1]:
            result.discard(first)
        else:
            result.update(range(first, last + 1))
    if not result:
        raise node.error(f"{where}'{text[:60]}' is empty", hint="name one at least")
    return frozenset(result)


def ranges(values: frozenset[int]) -> list[str]:
    """Write a set as `0-3` and `8`."""
    result: list[str] = []
    left = sorted(values)
    while left:
        first = last = left.pop(0)
        while left and left[0] == last + 1:
            last = left.pop(0)
        result.append(str(first) if first == last else f"{first}-{last}")
    return result
