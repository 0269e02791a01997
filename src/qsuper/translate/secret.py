"""Secrets that a domain file refers to, and how QEMU comes by them.

libvirt keeps secrets in its daemon; here each is a file in `HostData.credentials_dir`, named after
its uuid or its usage, which QEMU reads itself.

Source: libvirt `formatsecret.rst`; QEMU `docs/system/secrets.rst`.
"""

import re
from typing import Final, Self

from msgspec import Struct

from qsuper.options import Option
from qsuper.translate.node import Node
from qsuper.translate.site import HostData

UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class Secret(Struct, frozen=True, kw_only=True):
    """`<secret>`: a password or passphrase by name."""

    kind: str
    """What it is for: passphrase, ceph, iscsi, ..."""
    name: str
    """Its uuid, or its usage."""

    @classmethod
    def parse(cls, node: Node) -> Self:
        """Read `<secret type= uuid= usage=>`.

        Raises:
            ConfigError: it has no type, or not exactly one of uuid and usage.
        """
        kind = node.required("type")
        uuid, usage = node.get("uuid"), node.get("usage")
        if bool(uuid) == bool(usage):
            raise node.error("it needs a uuid or a usage, and not both")
        if uuid and not UUID.fullmatch(uuid):
            raise node.error(f"uuid='{uuid[:60]}' is no uuid")
        return cls(kind=kind, name=(uuid or "").lower() or usage or "")

    def option(self, ident: str, host: HostData) -> Option:
        """Give the `-object secret` of id *ident*."""
        return Option.json("object", {"qom-type": "secret", "id": ident, "file": self.path(host)})

    def path(self, host: HostData) -> str:
        """Give the path of the file that holds it."""
        file = self.name.replace("%", "%25").replace("/", "%2F")
        return f"{host.credentials_dir}/{file}"


class Auth(Struct, frozen=True, kw_only=True):
    """`<auth>`: a user and the secret that proves it."""

    user: str
    secret: Secret

    @classmethod
    def parse(cls, node: Node) -> Self:
        """Read `<auth username=>` with its `<secret>`."""
        node.ignore("type")
        secret = Secret.parse(node.required_child("secret"))
        return cls(user=node.required("username"), secret=secret)
