"""`<clock>`: what the guest's clocks show, and the timers that tick."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from qsuper.options import Option
from qsuper.translate.node import Node
from qsuper.translate.site import Site


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """The real-time clock and the timers."""

    @classmethod
    def parse(cls, node: Node) -> Self:
        """Read `<clock>` of `<domain>`."""
        node.child("clock")
        return cls()

    def options(self, site: Site) -> Iterator[Option]:
        """Give `-rtc` and the timers' `-global`."""
        del site
        yield Option.keyed("rtc", {"base": "utc"})
