"""`<crypto>`: a virtio crypto device.

Source: libvirt `formatdomain.rst`, "Crypto".
"""

from collections.abc import Iterator
from enum import StrEnum, unique
from typing import ClassVar, Self

from msgspec import field
from msgspec.structs import replace

from qsuper.errors import ConfigError
from qsuper.options import Option, Props
from qsuper.translate.devices.base import Context, Device, common, placed
from qsuper.translate.node import Node
from qsuper.translate.places import PciKind, PciTurn
from qsuper.translate.virtio import VirtioOptions, virtio_address, virtio_driver


@unique
class Model(StrEnum):
    """The hardware."""

    VIRTIO = "virtio"


@unique
class Kind(StrEnum):
    """Who does the work."""

    QEMU = "qemu"


@unique
class Backend(StrEnum):
    """With what."""

    BUILTIN = "builtin"
    LKCF = "lkcf"


class Crypto(Device, frozen=True, kw_only=True):
    """A crypto device."""

    TAG: ClassVar[str] = "crypto"
    ALIAS: ClassVar[str] = "crypto"
    ALIAS_SKIPS_NAMED: ClassVar[bool] = True
    PCI_TURN: ClassVar[int] = PciTurn.CRYPTO

    backend: Backend
    queues: int | None = None
    virtio: VirtioOptions = field(default_factory=VirtioOptions)

    @classmethod
    def parse(cls, node: Node) -> Self:
        node.enum("model", Model)
        node.enum("type", Kind)
        backend = node.required_child("backend")
        return cls(
            **common(node),
            backend=backend.enum("model", Backend),
            queues=backend.integer("queues", low=0, high=1024) or None,
            virtio=VirtioOptions.parse(node.child("driver")),
        )

    def defaulted(self, context: Context) -> Self:
        return replace(self, address=virtio_address(self, context))

    def pci_kind(self, context: Context) -> PciKind | None:
        del context
        return PciKind.CONVENTIONAL

    def problems(self, context: Context) -> Iterator[ConfigError]:
        if not context.site.caps.has_type(f"cryptodev-backend-{self.backend}"):
            text = f"<crypto>: this QEMU has no back end '{self.backend}'"
            yield ConfigError(text, at=self.at, hint="builtin")

    def obstacles(self, context: Context) -> Iterator[ConfigError]:
        del context
        if self.backend is Backend.BUILTIN and self.queues not in (None, 1):
            text = "<crypto>: the back end 'builtin' has one queue"
            yield ConfigError(text, at=self.at, hint="queues='1'")

    def options(self, context: Context) -> Iterator[Option]:
        backend = f"obj{self.alias}"
        kind = f"cryptodev-backend-{self.backend}"
        yield Option.json("object", {"qom-type": kind, "id": backend, "queues": self.queues})
        driver = virtio_driver("virtio-crypto", self.address)
        props: Props = {"driver": driver, "cryptodev": backend, **self.virtio.props()}
        yield Option.json("device", {**props, **placed(self, context)})
