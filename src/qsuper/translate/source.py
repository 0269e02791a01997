"""Reading where an image is: `<source>` of a disk, a backing store or a host device.

Source: libvirt `virDomainStorageSourceParse`, `virDomainStorageNetworkParseHosts`.
"""

import posixpath
import re
from collections.abc import Callable, Mapping
from enum import StrEnum, unique
from typing import Any, Final

from msgspec.structs import replace

from qsuper.errors import ConfigError
from qsuper.options import Value
from qsuper.translate.netsource import parse_auth, parse_network
from qsuper.translate.netstorage import DEFAULT_PORT, Host, IscsiStorage, NetStorage
from qsuper.translate.node import Node
from qsuper.translate.seclabel import accept_labels
from qsuper.translate.site import HostData
from qsuper.translate.storage import (
    DirStorage,
    FileStorage,
    NvmeStorage,
    Reservations,
    Storage,
    VdpaStorage,
)

_BLOCK_POOLS: Final = ("logical", "disk", "iscsi", "iscsi-direct", "scsi", "mpath", "zfs")
_FILE_POOLS: Final = ("dir", "fs", "netfs", "vstorage")
_NUMBER: Final = re.compile("[0-9]{1,10}")


@unique
class SourceType(StrEnum):
    """The kinds of places, `<disk type=>`."""

    FILE = "file"
    BLOCK = "block"
    DIR = "dir"
    NETWORK = "network"
    VOLUME = "volume"
    NVME = "nvme"
    VHOSTUSER = "vhostuser"
    VHOSTVDPA = "vhostvdpa"


@unique
class StartupPolicy(StrEnum):
    """What becomes of a start without what the source names."""

    MANDATORY = "mandatory"
    REQUISITE = "requisite"
    OPTIONAL = "optional"


_NEVER_MISSING: Final = (
    SourceType.NETWORK,
    SourceType.NVME,
    SourceType.VHOSTUSER,
    SourceType.VHOSTVDPA,
)
"""The sources whose absence no policy covers."""


@unique
class _PoolMode(StrEnum):
    HOST = "host"
    """The host has logged in, and the volume is a block device."""
    DIRECT = "direct"
    """QEMU logs in."""


class VolumeStorage(Storage, frozen=True, kw_only=True):
    """A volume of a libvirt storage pool."""

    pool: str
    volume: str
    mode: _PoolMode | None = None
    """Of iSCSI pools."""

    @property
    def label(self) -> str:
        return f"{self.pool}/{self.volume}"

    def props(self, node: str) -> dict[str, Value]:
        raise AssertionError(f"the volume of {node} was not resolved")

    def resolved(self, host: HostData) -> Storage:
        pool = host.pools.get(self.pool)
        if pool is None:
            raise ConfigError(
                f"<source>: there is no storage pool '{self.pool}' here",
                at=self.at,
                hint="name the file itself: type='file'",
            )
        kind = pool.get("type")
        if kind == "iscsi" and self.mode is _PoolMode.DIRECT:
            return self._direct(pool)
        if kind not in _BLOCK_POOLS + _FILE_POOLS:
            raise ConfigError(f"<source>: pools of type '{kind}' are not supported", at=self.at)
        path = posixpath.join(str(pool.get("path") or "/"), self.volume)
        return FileStorage(at=self.at, path=path, is_block=kind in _BLOCK_POOLS)

    def _direct(self, pool: Mapping[str, Any]) -> Storage:
        source: Mapping[str, Any] = pool.get("source") or {}
        lun = self.volume.rpartition(":")[2]
        if not _NUMBER.fullmatch(lun):
            raise ConfigError(f"<source>: volume '{self.volume}' is no unit:N:N:N", at=self.at)
        host = Host(name=str(source.get("host") or ""), port=DEFAULT_PORT["iscsi"])
        target = str(source.get("device") or "")
        return IscsiStorage(at=self.at, hosts=(host,), target=target, lun=int(lun))


def parse_source(node: Node, kind: SourceType) -> Storage | None:
    """Read the `<source>` below *node*; None where there is none, as in an empty drive.

    A vhost-user disk has no image and no source here.

    Raises:
        ConfigError: the source makes no sense.
    """
    source = node.child("source")
    if source is None:
        return None
    _check_startup(source, kind)
    source.ignore("index")
    accept_labels(source)
    source.accept("privateData")
    if source.has("fdgroup"):
        raise source.error("fdgroup= names descriptors that only libvirtd holds")
    storage = _PARSERS[kind](source)
    if isinstance(storage, NetStorage):
        outer = parse_auth(node, source.required("protocol"))
        if outer is not None and storage.auth is not None:
            raise source.error("there is an <auth> here and one beside it")
        return storage if outer is None else replace(storage, auth=outer)
    node.accept("auth")  # of a volume: its pool's counts
    source.accept("auth")
    return storage


def _check_startup(source: Node, kind: SourceType) -> None:
    """Check the word for what becomes of a start without the image."""
    policy = source.enum("startupPolicy", StartupPolicy, None)
    if policy is not None and kind in _NEVER_MISSING:
        raise source.error(f"startupPolicy='{policy}' is not for type='{kind}'")


def _file(source: Node) -> Storage | None:
    path = source.file("file")
    return FileStorage(at=source.at, path=path) if path else None


def _block(source: Node) -> Storage | None:
    path = source.file("dev")
    if not path:
        return None
    return FileStorage(at=source.at, path=path, is_block=True, reservations=_helper(source))


def _helper(source: Node) -> Reservations | None:
    node = source.child("reservations")
    if node is None:
        return None
    if node.required_yes_no("managed"):
        return Reservations(path=None)
    helper = node.required_child("source")
    helper.ignore("type")
    if helper.get("mode") not in (None, "client"):
        raise helper.error("QEMU connects to the helper", hint="mode='client'")
    return Reservations(path=helper.file("path") or "")


def _directory(source: Node) -> Storage | None:
    path = source.file("dir")
    return DirStorage(at=source.at, path=path) if path else None


def _nvme(source: Node) -> Storage | None:
    if source.get("type") != "pci":
        raise source.error("type='pci' is missing")
    source.ignore("managed")
    place = source.required_child("address")
    place.ignore("type")
    numbers = [place.integer(key, low=0, high=top) or 0 for key, top in _PCI_LIMITS]
    return NvmeStorage(
        at=source.at,
        device="{:04x}:{:02x}:{:02x}.{:x}".format(*numbers),
        namespace=source.required_integer("namespace", low=1),
    )


_PCI_LIMITS: Final = (("domain", 0xFFFF), ("bus", 0xFF), ("slot", 0x1F), ("function", 7))


def _vdpa(source: Node) -> Storage | None:
    path = source.file("dev")
    return VdpaStorage(at=source.at, path=path) if path else None


def _volume(source: Node) -> Storage | None:
    pool, volume = source.get("pool"), source.get("volume")
    if not pool and not volume:
        return None
    return VolumeStorage(
        at=source.at,
        pool=source.required("pool"),
        volume=source.required("volume"),
        mode=source.enum("mode", _PoolMode, None),
    )


def _no_image(source: Node) -> Storage | None:
    del source
    return None


_PARSERS: Final[dict[SourceType, Callable[[Node], Storage | None]]] = {
    SourceType.FILE: _file,
    SourceType.BLOCK: _block,
    SourceType.DIR: _directory,
    SourceType.NETWORK: parse_network,
    SourceType.VOLUME: _volume,
    SourceType.NVME: _nvme,
    SourceType.VHOSTUSER: _no_image,
    SourceType.VHOSTVDPA: _vdpa,
}
