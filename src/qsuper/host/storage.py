"""libvirt's storage pools, from its own definitions."""

import glob
import os
from typing import Any

from qsuper.host.files import read_xml
from qsuper.translate.node import Node

Pool = dict[str, Any]
"""`type`; `path` of the target; `source`: `host`, `port`, `device`, `dir`, `name`, and `auth`
(`type`, `username`, `secret` with `uuid` or `usage`; None without). Of several hosts or devices
the first."""


def read_pools(directory: str) -> dict[str, Pool]:
    """Read `storage-pools/*.xml` in *directory*; a pool goes by its file's name, and by its own.

    Raises:
        ConfigError: a file is no pool's definition.
    """
    result: dict[str, Pool] = {}
    names: dict[str, Pool] = {}
    pattern = os.path.join(glob.escape(os.path.join(directory, "storage-pools")), "*.xml")
    for path in sorted(glob.glob(pattern)):
        root = read_xml(path).root
        if root.tag != "pool":
            raise root.error("this file is no <pool>")
        pool = _pool(root)
        result[os.path.basename(path).removesuffix(".xml")] = pool
        names.setdefault(root.child_text("name") or "", pool)
    return names | result


def _pool(root: Node) -> Pool:
    target = root.child("target")
    source = root.child("source")
    return {
        "type": root.required("type"),
        "path": (target.child_text("path") if target else None) or "",
        "source": _source(source) if source else {},
    }


def _source(source: Node) -> dict[str, Any]:
    auth = source.child("auth")
    return {
        "host": _attribute(source.child("host"), "name"),
        "port": _attribute(source.child("host"), "port"),
        "device": _attribute(source.child("device"), "path"),
        "dir": _attribute(source.child("dir"), "path"),
        "name": source.child_text("name") or "",
        "auth": _auth(auth) if auth else None,
    }


def _attribute(element: Node | None, name: str) -> str:
    return (element.get(name) if element else None) or ""


def _auth(auth: Node) -> dict[str, Any]:
    secret = auth.child("secret")
    return {
        "type": _attribute(auth, "type"),
        "username": _attribute(auth, "username"),
        "secret": {
            name: text for name in ("uuid", "usage") if secret and (text := secret.get(name))
        },
    }
