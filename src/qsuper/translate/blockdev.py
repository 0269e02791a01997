"""Block devices: an image with its backing chain, as QEMU's nodes.

Each image has a storage node (the protocol) and mostly a format node above it. Shared by disks,
CD-ROMs, firmware flash and SCSI host devices.

Source: libvirt `qemuBlockStorageSourceGetBlockdevStorageProps`,
`qemuBlockStorageSourceNeedsFormatLayer`; QEMU `qapi/block-core.json`.
"""

from collections.abc import Iterator
from enum import StrEnum, unique
from typing import Final, Self

from msgspec import Struct
from msgspec.structs import replace

from qsuper.caps import Caps
from qsuper.errors import ConfigError
from qsuper.location import Location
from qsuper.options import Null, Option, Value
from qsuper.translate.manner import Manner
from qsuper.translate.netstorage import NetStorage, RbdStorage
from qsuper.translate.node import Node
from qsuper.translate.secret import Secret
from qsuper.translate.site import HostData, Site
from qsuper.translate.source import SourceType, parse_source
from qsuper.translate.storage import DirStorage, FileStorage, Storage

RAW: Final = "raw"
_FORMATS: Final = (
    "raw", "qcow2", "qcow", "qed", "vmdk", "vdi", "vpc", "vhd", "ploop", "bochs", "cloop", "dmg",
)  # fmt: skip
_DRIVERS: Final = {"vhd": "vhdx", "ploop": "parallels"}
"""QEMU's names of formats where libvirt has others."""
_INSTEAD: Final = {
    "iso": "use 'raw'",
    "dir": "use <disk type='dir'>",
    "fat": "it goes with <disk type='dir'>",
}
"""Formats that libvirt has a name for and QEMU has not."""
_BACKED: Final = ("qcow2", "qcow", "qed", "vmdk")
_ENCRYPTED: Final = ("raw", "qcow2")
_MASK: Final = "block-commit/arg-type/backing-mask-protocol"


@unique
class _EncryptionFormat(StrEnum):
    LUKS = "luks"
    LUKS2 = "luks2"
    LUKS_ANY = "luks-any"


@unique
class _Engine(StrEnum):
    QEMU = "qemu"
    LIBRBD = "librbd"


class Encryption(Struct, frozen=True, kw_only=True):
    """`<encryption>`: how an image is encrypted, and by which passphrase."""

    format: str
    is_librbd: bool
    secrets: tuple[Secret, ...]
    """Of the image, then of the images below it, where the Ceph library has layers."""

    @classmethod
    def parse(cls, node: Node) -> Self:
        """Read `<encryption format= engine=>` with its `<secret>`."""
        if node.child("cipher") is not None:
            raise node.error("<cipher> makes sense only where an image is made")
        kind = node.enum("format", _EncryptionFormat)
        engine = node.enum("engine", _Engine, _Engine.QEMU)
        if engine is _Engine.QEMU and kind is not _EncryptionFormat.LUKS:
            raise node.error(f"QEMU can't decrypt format='{kind}'", hint="luks")
        secrets = tuple(Secret.parse(part) for part in node.children("secret"))
        if any(secret.kind != "passphrase" for secret in secrets):
            raise node.error("its <secret> must be of another type", hint="passphrase")
        if not secrets or (len(secrets) > 1 and engine is _Engine.QEMU):
            raise node.error("it needs one <secret>")
        return cls(format=str(kind), is_librbd=engine is _Engine.LIBRBD, secrets=secrets)


class Image(Struct, frozen=True, kw_only=True):
    """One image, and what it is backed by."""

    at: Location
    storage: Storage
    format: str = RAW
    is_readonly: bool = False
    encryption: Encryption | None = None
    slice: tuple[int, int] | None = None
    """Offset and size in bytes of the part of the storage that holds the image."""
    metadata_cache_bytes: int | None = None
    data: "Image | None" = None
    """Where a qcow2 image keeps its content, if not in itself."""
    backing: "Image | None" = None
    is_base: bool = False
    """Known to have no backing image: `<backingStore/>`."""
    node: str = ""
    """What the nodes' names begin with: `libvirt-3`."""

    @classmethod
    def parse(cls, node: Node, kind: SourceType, image_format: str) -> Self | None:
        """Read the `<source>` and `<backingStore>` below *node*; None where there is no source.

        Raises:
            ConfigError: something makes no sense.
        """
        storage = parse_source(node, kind)
        if storage is None:
            node.accept("backingStore")
            return None
        if image_format == "aio":
            image_format = RAW  # Xen's word for it
        if kind is SourceType.DIR and image_format == "fat":
            image_format = RAW
        elif kind is SourceType.DIR:
            raise node.error("a directory is shown as format 'fat'", hint="<driver type='fat'/>")
        elif image_format not in _FORMATS:
            hint = _INSTEAD.get(image_format, f"one of {', '.join(_FORMATS)}")
            raise node.error(f"format '{image_format}' is not supported", hint=hint)
        source = node.required_child("source")
        backing = node.child("backingStore")
        return cls(
            at=node.at,
            storage=storage,
            format=image_format,
            encryption=_encryption(node, source),
            slice=_slice(source),
            data=_data(source),
            backing=_backing(backing) if backing is not None and backing.has("type") else None,
            is_base=backing is not None and not backing.has("type"),
        )

    @property
    def length(self) -> int:
        """How many images the chain has."""
        parts = (self.data, self.backing)
        return 1 + sum(part.length for part in parts if part is not None)

    def numbered(self, first: int) -> Self:
        """Name the nodes of the chain, `libvirt-N` for the top image, `libvirt-N+1` below."""
        data = self.data.numbered(first + 1) if self.data is not None else None
        below = first + 1 + (data.length if data is not None else 0)
        backing = self.backing.numbered(below) if self.backing is not None else None
        return replace(self, node=f"libvirt-{first}", data=data, backing=backing)

    def resolved(self, host: HostData) -> Self:
        """Find out where volumes of pools are.

        Raises:
            ConfigError: there is no such pool.
        """
        data = self.data.resolved(host) if self.data is not None else None
        backing = self.backing.resolved(host) if self.backing is not None else None
        storage = self.storage.resolved(host)
        return replace(self, storage=storage, data=data, backing=backing)

    def problems(self, site: Site) -> Iterator[ConfigError]:
        """Give what is wrong with the chain."""
        yield from self.storage.problems(site)
        if isinstance(self.storage, NetStorage):
            driver = self.storage.props(self.node)["driver"]
            if not site.caps.schema.has(f"blockdev-add/arg-type/+{driver}"):
                yield self._error(f"this QEMU has no protocol '{driver}'")
        if self.encryption is not None:
            yield from self._encryption_problems(self.encryption, site)
        if self.data is not None:
            yield from self.data.problems(site)
            if self.format != "qcow2" or self.data.format != RAW:
                yield self._error("<dataStore> is a raw image of a qcow2 image")
        if self.metadata_cache_bytes is not None and self.format != "qcow2":
            yield self._error("<metadata_cache> is for format 'qcow2'")
        if isinstance(self.storage, DirStorage) and not self.is_readonly:
            yield self._error("QEMU's FAT directory can't be written to: <readonly/> is missing")
        if self.backing is not None:
            is_plain = self.format == RAW and not self.has_format_node(site.caps)
            if not is_plain and self.format not in _BACKED:
                yield self._error(f"format '{self.format}' has no <backingStore>")
            yield from self.backing.problems(site)

    def obstacles(self) -> Iterator[ConfigError]:
        """Give what keeps QEMU from opening the chain."""
        for part in (self.data, self.backing):
            yield from part.obstacles() if part is not None else ()
        yield from self.storage.obstacles()

    def _encryption_problems(self, encryption: Encryption, site: Site) -> Iterator[ConfigError]:
        is_rbd, kind = isinstance(self.storage, RbdStorage), encryption.format
        if encryption.is_librbd and not is_rbd:
            yield self._error("engine='librbd' is for protocol='rbd'")
        path = f"blockdev-add/arg-type/+rbd/encrypt/+{kind}"
        if encryption.is_librbd and is_rbd and not site.caps.schema.has(path):
            yield self._error(f"this QEMU's rbd can't decrypt format='{kind}'")
        if self.format not in _ENCRYPTED:
            yield self._error(f"format '{self.format}' can't be encrypted")

    def _error(self, message: str) -> ConfigError:
        return ConfigError(f"{self.storage.label or 'image'}: {message}", at=self.at)

    # Nodes

    @property
    def has_luks(self) -> bool:
        """Whether QEMU decrypts it."""
        return self.encryption is not None and not self.encryption.is_librbd

    def has_format_node(self, caps: Caps) -> bool:
        """Tell whether there is a format node; without one the storage node is the drive."""
        return (
            self.format != RAW
            or self.has_luks
            or isinstance(self.storage, DirStorage)
            or not caps.schema.has(_MASK)
        )

    def top(self, caps: Caps) -> str:
        """Give the name of the node that stands for the image."""
        if self.has_format_node(caps):
            return f"{self.node}-format"
        return self._stored_node

    @property
    def _stored_node(self) -> str:
        """The node of the bytes that the image itself takes."""
        return f"{self.node}-{'slice-sto' if self.slice is not None else 'storage'}"

    def options(self, site: Site, manner: Manner) -> Iterator[Option]:
        """Give the nodes of the chain, the deepest image first, and what they refer to."""
        below = replace(manner, detect_zeroes=None)
        if self.backing is not None:
            yield from replace(self.backing, is_readonly=True).options(site, below)
        if self.data is not None:
            yield from replace(self.data, is_readonly=self.is_readonly).options(site, manner)
        storage = self._stored(manner)
        yield from storage.before(self.node, site)
        if self.encryption is not None and self.has_luks:
            ident = f"{self.node}-format-encryption-secret0"
            yield self.encryption.secrets[0].option(ident, site.host)
        common: dict[str, Value] = {
            "read-only": self.is_readonly,
            "discard": None if manner.discard is None else str(manner.discard),
            "detect-zeroes": manner.zeroes(),
        }
        has_format_node = self.has_format_node(site.caps)
        under_format: dict[str, Value] = {"auto-read-only": True, "discard": "unmap"}
        props = storage.props(self.node)
        props["node-name"] = f"{self.node}-storage"
        is_top = not has_format_node and self.slice is None
        props |= common if is_top else under_format
        yield Option.json("blockdev", props | manner.cache.props())
        if self.slice is not None:
            props = self._slice_props(*self.slice)
            props |= under_format if has_format_node else common
            yield Option.json("blockdev", props | manner.cache.props())
        if has_format_node:
            props = {"node-name": f"{self.node}-format"}
            props |= common | manner.cache.props() | self._format_props(site.caps, manner)
            yield Option.json("blockdev", props)

    def _slice_props(self, offset: int, size: int) -> dict[str, Value]:
        return {
            "driver": "raw",
            "node-name": f"{self.node}-slice-sto",
            "offset": offset,
            "size": size,
            "file": f"{self.node}-storage",
        }

    def _stored(self, manner: Manner) -> Storage:
        """The storage, told what the disk says of it."""
        match self.storage:
            case FileStorage():
                aio = None if manner.aio is None else str(manner.aio)
                return replace(self.storage, aio=aio)
            case DirStorage():
                is_writable = not self.is_readonly
                floppy = manner.is_floppy
                return replace(self.storage, is_floppy=floppy, is_writable=is_writable)
            case RbdStorage() if self.encryption is not None and self.encryption.is_librbd:
                kind, secrets = self.encryption.format, self.encryption.secrets
                return replace(self.storage, encryption=kind, passphrases=secrets)
            case storage:
                return storage

    def _format_props(self, caps: Caps, manner: Manner) -> dict[str, Value]:
        key = f"{self.node}-format-encryption-secret0"
        file = self._stored_node
        props: dict[str, Value] = {"driver": _DRIVERS.get(self.format, self.format), "file": file}
        if self.format == RAW:
            return props | ({"driver": "luks", "key-secret": key} if self.has_luks else {})
        if self.has_luks:
            props["encrypt"] = {"format": "luks", "key-secret": key}
        if self.format == "qcow2":
            props["discard-no-unref"] = manner.discard_no_unref
            props["cache-size"] = self.metadata_cache_bytes
            props["data-file"] = self.data.top(caps) if self.data is not None else None
        if self.backing is not None:
            props["backing"] = self.backing.top(caps)
        elif self.is_base and self.format in _BACKED:
            props["backing"] = Null()
        return props


def _encryption(node: Node, source: Node) -> Encryption | None:
    """Read it where it may stand: in the source, or as of old beside it."""
    inner, outer = source.child("encryption"), node.child("encryption")
    if inner is not None and outer is not None:
        raise outer.error("there is one in the <source>, too", hint="remove one")
    found = inner if inner is not None else outer
    return Encryption.parse(found) if found is not None else None


def _data(source: Node) -> Image | None:
    node = source.child("dataStore")
    if node is None:
        return None
    image_format = node.required_child("format")
    image = Image.parse(node, node.enum("type", SourceType), image_format.required("type"))
    if image is None:
        raise node.error("<source> is missing")
    return image


def _slice(source: Node) -> tuple[int, int] | None:
    slices = source.child("slices")
    for part in slices.children("slice") if slices is not None else ():
        if part.get("type") == "storage":
            return part.required_integer("offset", low=0), part.required_integer("size", low=1)
    return None


def _backing(node: Node) -> Image:
    image_format = node.required_child("format")
    image = Image.parse(node, node.enum("type", SourceType), image_format.required("type"))
    if image is None:
        raise node.error("<source> is missing")
    node.ignore("index")
    return replace(image, metadata_cache_bytes=metadata_cache(image_format))


def metadata_cache(node: Node) -> int | None:
    """Read `<metadata_cache><max_size>` below `<driver>` or `<format>`, in bytes."""
    cache = node.child("metadata_cache")
    size = cache.child("max_size") if cache is not None else None
    return size.bytes_text("bytes") if size is not None else None
