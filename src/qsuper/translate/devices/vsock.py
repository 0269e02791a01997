"""`<vsock>`: sockets between host and guest.

Sources: libvirt `formatdomain.rst`, "Vsock"; `qemuBuildVsockDevStr()`.
"""

import hashlib
from collections.abc import Iterator
from typing import ClassVar, Final, Self

from msgspec import field
from msgspec.structs import replace

from qsuper.errors import ConfigError
from qsuper.options import Access, Handle, OpenFile, Option, Props
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

_FIRST_CID: Final = 3  # those below are the host and the hypervisor
_LAST_CID: Final = (1 << 32) - 2


class Vsock(Device, frozen=True, kw_only=True):
    """A vhost vsock device."""

    TAG: ClassVar[str] = "vsock"
    ALIAS: ClassVar[str] = "vsock"
    PCI_TURN: ClassVar[int] = PciTurn.VSOCK

    model: VirtioModel
    cid: int | None = None
    """The guest's address; None until defaults, which derive it."""
    virtio: VirtioOptions = field(default_factory=VirtioOptions)

    @classmethod
    def parse(cls, node: Node) -> Self:
        cid = node.child("cid")
        number: int | None = None
        if cid is not None:
            is_auto = cid.yes_no("auto")
            number = cid.integer("address", low=_FIRST_CID, high=_LAST_CID)
            number = None if is_auto else number
        return cls(
            **common(node),
            model=node.enum("model", VirtioModel, VirtioModel.VIRTIO),
            cid=number,
            virtio=VirtioOptions.parse(node.child("driver")),
        )

    def defaulted(self, context: Context) -> Self:
        seed = f"{context.site.host.machine_id}\0{context.domain.name}\0vsock".encode()
        number = int.from_bytes(hashlib.sha256(seed).digest()[:4], "big")
        derived = _FIRST_CID + number % (_LAST_CID - _FIRST_CID)
        cid = self.cid or context.site.host.vsock_cid or derived
        return replace(self, cid=cid, address=virtio_address(self, context))

    def pci_kind(self, context: Context) -> PciKind | None:
        return virtio_pci_kind(self, context, self.model)

    def problems(self, context: Context) -> Iterator[ConfigError]:
        if not context.site.caps.has_type(virtio_driver("vhost-vsock", self.address)):
            yield ConfigError("<vsock>: this QEMU has no vsock", at=self.at, hint="remove it")
        if len(list(context.devices("vsock"))) > 1:
            yield ConfigError("<vsock>: there can be one", at=self.at, hint="remove the others")

    def obstacles(self, context: Context) -> Iterator[ConfigError]:
        driver = self._driver()
        if not context.site.caps.has_type(driver):
            yield ConfigError(f"<vsock>: this QEMU has no {driver}", at=self.at, hint="virtio")

    def options(self, context: Context) -> Iterator[Option]:
        device = OpenFile(name=self.alias, path="/dev/vhost-vsock", access=Access.DEVICE)
        handle = Handle(resource=device, shown="</dev/vhost-vsock>")
        props: Props = {"driver": self._driver(), "guest-cid": self.cid, "vhostfd": handle}
        yield Option.json("device", {**props, **self.virtio.props(), **placed(self, context)})

    def _driver(self) -> str:
        return virtio_driver("vhost-vsock", self.address, self.model)
