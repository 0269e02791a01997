"""Images on other machines: the protocols that QEMU speaks itself.

Source: libvirt `formatdomain.rst`, `<source protocol=>`; QEMU `qapi/block-core.json`.
"""

import re
from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from qsuper.errors import ConfigError
from qsuper.options import Option, Value
from qsuper.translate.secret import Auth, Secret
from qsuper.translate.site import Site
from qsuper.translate.storage import Storage

_UNSAFE: Final = re.compile(r"[^A-Za-z0-9_.!~*'()/;:@&=+$,-]+")
"""What a URL writes with percent signs."""
NBD_TLS_DIR: Final = "/etc/pki/libvirt-nbd"
"""Where libvirt keeps the certificates of NBD clients."""

DEFAULT_PORT: Final = {
    "nbd": "10809",
    "iscsi": "3260",
    "gluster": "24007",
    "http": "80",
    "https": "443",
    "ftp": "21",
    "ftps": "990",
    "tftp": "69",
    "ssh": "22",
    "nfs": "2049",
    "rbd": "0",
}
"""By protocol; 0 leaves it to the library."""


class Host(Struct, frozen=True, kw_only=True):
    """One server: a name and port, or a UNIX socket."""

    name: str = ""
    port: str = ""
    socket: str = ""
    transport: str = "tcp"
    """As the file has it, whether or not the protocol goes by it."""

    def inet(self) -> dict[str, Value]:
        return {"host": self.name, "port": self.port or None}

    def typed(self) -> dict[str, Value]:
        if self.socket:
            return {"type": "unix", "path": self.socket}
        return {"type": "inet"} | self.inet()

    def __str__(self) -> str:
        name = f"[{self.name}]" if ":" in self.name else self.name
        return f"{name}:{self.port}" if self.port else name


class NetStorage(Storage, frozen=True, kw_only=True):
    """What all network protocols share."""

    hosts: tuple[Host, ...]
    name: str = ""
    """The image's name there."""
    auth: Auth | None = None

    @property
    def label(self) -> str:
        return self.name

    @property
    def host(self) -> Host:
        return self.hosts[0]

    def before(self, node: str, site: Site) -> Iterator[Option]:
        if self.auth is not None:
            yield self.auth.secret.option(f"{node}-storage-auth-secret0", site.host)

    def credentials(self, node: str, *, user: str, secret: str) -> dict[str, Value]:
        """Give the props that name user and secret, by their keys."""
        if self.auth is None:
            return {}
        return {user: self.auth.user, secret: f"{node}-storage-auth-secret0"}


class NbdStorage(NetStorage, frozen=True, kw_only=True):
    """A network block device."""

    tls: bool = False
    tls_hostname: str | None = None
    reconnect_s: int | None = None

    def props(self, node: str) -> dict[str, Value]:
        return {
            "driver": "nbd",
            "server": self.host.typed(),
            "export": self.name or None,
            "tls-creds": f"obj{node}-storage_tls0" if self.tls else None,
            "tls-hostname": self.tls_hostname,
            "reconnect-delay": self.reconnect_s,
        }

    def before(self, node: str, site: Site) -> Iterator[Option]:
        del site
        if self.tls:
            props: dict[str, Value] = {
                "qom-type": "tls-creds-x509",
                "id": f"obj{node}-storage_tls0",
                "dir": NBD_TLS_DIR,
                "endpoint": "client",
                "verify-peer": True,
            }
            yield Option.json("object", props)


class RbdStorage(NetStorage, frozen=True, kw_only=True):
    """An image of a Ceph cluster."""

    snapshot: str | None = None
    config: str | None = None
    encryption: str | None = None
    """What the Ceph library decrypts: luks, luks2, luks-any."""
    passphrases: tuple[Secret, ...] = ()
    """Of the image, then of those below it."""

    def props(self, node: str) -> dict[str, Value]:
        pool, _, image = self.name.partition("/")
        auth = self.credentials(node, user="user", secret="key-secret")  # noqa: S106 - a key's name
        encrypt: Value = None
        for number in reversed(range(len(self.passphrases))):
            secret = f"{node}-storage-encryption-secret{number}"
            encrypt = {"format": self.encryption, "key-secret": secret, "parent": encrypt}
        return {
            "driver": "rbd",
            "pool": pool,
            "image": image,
            "snapshot": self.snapshot,
            "conf": self.config,
            "server": [host.inet() for host in self.hosts] or None,
            "encrypt": encrypt,
            "auth-client-required": ["cephx", "none"] if auth else None,
            **auth,
        }

    def before(self, node: str, site: Site) -> Iterator[Option]:
        yield from NetStorage.before(self, node, site)
        for number, secret in enumerate(self.passphrases):
            yield secret.option(f"{node}-storage-encryption-secret{number}", site.host)

    def problems(self, site: Site) -> Iterator[ConfigError]:
        del site
        if not all(self.name.partition("/")):
            yield ConfigError(f"<source>: name='{self.name}' is no POOL/IMAGE", at=self.at)


class IscsiStorage(NetStorage, frozen=True, kw_only=True):
    """A unit of an iSCSI target."""

    target: str
    lun: int = 0
    initiator: str | None = None

    @property
    def label(self) -> str:
        return f"{self.target}/{self.lun}"

    @property
    def is_scsi_unit(self) -> bool:
        return True

    def props(self, node: str) -> dict[str, Value]:
        return {
            "driver": "iscsi",
            "portal": str(self.host),
            "target": self.target,
            "lun": self.lun,
            "transport": "tcp",
            "initiator-name": self.initiator,
            **self.credentials(node, user="user", secret="password-secret"),  # noqa: S106 - as above
        }


class CurlStorage(NetStorage, frozen=True, kw_only=True):
    """A file behind a URL: http, https, ftp, ftps, tftp."""

    protocol: str
    query: str | None = None
    is_verified: bool | None = None
    """Whether the server's certificate is; None: QEMU's default, which is yes."""
    cookies: tuple[tuple[str, str], ...] = ()
    readahead_bytes: int | None = None
    timeout_s: int | None = None

    def obstacles(self) -> Iterator[ConfigError]:
        if self.host.transport != "tcp":
            message = f"protocol='{self.protocol}' does not go by transport='{self.host.transport}'"
            yield ConfigError(f"<source>: {message}", at=self.at, hint="transport='tcp'")

    def props(self, node: str) -> dict[str, Value]:
        query = f"?{self.query}" if self.query else ""
        name = _UNSAFE.sub(_percented, self.name.lstrip("/"))
        transport = self.host.transport
        scheme = self.protocol if transport == "tcp" else f"{self.protocol}+{transport}"
        return {
            "driver": self.protocol,
            "url": f"{scheme}://{self.host}/{name}{query}",
            **self.credentials(node, user="username", secret="password-secret"),  # noqa: S106 - as above
            "sslverify": self.is_verified,
            "cookie-secret": f"{node}-storage-httpcookie-secret0" if self.cookies else None,
            "readahead": self.readahead_bytes,
            "timeout": self.timeout_s,
        }

    def before(self, node: str, site: Site) -> Iterator[Option]:
        yield from NetStorage.before(self, node, site)
        if self.cookies:
            data = "; ".join(f"{name}={value}" for name, value in self.cookies)
            ident = f"{node}-storage-httpcookie-secret0"
            yield Option.json("object", {"qom-type": "secret", "id": ident, "data": data})


def _percented(found: re.Match[str]) -> str:
    return "".join(f"%{octet:02X}" for octet in found[0].encode())


class GlusterStorage(NetStorage, frozen=True, kw_only=True):
    """A file of a Gluster volume."""

    def props(self, node: str) -> dict[str, Value]:
        del node
        volume, _, path = self.name.partition("/")
        return {
            "driver": "gluster",
            "volume": volume,
            "path": path,
            "server": [host.typed() for host in self.hosts],
            "debug": 4,
        }


class SshStorage(NetStorage, frozen=True, kw_only=True):
    """A file reached by SSH; the keys are those of an agent."""

    user: str | None = None

    def props(self, node: str) -> dict[str, Value]:
        del node
        return {
            "driver": "ssh",
            "path": self.name,
            "server": self.host.inet(),
            "user": self.user,
        }


class NfsStorage(NetStorage, frozen=True, kw_only=True):
    """A file of an NFS export."""

    uid: int | None = None
    gid: int | None = None

    def props(self, node: str) -> dict[str, Value]:
        del node
        return {
            "driver": "nfs",
            "server": {"host": self.host.name, "type": "inet"},
            "path": self.name,
            "user": self.uid,
            "group": self.gid,
        }
