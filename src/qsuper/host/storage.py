"""libvirt's storage pools, from its own definitions."""

import glob
import os
from typing import Any

from qsuper.host.files import read_xml
from qsuper.translate.node import Node

Pool = dict[str, Any]
"""`type`; `path` of the target; `source`: `hosts` (each `name`, `port`), `devices`, `dir`, `name`,
`auth` (`type`, `username`, `secret` with `uuid` or `usage`)."""


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
        "hosts": [
            {"name": host.get("name") or "", "port": host.get("port") or ""}
            for host in source.children("host")
        ],
        "devices": [device.get("path") or "" for device in source.children("device")],
        "dir": _path_of(source.child("dir")),
        "name": source.child_text("name") or "",
        "auth": _auth(auth) if auth else None,
    }


def _path_of(element: Node | None) -> str:
    return (element.get("path") if element else None) or ""


def _auth(auth: Node) -> dict[str, Any]:
    secret = auth.child("secret")
    return {
        "type": auth.get("type") or "",
        "username": auth.get("username") or "",
        "secret": {
            name: text for name in ("uuid", "usage") if secret and (text := secret.get(name))
        },
    }
