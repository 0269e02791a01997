"""`<lease>`: a lock of libvirt's lock manager; nothing that the guest sees."""

from collections.abc import Iterator
from typing import ClassVar, Self

from qsuper.location import Notice
from qsuper.options import Option
from qsuper.translate.devices.base import Context, Device
from qsuper.translate.node import Node


class Lease(Device, frozen=True, kw_only=True):
    """A lease, which is not taken."""

    TAG: ClassVar[str] = "lease"
    ALIAS: ClassVar[str] = "lease"
    IS_NAMED: ClassVar[bool] = False

    @classmethod
    def parse(cls, node: Node) -> Self:
        node.required_child("key")
        node.required_child("target").required("path")
        node.accept()
        return cls(at=node.at)

    def notices(self, context: Context) -> Iterator[Notice]:
        del context
        text = "<lease>: there is no lock manager here: nothing keeps others off"
        yield Notice(self.at, text)

    def options(self, context: Context) -> Iterator[Option]:
        del context
        return iter(())
