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
from qsuper.translate.netstorage import (
    DEFAULT_PORT,
    CurlStorage,
    GlusterStorage,
    Host,
    IscsiStorage,
    NbdStorage,
    NetStorage,
    NfsStorage,
    RbdStorage,
    SshStorage,
)
from qsuper.translate.node import Node
from qsuper.translate.secret import Auth
from qsuper.translate.site import HostData
from qsuper.translate.storage import (
    DirStorage,
    FileStorage,
    NvmeStorage,
    Storage,
    VdpaStorage,
)

_BLOCK_POOLS: Final = ("logical", "disk", "iscsi", "iscsi-direct", "scsi", "mpath", "zfs")
_FILE_POOLS: Final = ("dir", "fs", "netfs", "vstorage")
_GONE: Final = ("sheepdog", "vxhs")
_NUMBER: Final = re.compile("[0-9]{1,10}")
_SECRET_KIND: Final = {"rbd": "ceph"}
"""The type of secret that a protocol's <auth> must name; iscsi for all others."""


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
class _Transport(StrEnum):
    TCP = "tcp"
    RDMA = "rdma"
    UNIX = "unix"
    ISER = "iser"


class VolumeStorage(Storage, frozen=True, kw_only=True):
    """A volume of a libvirt storage pool."""

    pool: str
    volume: str
    mode: str | None = None
    """For iSCSI pools: `host` or `direct`."""

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
        if kind == "iscsi" and self.mode == "direct":
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
    source.ignore("startupPolicy", "index")
    source.accept("seclabel", "privateData")
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


def _file(source: Node) -> Storage | None:
    path = source.file("file")
    return FileStorage(at=source.at, path=path) if path else None


def _block(source: Node) -> Storage | None:
    path = source.file("dev")
    if not path:
        return None
    return FileStorage(at=source.at, path=path, is_block=True, reservations=_helper(source))


def _helper(source: Node) -> str | None:
    node = source.child("reservations")
    if node is None:
        return None
    if node.yes_no("managed"):
        raise node.error("managed='yes' is not supported", hint="start qemu-pr-helper yourself")
    helper = node.required_child("source")
    helper.ignore("type", "mode")
    return helper.file("path") or ""


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
        mode=source.get("mode"),
    )


def _no_image(source: Node) -> Storage | None:
    del source
    return None


_TRANSPORTS: Final = {
    "nbd": ("tcp", "unix"),
    "gluster": ("tcp", "unix"),
    "iscsi": ("tcp", "iser"),
}
"""By protocol, where there is more than TCP."""


def _network(source: Node) -> Storage | None:
    protocol = source.get("protocol")
    if not protocol:
        raise source.error("attribute 'protocol' is missing")
    if protocol in _GONE:
        raise source.error(f"protocol='{protocol}' is no longer supported by QEMU")
    if protocol not in _PROTOCOLS:
        hint = f"one of {', '.join(_PROTOCOLS)}"
        raise source.error(f"protocol='{protocol}' is unknown", hint=hint)
    hosts = tuple(_host(node, protocol) for node in source.children("host"))
    if protocol != "rbd" and not hosts:
        raise source.error(f"protocol='{protocol}' needs a <host>")
    transports = [host.get("transport") or "tcp" for host in source.children("host")]
    if unfit := [name for name in transports if name not in _TRANSPORTS.get(protocol, ("tcp",))]:
        raise source.error(f"protocol='{protocol}' does not go by transport='{unfit[0]}'")
    if protocol == "nfs" and any(host.has("port") for host in source.children("host")):
        raise source.error("protocol='nfs' takes no port=")
    if protocol not in ("rbd", "gluster") and len(hosts) > 1:
        raise source.error(f"protocol='{protocol}' takes only one <host>")
    if protocol != "nbd":
        source.required("name")
    return _PROTOCOLS[protocol](source, hosts, parse_auth(source, protocol))


def _host(node: Node, protocol: str) -> Host:
    if node.enum("transport", _Transport, _Transport.TCP) is _Transport.UNIX:
        return Host(socket=node.required("socket"))
    port = node.get("port")
    if port is not None and not (_NUMBER.fullmatch(port) and int(port) < 1 << 16):
        raise node.error(f"port='{port}' is no port")
    return Host(name=node.required("name"), port=port or DEFAULT_PORT.get(protocol, ""))


def parse_auth(node: Node, protocol: str) -> Auth | None:
    """Read the `<auth>` below *node*, as fits the protocol.

    Raises:
        ConfigError: its secret is of the wrong type.
    """
    found = node.child("auth")
    if found is None:
        return None
    auth = Auth.parse(found)
    wanted = _SECRET_KIND.get(protocol, "iscsi")
    if auth.secret.kind != wanted:
        raise found.error(f"secret type='{auth.secret.kind}' does not fit", hint=wanted)
    return auth


def _nbd(source: Node, hosts: tuple[Host, ...], auth: Auth | None) -> NetStorage:
    reconnect = source.child("reconnect")
    return NbdStorage(
        at=source.at,
        hosts=hosts,
        name=source.get("name") or "",
        auth=auth,
        tls=bool(source.yes_no("tls")),
        tls_hostname=source.get("tlsHostname"),
        reconnect_s=reconnect.integer("delay", low=0) if reconnect is not None else None,
    )


def _rbd(source: Node, hosts: tuple[Host, ...], auth: Auth | None) -> NetStorage:
    snapshot, config = source.child("snapshot"), source.child("config")
    return RbdStorage(
        at=source.at,
        hosts=hosts,
        name=source.required("name"),
        auth=auth,
        snapshot=snapshot.get("name") if snapshot is not None else None,
        config=config.file("file") if config is not None else None,
    )


def _iscsi(source: Node, hosts: tuple[Host, ...], auth: Auth | None) -> NetStorage:
    name = source.required("name")
    target, slash, lun = name.partition("/")
    if slash and not _NUMBER.fullmatch(lun):
        raise source.error(f"name='{name}' is no TARGET/LUN")
    host = source.child("host")
    initiator = source.child("initiator")
    iqn = initiator.child("iqn") if initiator is not None else None
    is_iser = host is not None and host.get("transport") == _Transport.ISER
    return IscsiStorage(
        at=source.at,
        hosts=hosts,
        name=name,
        auth=auth,
        target=target,
        lun=int(lun or 0),
        transport="iser" if is_iser else "tcp",
        initiator=iqn.get("name") if iqn is not None else None,
    )


def _curl(source: Node, hosts: tuple[Host, ...], auth: Auth | None) -> NetStorage:
    ssl, cookies = source.child("ssl"), source.child("cookies")
    readahead, timeout = source.child("readahead"), source.child("timeout")
    crumbs = cookies.children("cookie") if cookies is not None else ()
    return CurlStorage(
        at=source.at,
        hosts=hosts,
        name=source.required("name"),
        auth=auth,
        protocol=source.required("protocol"),
        query=source.get("query"),
        is_verified=ssl.yes_no("verify") if ssl is not None else None,
        cookies=tuple((crumb.required("name"), crumb.text) for crumb in crumbs),
        readahead_bytes=readahead.integer("size", low=0) if readahead is not None else None,
        timeout_s=timeout.integer("seconds", low=0) if timeout is not None else None,
    )


def _gluster(source: Node, hosts: tuple[Host, ...], auth: Auth | None) -> NetStorage:
    name = source.required("name")
    if not all(name.lstrip("/").partition("/")):
        raise source.error(f"name='{name}' is no VOLUME/PATH")
    return GlusterStorage(at=source.at, hosts=hosts, name=name, auth=auth)


def _ssh(source: Node, hosts: tuple[Host, ...], auth: Auth | None) -> NetStorage:
    if auth is not None:
        raise source.error("ssh with a password is not supported", hint="keys from an agent are")
    source.accept("knownHosts")
    identity = source.child("identity")
    user = identity.get("username") if identity is not None else None
    return SshStorage(at=source.at, hosts=hosts, name=source.required("name"), user=user)


def _nfs(source: Node, hosts: tuple[Host, ...], auth: Auth | None) -> NetStorage:
    identity = source.child("identity")
    ids = [_numeric_id(identity, key) for key in ("user", "group")] if identity else [None, None]
    name = source.required("name")
    return NfsStorage(at=source.at, hosts=hosts, name=name, auth=auth, uid=ids[0], gid=ids[1])


def _numeric_id(node: Node, key: str) -> int | None:
    text = node.get(key)
    if text is None:
        return None
    if not _NUMBER.fullmatch(text.removeprefix("+")):
        raise node.error(f"{key}='{text}' must be a number", hint="+1000")
    return int(text)


_PARSERS: Final[dict[SourceType, Callable[[Node], Storage | None]]] = {
    SourceType.FILE: _file,
    SourceType.BLOCK: _block,
    SourceType.DIR: _directory,
    SourceType.NETWORK: _network,
    SourceType.VOLUME: _volume,
    SourceType.NVME: _nvme,
    SourceType.VHOSTUSER: _no_image,
    SourceType.VHOSTVDPA: _vdpa,
}
_PROTOCOLS: Final[dict[str, Callable[[Node, tuple[Host, ...], Auth | None], NetStorage]]] = {
    "nbd": _nbd,
    "rbd": _rbd,
    "iscsi": _iscsi,
    "gluster": _gluster,
    "http": _curl,
    "https": _curl,
    "ftp": _curl,
    "ftps": _curl,
    "tftp": _curl,
    "ssh": _ssh,
    "nfs": _nfs,
}
