"""Where an image is: the protocol end of a block device, on this host.

Source: libvirt `formatdomain.rst`, "Hard drives, floppy disks, CDROMs"; QEMU
`qapi/block-core.json`, `BlockdevOptions`.
"""

import re
from abc import abstractmethod
from collections.abc import Iterator
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from qsuper.errors import ConfigError
from qsuper.location import Location
from qsuper.options import Option, Value
from qsuper.record import AbstractStruct
from qsuper.translate.site import HostData, Site

MANAGED_HELPER: Final = "pr-helper0"
"""The object that stands for the helper that libvirt starts."""
_HOST_CDROM: Final = re.compile(r"/dev/(cdrom|cdrw|dvd|dvdrw|sr|scd)[0-9]*")


class Storage(AbstractStruct, frozen=True, kw_only=True):
    """One image's place."""

    at: Location

    @abstractmethod
    def props(self, node: str) -> dict[str, Value]:
        """Give the protocol's props; *node* is the name that secrets and the like begin with."""

    @property
    def label(self) -> str:
        """How messages name the place."""
        return ""

    @property
    def is_scsi_unit(self) -> bool:
        """Whether SCSI commands can be passed through to it."""
        return False

    def before(self, node: str, site: Site) -> Iterator[Option]:
        """Give the objects that `props` refers to."""
        del node, site
        return iter(())

    def resolved(self, host: HostData) -> "Storage":
        """Give what the place really is, where only the host knows.

        Raises:
            ConfigError: the host does not know it.
        """
        del host
        return self

    def problems(self, site: Site) -> Iterator[ConfigError]:
        """Give what is wrong with the place."""
        del site
        return iter(())

    def obstacles(self) -> Iterator[ConfigError]:
        """Give what keeps QEMU from opening the place, though libvirt writes it."""
        return iter(())


class Reservations(Struct, frozen=True, kw_only=True):
    """`<reservations>`: a helper makes SCSI persistent reservations, which need privilege."""

    path: str | None
    """Its socket; None: libvirt starts one for the domain."""


class FileStorage(Storage, frozen=True, kw_only=True):
    """A file or a block device of the host."""

    path: str
    is_block: bool = False
    is_cdrom: bool = False
    """A block device that is a CD-ROM drive, passed through."""
    aio: str | None = None
    reservations: Reservations | None = None

    @property
    def label(self) -> str:
        return self.path

    @property
    def is_scsi_unit(self) -> bool:
        return self.is_block

    def props(self, node: str) -> dict[str, Value]:
        driver = "host_device" if self.is_block else "file"
        manager: str | None = None
        if self.reservations is not None:
            is_managed = self.reservations.path is None
            manager = MANAGED_HELPER if is_managed else f"pr-helper-{node}-storage"
        return {
            "driver": "host_cdrom" if self.is_cdrom else driver,
            "filename": self.path,
            "aio": self.aio,
            "pr-manager": manager,
        }

    def before(self, node: str, site: Site) -> Iterator[Option]:
        del site
        if self.reservations is not None and self.reservations.path is not None:
            props = {"id": f"pr-helper-{node}-storage", "path": self.reservations.path}
            yield Option.json("object", {"qom-type": "pr-manager-helper"} | props)


class DirStorage(Storage, frozen=True, kw_only=True):
    """A directory shown as a FAT file system."""

    path: str
    is_floppy: bool = False
    is_writable: bool = False

    @property
    def label(self) -> str:
        return self.path

    def props(self, node: str) -> dict[str, Value]:
        del node
        return {
            "driver": "vvfat",
            "dir": self.path,
            "floppy": self.is_floppy,
            "rw": self.is_writable,
        }


class NvmeStorage(Storage, frozen=True, kw_only=True):
    """An NVMe drive of the host, driven by QEMU itself."""

    device: str
    """`DDDD:BB:SS.F`."""
    namespace: int

    @property
    def label(self) -> str:
        return f"{self.device} namespace {self.namespace}"

    def props(self, node: str) -> dict[str, Value]:
        del node
        return {"driver": "nvme", "device": self.device, "namespace": self.namespace}


class VdpaStorage(Storage, frozen=True, kw_only=True):
    """A vDPA block device of the host."""

    path: str

    @property
    def label(self) -> str:
        return self.path

    def props(self, node: str) -> dict[str, Value]:
        del node
        return {"driver": "virtio-blk-vhost-vdpa", "path": self.path}

    def problems(self, site: Site) -> Iterator[ConfigError]:
        if not site.caps.schema.has("blockdev-add/arg-type/+virtio-blk-vhost-vdpa"):
            yield ConfigError("this QEMU can't use type='vhostvdpa' disks", at=self.at)


def as_cdrom(storage: Storage) -> Storage:
    """Give the storage of a CD-ROM drive: of the host's own drive, that it is one."""
    if isinstance(storage, FileStorage) and storage.is_block:
        return replace(storage, is_cdrom=_HOST_CDROM.fullmatch(storage.path) is not None)
    return storage
