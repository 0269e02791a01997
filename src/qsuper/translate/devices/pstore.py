"""`<pstore>`: where a guest leaves its last words for the next boot.

Source: libvirt `formatdomain.rst`, "Pstore".
"""

import posixpath
from collections.abc import Iterator
from typing import ClassVar, Final, Self

from msgspec.structs import replace

from qsuper.errors import ConfigError
from qsuper.options import Option, Props
from qsuper.translate.devices.base import Context, Device, common, placed
from qsuper.translate.node import Node
from qsuper.translate.places import PciKind, PciTurn

_LEAST_BYTES: Final = 4096
_MOST_BYTES: Final = 1 << 40


class Pstore(Device, frozen=True, kw_only=True):
    """An ACPI error record store in a file."""

    TAG: ClassVar[str] = "pstore"
    ALIAS: ClassVar[str] = "pstore"
    PCI_TURN: ClassVar[int] = PciTurn.PSTORE

    path: str
    size_bytes: int

    @classmethod
    def parse(cls, node: Node) -> Self:
        backend = node.required("backend")
        if backend != "acpi-erst":
            raise node.error(f"backend='{backend}' is unknown", hint="acpi-erst")
        path, size = node.child("path"), node.required_child("size")
        count = size.bytes_text()
        if not _LEAST_BYTES <= count <= _MOST_BYTES or count & (count - 1):
            raise size.error(f"{count} bytes are no power of two from 4 KiB on")
        file = path.file_text() if path is not None else ""
        return cls(**common(node), path=file, size_bytes=count)

    def defaulted(self, context: Context) -> Self:
        if self.path:
            return self
        name = f"{context.domain.name}_PSTORE.raw"
        return replace(self, path=posixpath.join(context.site.host.nvram_dir, name))

    def pci_kind(self, context: Context) -> PciKind | None:
        del context
        return PciKind.CONVENTIONAL

    def problems(self, context: Context) -> Iterator[ConfigError]:
        if not context.site.caps.has_type("acpi-erst"):
            text = "<pstore>: this machine has no acpi-erst"
            yield ConfigError(text, at=self.at, hint="q35 has")

    def options(self, context: Context) -> Iterator[Option]:
        backend = f"mem{self.alias}"
        memory: Props = {
            "qom-type": "memory-backend-file",
            "id": backend,
            "mem-path": self.path,
            "size": self.size_bytes,
            "share": True,
        }
        yield Option.json("object", memory)
        props: Props = {"driver": "acpi-erst", "memdev": backend}
        yield Option.json("device", {**props, **placed(self, context)})
