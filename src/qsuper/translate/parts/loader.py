"""`<loader>` and `<nvram>` of `<os>`: the images of a firmware and of its variables."""

from enum import StrEnum, unique
from typing import Final

from msgspec import Struct

from qsuper.translate.node import Node
from qsuper.translate.source import SourceType, parse_source
from qsuper.translate.storage import FileStorage, Storage

_NVRAM_TYPES: Final = (SourceType.FILE, SourceType.BLOCK, SourceType.NETWORK)


@unique
class LoaderType(StrEnum):
    """Where the firmware sits."""

    ROM = "rom"
    PFLASH = "pflash"


@unique
class ImageFormat(StrEnum):
    """Format of a firmware image."""

    RAW = "raw"
    QCOW2 = "qcow2"


class Loader(Struct, frozen=True, kw_only=True):
    """`<loader>`."""

    node: Node
    path: str = ""
    kind: LoaderType | None = None
    is_readonly: bool | None = None
    is_secure: bool | None = None
    is_stateless: bool | None = None
    format: ImageFormat | None = None


class Nvram(Struct, frozen=True, kw_only=True):
    """`<nvram>`: the firmware's variables, which a domain has for itself."""

    node: Node
    storage: Storage | None = None
    template: str = ""
    """What it is copied from when it does not exist."""
    template_format: ImageFormat | None = None
    format: ImageFormat | None = None


def read_loader(node: Node, *, is_named: bool) -> Loader:
    """Read `<loader>`; *is_named*: nothing but its path says which firmware it is.

    Raises:
        ConfigError: an unknown word.
    """
    path = node.file_text()
    kind = node.enum("type", LoaderType, None)
    return Loader(
        node=node,
        path=path,
        kind=LoaderType.ROM if kind is None and path and is_named else kind,
        is_readonly=node.yes_no("readonly"),
        is_secure=node.yes_no("secure"),
        is_stateless=node.yes_no("stateless"),
        format=node.enum("format", ImageFormat, None),
    )


def read_nvram(node: Node) -> Nvram:
    """Read `<nvram>` of `<os>`.

    Raises:
        ConfigError: an unknown word, a source that keeps no variables.
    """
    storage: Storage | None
    if node.has("type"):
        kind = node.enum("type", SourceType)
        if kind not in _NVRAM_TYPES:
            raise node.error(f"type='{kind}' keeps no variables", hint="file, block or network")
        node.required_child("source")
        storage = parse_source(node, kind)
    else:
        path = node.file_text()
        storage = FileStorage(at=node.at, path=path) if path else None
    return Nvram(
        node=node,
        storage=storage,
        template=node.file("template") or "",
        template_format=node.enum("templateFormat", ImageFormat, None),
        format=node.enum("format", ImageFormat, None),
    )
