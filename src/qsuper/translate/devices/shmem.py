"""`<shmem>`: memory that guests share, as a PCI device (ivshmem).

Sources: libvirt `formatdomain.rst`, "Shared memory device"; QEMU `docs/specs/ivshmem-spec.rst`.
"""

from collections.abc import Iterator
from enum import StrEnum, unique
from typing import ClassVar, Final, Self

from msgspec.structs import replace

from qsuper.errors import ConfigError
from qsuper.options import Doorbell, Handle, Option, Props, SharedMemory, Value
from qsuper.translate.devices.base import Context, Device, common, placed
from qsuper.translate.model import Share
from qsuper.translate.node import Node
from qsuper.translate.places import PciKind, PciTurn

_DEFAULT_BYTES: Final = 4 << 20
_LEAST_BYTES: Final = 1 << 20
_MOST_BYTES: Final = 1 << 46


@unique
class Model(StrEnum):
    """What the guest can do with it."""

    LEGACY = "ivshmem"
    """Of old QEMUs: either of the others, by whether there is a server."""
    PLAIN = "ivshmem-plain"
    """Memory and nothing else."""
    DOORBELL = "ivshmem-doorbell"
    """Memory, and interrupts from guest to guest, which need a server."""


@unique
class Role(StrEnum):
    """Whether the memory's content belongs to this guest when it is saved."""

    MASTER = "master"
    PEER = "peer"


class Shmem(Device, frozen=True, kw_only=True):
    """A shared memory device."""

    TAG: ClassVar[str] = "shmem"
    ALIAS: ClassVar[str] = "shmem"
    PCI_TURN: ClassVar[int] = PciTurn.SHMEM

    name: str
    """In the group: devices that use one name share one memory."""
    model: Model = Model.LEGACY
    role: Role | None = None
    size_bytes: int | None = None
    """None: 4 MiB, or what the server says."""
    has_server: bool = False
    server: str = ""
    """Path of its socket; empty: the file leaves it open."""
    has_msi: bool = False
    vectors: int | None = None
    ioeventfd: bool | None = None

    @classmethod
    def parse(cls, node: Node) -> Self:
        name = node.get("name")
        if name is None:
            raise node.error("attribute 'name' is missing")
        if "/" in name or name in (".", "..") or not name.isprintable():
            raise node.error(f"name='{name}' is no good", hint="letters, digits, dots, dashes")
        model, size = node.child("model"), node.child("size")
        server, msi = node.child("server"), node.child("msi")
        return cls(
            **common(node),
            name=name,
            model=model.enum("type", Model) if model is not None else Model.LEGACY,
            role=node.enum("role", Role, None),
            size_bytes=_size(size) if size is not None else None,
            has_server=server is not None,
            server=(server.file("path") or "") if server is not None else "",
            has_msi=msi is not None and msi.on_off("enabled") is not False,
            vectors=msi.integer("vectors", low=1, high=2048) if msi is not None else None,
            ioeventfd=msi.on_off("ioeventfd") if msi is not None else None,
        )

    def defaulted(self, context: Context) -> Self:
        """Take today's model for the one that QEMU no longer has; the guest sees the same."""
        if self.model is not Model.LEGACY or context.site.caps.has_type(Model.LEGACY):
            return self
        return replace(self, model=Model.DOORBELL if self.has_server else Model.PLAIN)

    def pci_kind(self, context: Context) -> PciKind | None:
        del context
        return PciKind.CONVENTIONAL

    def problems(self, context: Context) -> Iterator[ConfigError]:
        is_doorbell = self.model is Model.DOORBELL
        if not context.site.caps.has_type(self.model):
            yield self._error(f"this QEMU has no model type='{self.model}'", Model.PLAIN)
        if self.has_msi and not (self.has_server or is_doorbell):
            yield self._error("<msi> needs a server", f"<model type='{Model.DOORBELL}'/>")
        if self.model is Model.PLAIN and self.has_server:
            yield self._error(f"model type='{self.model}' takes no server", Model.DOORBELL)
        if is_doorbell and self.server and self.size_bytes is not None:
            yield self._error("the server says the size", "remove <size>")
        if self.model is Model.LEGACY and self.role is not None and not self.has_server:
            yield self._error("role= needs a server or another model", Model.PLAIN)

    def obstacles(self, context: Context) -> Iterator[ConfigError]:
        del context
        if not self.name:
            yield self._error("with no name there is nobody to share with", "name='a'")

    def options(self, context: Context) -> Iterator[Option]:
        own: dict[str, Value] = {"driver": str(self.model)}
        if self.role is not None and not (self.model is Model.DOORBELL and self.server):
            own["master"] = "on" if self.role is Role.MASTER else "off"
        elif self._is_ours and context.domain.fabric.is_private:
            own["master"] = "on"  # else QEMU does not save it
        if self.has_server or self.model is Model.DOORBELL:
            chardev = f"char{self.alias}"
            path = self._doorbell(context) if self._is_ours else self.server
            props: Props = {"backend": "socket", "id": chardev, "path": path}
            yield Option.keyed("chardev", props, implied="backend")
            own |= {"chardev": chardev, "vectors": self.vectors}
            own["ioeventfd"] = self.ioeventfd is not False
        else:
            yield Option.json("object", self._memory(context))
            own["memdev"] = self._backend
        yield Option.json("device", {**own, **placed(self, context)})

    @property
    def _backend(self) -> str:
        return f"shmmem-{self.alias}"

    @property
    def _is_ours(self) -> bool:
        """Whether the supervisor is the server."""
        return (self.has_server or self.model is Model.DOORBELL) and not self.server

    @property
    def shared_memory(self) -> Share | None:
        if self.server:
            return None
        return Share(
            at=self.at,
            name=self.name,
            size_bytes=self.size_bytes or _DEFAULT_BYTES,
            vectors=(self.vectors or 1) if self._is_ours else 0,
        )

    def _doorbell(self, context: Context) -> Handle:
        fabric = context.domain.fabric
        doorbell = Doorbell(
            name=f"doorbell-{self.alias}",
            share=self.name,
            size_bytes=self.size_bytes or _DEFAULT_BYTES,
            vectors=self.vectors or 1,
            is_private=fabric.is_private,
            on_host=self.name in fabric.host_shares,
        )
        shown = f"/var/lib/libvirt/shmem-{self.name}-sock"
        return Handle(resource=doorbell, shown=shown, live_key="fd")

    def _memory(self, context: Context) -> Props:
        size = self.size_bytes or _DEFAULT_BYTES
        memory = SharedMemory(
            name=self._backend,
            share=self.name,
            size_bytes=size,
            on_host=self.name in context.domain.fabric.host_shares,
        )
        path = Handle(resource=memory, shown=f"/dev/shm/{self.name}", live="/proc/self/fd/{}")  # noqa: S108 - libvirt's place for it
        return {
            "qom-type": "memory-backend-file",
            "id": self._backend,
            "mem-path": path,
            "size": size,
            "share": True,
        }

    def _error(self, message: str, hint: str) -> ConfigError:
        return ConfigError(f"<shmem>: {message}", at=self.at, hint=hint)


def _size(node: Node) -> int:
    """Read the size; QEMU aborts on one that is no power of two."""
    size = node.bytes_text("B")
    if size < _LEAST_BYTES or size & (size - 1):
        raise node.error(f"{size} bytes are no power of two from 1 MiB on", hint="1, 2, 4, ... MiB")
    if size > _MOST_BYTES:
        raise node.error("that is more memory than there can be", hint="check the unit")
    return size
