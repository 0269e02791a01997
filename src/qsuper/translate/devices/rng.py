"""`<rng>`: a virtio random number generator.

Sources: libvirt `formatdomain.rst`, "Random number generator device"; QEMU `backends/rng*.c`.
"""

from collections.abc import Iterator
from enum import StrEnum, unique
from typing import ClassVar, Final, Self

from msgspec import field
from msgspec.structs import replace

from qsuper.errors import ConfigError
from qsuper.options import Option, Props
from qsuper.translate.chardev import Chardev
from qsuper.translate.devices.base import Context, Device, common, placed
from qsuper.translate.node import Node
from qsuper.translate.places import PciKind, PciTurn
from qsuper.translate.virtio import (
    VirtioModel,
    VirtioOptions,
    virtio_address,
    virtio_driver,
    virtio_pci_kind,
)

_DEFAULT_PERIOD_MS: Final = 1000
_DEFAULT_SOURCE: Final = "/dev/random"


@unique
class Backend(StrEnum):
    """Where the entropy comes from."""

    RANDOM = "random"
    """A device or file of the host."""
    BUILTIN = "builtin"
    """QEMU itself."""
    EGD = "egd"
    """A daemon that speaks EGD's protocol."""


class Rng(Device, frozen=True, kw_only=True):
    """A virtio random number generator."""

    TAG: ClassVar[str] = "rng"
    ALIAS: ClassVar[str] = "rng"
    ALIAS_SKIPS_NAMED: ClassVar[bool] = True
    PCI_TURN: ClassVar[int] = PciTurn.RNG

    model: VirtioModel
    backend: Backend
    source: str = _DEFAULT_SOURCE
    """File to read; of `random`."""
    chardev: Chardev | None = None
    """The way to the daemon; of `egd`."""
    rate: int | None = None
    """Most bytes the guest gets in one period."""
    period_ms: int = _DEFAULT_PERIOD_MS
    virtio: VirtioOptions = field(default_factory=VirtioOptions)

    @classmethod
    def parse(cls, node: Node) -> Self:
        source = node.required_child("backend")
        backend = source.enum("model", Backend)
        rate = node.child("rate")
        if backend is Backend.EGD:
            source.required("type")
        period = rate.integer("period", low=0, high=1 << 31) if rate is not None else None
        return cls(
            **common(node),
            model=node.enum("model", VirtioModel),
            backend=backend,
            source=(source.text or _DEFAULT_SOURCE),
            chardev=Chardev.parse(source) if backend is Backend.EGD else None,
            rate=rate.integer("bytes", low=0, high=1 << 63) or None if rate is not None else None,
            period_ms=period or _DEFAULT_PERIOD_MS,
            virtio=VirtioOptions.parse(node.child("driver")),
        )

    def defaulted(self, context: Context) -> Self:
        return replace(self, address=virtio_address(self, context))

    def pci_kind(self, context: Context) -> PciKind | None:
        return virtio_pci_kind(self, context, self.model)

    def problems(self, context: Context) -> Iterator[ConfigError]:
        if self.chardev:
            yield from self.chardev.problems(context)
        if not context.site.caps.has_type(f"rng-{self.backend}"):
            text = f"<rng>: this QEMU has no back end model='{self.backend}'"
            yield ConfigError(text, at=self.at, hint="random")

    def options(self, context: Context) -> Iterator[Option]:
        backend = f"obj{self.alias}"
        props: Props = {"qom-type": f"rng-{self.backend}", "id": backend}
        if self.chardev:
            yield from self.chardev.options(self.alias, context.site.caps)
            props = {**props, "chardev": f"char{self.alias}"}
        elif self.backend is Backend.RANDOM:
            props = {**props, "filename": self.source}
        yield Option.json("object", props)
        driver = virtio_driver("virtio-rng", self.address, self.model)
        limit = {"max-bytes": self.rate, "period": self.period_ms if self.rate else None}
        own: Props = {"driver": driver, "rng": backend, **limit, **self.virtio.props()}
        yield Option.json("device", {**own, **placed(self, context)})
