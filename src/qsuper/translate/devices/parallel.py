"""`<parallel>`: parallel ports.

Sources: libvirt `formatdomain.rst`, "Parallel port"; `qemuBuildParallelChrDeviceProps`.
"""

from collections.abc import Iterator
from typing import ClassVar, Self

from qsuper.errors import ConfigError
from qsuper.options import Option, Value
from qsuper.plan import Console
from qsuper.translate.chardev import Chardev
from qsuper.translate.devices.base import Context, Device, common
from qsuper.translate.node import Node
from qsuper.translate.places import IsaAddress


class Parallel(Device, frozen=True, kw_only=True):
    """A parallel port of a PC."""

    TAG: ClassVar[str] = "parallel"
    ALIAS: ClassVar[str] = "parallel"

    chardev: Chardev

    @classmethod
    def parse(cls, node: Node) -> Self:
        target = node.child("target")
        if target is not None:
            target.ignore("type")
            target.integer("port")  # QEMU numbers them in order
        return cls(**common(node), chardev=Chardev.parse(node))

    def problems(self, context: Context) -> Iterator[ConfigError]:
        yield from self.chardev.line_problems(context)
        if self.address is not None and not isinstance(self.address, IsaAddress):
            yield ConfigError("<parallel>: it takes an address of type='isa' only", at=self.at)

    def obstacles(self, context: Context) -> Iterator[ConfigError]:
        if not context.site.is_x86:
            text = f"<parallel>: machine {context.site.machine} has no parallel ports"
            yield ConfigError(text, at=self.at)

    def options(self, context: Context) -> Iterator[Option]:
        yield from self.chardev.options(self.alias, context.site.caps, device_backend="parallel")
        props: dict[str, Value] = {"driver": "isa-parallel", "chardev": f"char{self.alias}"}
        yield Option.json("device", props | {"id": self.alias})  # QEMU places it

    def consoles(self, context: Context) -> Iterator[Console]:
        del context
        yield self.chardev.console(self.alias)
