"""virtiofsd: the helper that serves a directory of the host by virtiofs.

It inherits a listening socket on which QEMU's end waits already. The options of `-o` are those
that both virtiofsd of C and that of Rust take; what only the latter knows (`<readonly>`, `<idmap>`)
the former refuses at its start, so that nothing is served in another way than the file says.

Sources: libvirt `formatdomain.rst`, "Filesystems"; virtiofsd's own help.
"""

from collections.abc import Iterator
from enum import StrEnum, unique
from typing import Final, Self

from msgspec import Struct

from qsuper.options import Handle, HelperLink, Word
from qsuper.plan import Helper
from qsuper.translate.node import Node

_PACKAGE: Final = "qemu-system-common, or virtiofsd"
_MOST: Final = 1 << 31


@unique
class Cache(StrEnum):
    """How long the guest may believe what it has read."""

    NONE = "none"
    ALWAYS = "always"


@unique
class Sandbox(StrEnum):
    """What keeps virtiofsd to its directory."""

    NAMESPACE = "namespace"
    CHROOT = "chroot"


class Virtiofsd(Struct, frozen=True, kw_only=True):
    """What a file says of virtiofsd: `<binary>` and `<idmap>`."""

    program: str = "virtiofsd"
    cache: Cache | None = None
    sandbox: Sandbox | None = None
    switches: tuple[str, ...] = ()
    """Further words of `-o`."""
    threads: int | None = None
    open_files: int | None = None
    maps: tuple[str, ...] = ()
    """`--uid-map` and `--gid-map` with their values."""

    @classmethod
    def parse(cls, node: Node) -> Self:
        """Read it from `<filesystem>`.

        Raises:
            ConfigError: an unknown word, a number out of range.
        """
        maps = tuple(_maps(node))
        binary = node.child("binary")
        if binary is None:
            return cls(maps=maps)
        cache, sandbox = binary.child("cache"), binary.child("sandbox")
        pool, files = binary.child("thread_pool"), binary.child("openfiles")
        return cls(
            program=binary.file("path") or "virtiofsd",
            cache=cache.enum("mode", Cache) if cache is not None else None,
            sandbox=sandbox.enum("mode", Sandbox) if sandbox is not None else None,
            switches=tuple(_switches(binary)),
            threads=pool.required_integer("size", low=0, high=_MOST) if pool is not None else None,
            open_files=(
                files.required_integer("max", low=1, high=_MOST) if files is not None else None
            ),
            maps=maps,
        )

    def link(self, alias: str) -> HelperLink:
        """Give the connection with the QEMU of device *alias*."""
        return HelperLink(name=f"{alias}-virtiofsd", listens=True)

    def helper(self, alias: str, source: str, *, is_readonly: bool) -> Helper:
        """Give the process for device *alias* and directory *source*."""
        link = self.link(alias)
        return Helper(
            name=link.name,
            serves=alias,
            program=self.program,
            package=_PACKAGE,
            words=tuple(self._words(link, source, is_readonly=is_readonly)),
            link=link,
        )

    def _words(self, link: HelperLink, source: str, *, is_readonly: bool) -> Iterator[Word]:
        yield Handle(resource=link, shown=f"--fd=<{link.name}>", live="--fd={}")
        yield "-o"
        escaped = source.replace("\\", "\\\\").replace(",", "\\,")
        named = [("source", escaped), ("cache", self.cache), ("sandbox", self.sandbox)]
        yield ",".join([*(f"{key}={value}" for key, value in named if value), *self.switches])
        if self.threads is not None:
            yield f"--thread-pool-size={self.threads}"
        if self.open_files is not None:
            yield f"--rlimit-nofile={self.open_files}"
        yield from self.maps
        if is_readonly:
            yield "--readonly"


def _switches(binary: Node) -> Iterator[str]:
    lock = binary.child("lock")
    wanted = [("xattr", binary.on_off("xattr"))]
    if lock is not None:
        wanted += [("flock", lock.on_off("flock")), ("posix_lock", lock.on_off("posix"))]
    for name, is_on in wanted:
        if is_on is not None:
            yield name if is_on else f"no_{name}"


def _maps(node: Node) -> Iterator[str]:
    idmap = node.child("idmap")
    for kind in ("uid", "gid"):
        for entry in idmap.children(kind) if idmap is not None else ():
            names = ("start", "target", "count")
            numbers = [entry.required_integer(name, low=0, high=1 << 32) for name in names]
            yield f"--{kind}-map=:{':'.join(map(str, numbers))}:"
