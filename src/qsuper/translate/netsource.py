"""Reading where an image is on the network: `<source protocol=>`.

Source: libvirt `virDomainDiskSourceNetworkParse`, `virDomainStorageNetworkParseHosts`.
"""

import re
from collections.abc import Callable
from enum import StrEnum, unique
from typing import Final

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

_NUMBER: Final = re.compile("[0-9]{1,10}")
_GONE: Final = ("sheepdog", "vxhs")
_COOKIE: Final = re.compile(r"[!#-'*+.0-9A-Z^-z|~-]+", re.ASCII)
_COOKIE_VALUE: Final = re.compile(r"(\"?)[!#-+.-:<-\[\]-~-]*\1", re.ASCII)
_SECRET_KIND: Final = {"rbd": "ceph"}
"""The type of secret that a protocol's <auth> must name; iscsi for all others."""


@unique
class _Transport(StrEnum):
    TCP = "tcp"
    RDMA = "rdma"
    UNIX = "unix"


_TRANSPORTS: Final = {
    "nbd": ("tcp", "unix"),
    "gluster": ("tcp", "unix"),
} | dict.fromkeys(("http", "https", "ftp", "ftps"), tuple(_Transport))
"""By protocol, where libvirt writes more than TCP."""


def parse_network(source: Node) -> NetStorage:
    """Read a `<source protocol=>`."""
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
    if not _has_tls(protocol) and (source.yes_no("tls") or source.get("tlsHostname")):
        raise source.error(f"protocol='{protocol}' has no tls=", hint="remove it")
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


def _has_tls(protocol: str) -> bool:
    return protocol == "nbd"


def _host(node: Node, protocol: str) -> Host:
    transport = node.enum("transport", _Transport, _Transport.TCP)
    if transport is _Transport.UNIX:
        return Host(socket=node.required("socket"), transport=transport)
    if node.get("socket") is not None:
        raise node.error(f"transport='{transport}' has no socket=", hint="transport='unix'")
    port = node.get("port")
    if port is not None and not (_NUMBER.fullmatch(port) and int(port) < 1 << 16):
        raise node.error(f"port='{port}' is no port")
    name = node.required("name")
    if transport is _Transport.RDMA:
        return Host(name=name, transport=transport)
    return Host(name=name, port=port or DEFAULT_PORT.get(protocol, ""))


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
    initiator = source.child("initiator")
    iqn = initiator.child("iqn") if initiator is not None else None
    return IscsiStorage(
        at=source.at,
        hosts=hosts,
        name=name,
        auth=auth,
        target=target,
        lun=int(lun or 0),
        initiator=iqn.get("name") if iqn is not None else None,
    )


def _curl(source: Node, hosts: tuple[Host, ...], auth: Auth | None) -> NetStorage:
    protocol = source.required("protocol")
    is_http, has_ssl = protocol in ("http", "https"), protocol in ("https", "ftps")
    ssl = source.child("ssl") if has_ssl else None
    readahead, timeout = source.child("readahead"), source.child("timeout")
    return CurlStorage(
        at=source.at,
        hosts=hosts,
        name=source.required("name"),
        auth=auth,
        protocol=protocol,
        query=source.get("query") if is_http else None,
        is_verified=ssl.yes_no("verify") if ssl is not None else None,
        cookies=_cookies(source) if is_http else (),
        readahead_bytes=readahead.integer("size", low=0) if readahead is not None else None,
        timeout_s=timeout.integer("seconds", low=0) if timeout is not None else None,
    )


def _cookies(source: Node) -> tuple[tuple[str, str], ...]:
    cookies = source.child("cookies")
    found: dict[str, str] = {}
    for crumb in cookies.children("cookie") if cookies is not None else ():
        name = crumb.required("name")
        if name in found:
            raise crumb.error(f"name='{name[:60]}' is given twice", hint="one of each")
        if not (_COOKIE.fullmatch(name) and _COOKIE_VALUE.fullmatch(crumb.text)):
            raise crumb.error("a cookie has no such characters", hint="no space, comma, semicolon")
        if not crumb.text:
            raise crumb.error("there is no value")
        found[name] = crumb.text
    return tuple(found.items())


def _gluster(source: Node, hosts: tuple[Host, ...], auth: Auth | None) -> NetStorage:
    name = source.required("name")
    if not all(name.partition("/")):
        raise source.error(f"name='{name}' is no VOLUME/PATH")
    return GlusterStorage(at=source.at, hosts=hosts, name=name, auth=auth)


def _ssh(source: Node, hosts: tuple[Host, ...], auth: Auth | None) -> NetStorage:
    if auth is not None:
        raise source.error("ssh with a password is not supported", hint="keys from an agent are")
    source.accept("knownHosts")
    identity = source.child("identity")
    if identity is not None and not (identity.get("keyfile") or identity.get("agentsock")):
        raise identity.error("keyfile= or agentsock= is missing")
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
    if text == "root":
        return 0
    if not _NUMBER.fullmatch(text.removeprefix("+")):
        raise node.error(f"{key}='{text}' must be a number", hint="+1000")
    return int(text)


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
