"""How a chain of images is accessed: what the `<driver>` of a disk says of it."""

from enum import StrEnum, unique
from typing import Self

from msgspec import Struct

from qsuper.options import Value
from qsuper.translate.node import Node


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
