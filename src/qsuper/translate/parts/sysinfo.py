"""Who the guest is: uuid, SMBIOS tables, generation id."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from qsuper.options import Option
from qsuper.translate.node import Node
from qsuper.translate.site import Site


@dataclass(frozen=True, slots=True, kw_only=True)
class Sysinfo:
    """What `<sysinfo>`, `<os><smbios>` and `<genid>` say."""

    @classmethod
    def parse(cls, node: Node) -> Self:
        """Read `<sysinfo>` and `<genid>` of `<domain>`."""
        node.child("sysinfo")
        return cls()

    def options(self, site: Site, *, uuid: str) -> Iterator[Option]:
        """Give `-uuid`, `-smbios`, the vmgenid device."""
        del site
        yield Option.word("uuid", uuid)
