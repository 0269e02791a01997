"""`<pm>`: whether the firmware offers sleep states."""

from collections.abc import Iterator
from typing import Self

from msgspec import Struct

from qsuper.errors import ConfigError
from qsuper.options import Option
from qsuper.translate.node import Node
from qsuper.translate.site import Site


class Pm(Struct, frozen=True, kw_only=True):
    """Suspend to RAM and to disk; None: QEMU's default."""

    node: Node | None = None
    mem: bool | None = None
    disk: bool | None = None

    @classmethod
    def parse(cls, node: Node) -> Self:
        """Read `<pm>` of `<domain>`."""
        found = node.child("pm")
        if found is None:
            return cls()
        mem, disk = found.child("suspend-to-mem"), found.child("suspend-to-disk")
        return cls(
            node=found,
            mem=mem.yes_no("enabled") if mem is not None else None,
            disk=disk.yes_no("enabled") if disk is not None else None,
        )

    def problems(self, site: Site) -> Iterator[ConfigError]:
        """Give an error where the machine has no such states to switch."""
        says = not (self.mem is None and self.disk is None)
        if self.node is not None and says and not (site.is_i440fx or site.is_q35):
            yield self.node.error(
                f"machine '{site.machine}' has no sleep states to switch", hint="remove it"
            )

    def options(self, site: Site) -> Iterator[Option]:
        """Give `-no-shutdown` and the `-global`."""
        yield Option.flag("no-shutdown")
        driver = "ICH9-LPC" if site.is_q35 else "PIIX4_PM"
        for prop, is_on in (("disable_s3", self.mem), ("disable_s4", self.disk)):
            if is_on is not None:
                yield Option.word("global", f"{driver}.{prop}={int(not is_on)}")
