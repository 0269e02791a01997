"""`<features>`: switches of the machine and what the hypervisor offers to the guest."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from qsuper.options import Option, Props
from qsuper.translate.node import Node
from qsuper.translate.site import Site


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """What stands in `<features>`."""

    @classmethod
    def parse(cls, node: Node) -> Self:
        """Read `<features>` of `<domain>`."""
        node.child("features")
        return cls()

    def machine_props(self, site: Site) -> Props:
        """Give the props of `-machine` that come from features."""
        del site
        return {}

    def global_options(self, site: Site) -> Iterator[Option]:
        """Give the `-global` of the TSEG size; they stand after `-accel`."""
        del site
        return iter(())

    def device_options(self, site: Site) -> Iterator[Option]:
        """Give the devices that features are (vmcoreinfo); they stand after all devices."""
        del site
        return iter(())

    def late_options(self, site: Site) -> Iterator[Option]:
        """Give `-run-with async-teardown`; stands near the end."""
        del site
        return iter(())
