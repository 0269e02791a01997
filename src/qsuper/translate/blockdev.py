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
from qsuper.translate.netstorage import RbdStorage
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
class Cache(StrEnum):
    """How writes are cached, `<driver cache=>`."""

    DEFAULT = "default"
    NONE = "none"
    WRITETHROUGH = "writethrough"
    WRITEBACK = "writeback"
    DIRECTSYNC = "directsync"
    UNSAFE = "unsafe"

    @property
    def is_direct(self) -> bool:
        return self in (Cache.NONE, Cache.DIRECTSYNC)

    @property
    def has_write_cache(self) -> bool:
        """Whether the guest sees a volatile write cache, which it has to flush."""
        return self not in (Cache.WRITETHROUGH, Cache.DIRECTSYNC)

    def props(self) -> dict[str, Value]:
        """Give what every node gets of it."""
        if self is Cache.DEFAULT:
            return {}
        return {"cache": {"direct": self.is_direct, "no-flush": self is Cache.UNSAFE}}


@unique
class Discard(StrEnum):
    """What becomes of the guest's discards."""

    UNMAP = "unmap"
    IGNORE = "ignore"


@unique
class DetectZeroes(StrEnum):
    """What becomes of zeroes that the guest writes."""

    OFF = "off"
    ON = "on"
    UNMAP = "unmap"


@unique
class Aio(StrEnum):
    """How the host does I/O, `<driver io=>`."""

    THREADS = "threads"
    NATIVE = "native"
    IO_URING = "io_uring"


class Manner(Struct, frozen=True, kw_only=True):
    """How a chain of images is accessed."""

    cache: Cache = Cache.DEFAULT
    aio: Aio | None = None
    discard: Discard | None = None
    discard_no_unref: bool | None = None
    detect_zeroes: DetectZeroes | None = None
    """Of the top image only."""
    is_floppy: bool = False

    @classmethod
    def parse(cls, driver: Node | None, *, is_floppy: bool = False) -> Self:
        """Read it from the `<driver>` of a disk, if there is one."""
        if driver is None:
            return cls(is_floppy=is_floppy)
        driver.ignore("max_bufsize")
        return cls(
            cache=driver.enum("cache", Cache, Cache.DEFAULT),
            aio=driver.enum("io", Aio, None),
            discard=driver.enum("discard", Discard, None),
            discard_no_unref=driver.on_off("discard_no_unref"),
            detect_zeroes=driver.enum("detect_zeroes", DetectZeroes, None),
            is_floppy=is_floppy,
        )

    def zeroes(self) -> str | None:
        """Give QEMU's value, which knows `unmap` only together with discard."""
        if self.detect_zeroes is DetectZeroes.UNMAP and self.discard is not Discard.UNMAP:
            return "on"
        return None if self.detect_zeroes is None else str(self.detect_zeroes)


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
        if kind is SourceType.DIR and image_format in (RAW, "fat"):
            image_format = RAW
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
            backing=_backing(backing) if backing is not None and backing.has("type") else None,
            is_base=backing is not None and not backing.has("type"),
        )

    @property
    def length(self) -> int:
        """How many images the chain has."""
        return 1 + (self.backing.length if self.backing is not None else 0)

    def numbered(self, first: int) -> Self:
        """Name the nodes of the chain, `libvirt-N` for the top image, `libvirt-N+1` below."""
        backing = self.backing.numbered(first + 1) if self.backing is not None else None
        return replace(self, node=f"libvirt-{first}", backing=backing)

    def resolved(self, host: HostData) -> Self:
        """Find out where volumes of pools are.

        Raises:
            ConfigError: there is no such pool.
        """
        backing = self.backing.resolved(host) if self.backing is not None else None
        storage = self.storage.resolved(host)
        return replace(self, storage=storage, backing=backing)

    def problems(self, site: Site) -> Iterator[ConfigError]:
        """Give what is wrong with the chain."""
        yield from self.storage.problems(site)
        if self.encryption is not None:
            is_rbd = isinstance(self.storage, RbdStorage)
            if self.encryption.is_librbd and not is_rbd:
                yield self._error("engine='librbd' is for protocol='rbd'")
            kind = self.encryption.format
            path = f"blockdev-add/arg-type/+rbd/encrypt/+{kind}"
            if self.encryption.is_librbd and is_rbd and not site.caps.schema.has(path):
                yield self._error(f"this QEMU's rbd can't decrypt format='{kind}'")
            if self.format not in _ENCRYPTED:
                yield self._error(f"format '{self.format}' can't be encrypted")
        if self.metadata_cache_bytes is not None and self.format != "qcow2":
            yield self._error("<metadata_cache> is for format 'qcow2'")
        if isinstance(self.storage, DirStorage) and not self.is_readonly:
            yield self._error("QEMU's FAT directory can't be written to: <readonly/> is missing")
        if self.format == RAW and self.backing is not None:
            yield self._error("a raw image has no <backingStore>")
        if self.backing is not None:
            yield from self.backing.problems(site)

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
        return f"{self.node}-{'slice-sto' if self.slice is not None else 'storage'}"

    def options(self, site: Site, manner: Manner) -> Iterator[Option]:
        """Give the nodes of the chain, the deepest image first, and what they refer to."""
        below = replace(manner, detect_zeroes=None)
        if self.backing is not None:
            yield from replace(self.backing, is_readonly=True).options(site, below)
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
        if self.slice is not None and self._has_slice_node(site.caps):
            props = self._slice_props(*self.slice)
            props |= under_format if has_format_node else common
            yield Option.json("blockdev", props)
        if has_format_node:
            props = {"node-name": f"{self.node}-format"}
            props |= common | manner.cache.props() | self._format_props(site.caps, manner)
            yield Option.json("blockdev", props)

    def _has_slice_node(self, caps: Caps) -> bool:
        """A raw format node takes the slice itself."""
        is_raw = self.format == RAW and not self.has_luks
        return self.slice is not None and not (is_raw and self.has_format_node(caps))

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
        file = f"{self.node}-{'slice-sto' if self._has_slice_node(caps) else 'storage'}"
        props: dict[str, Value] = {"driver": _DRIVERS.get(self.format, self.format), "file": file}
        if self.format == RAW:
            if self.has_luks:
                props |= {"driver": "luks", "key-secret": key}
            elif self.slice is not None:
                props |= {"offset": self.slice[0], "size": self.slice[1]}
            return props
        if self.has_luks:
            props["encrypt"] = {"format": "luks", "key-secret": key}
        if self.format == "qcow2":
            props["discard-no-unref"] = manner.discard_no_unref
            props["cache-size"] = self.metadata_cache_bytes
        if self.backing is not None:
            props["backing"] = self.backing.top(caps)
        elif self.is_base and self.format in _BACKED:
            props["backing"] = Null()
        return props


def _encryption(node: Node, source: Node) -> Encryption | None:
    """Read it where it may stand: in the source, or as of old beside it."""
    for place in (source, node):
        found = place.child("encryption")
        if found is not None:
            return Encryption.parse(found)
    return None


def _slice(source: Node) -> tuple[int, int] | None:
    slices = source.child("slices")
    if slices is None:
        return None
    part = slices.required_child("slice")
    if part.get("type") != "storage":
        raise part.error("type='storage' is the only one")
    return part.required_integer("offset", low=0), part.required_integer("size", low=1)


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
