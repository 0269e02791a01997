"""`<memoryBacking>`: what on the host stands behind the guest's memory."""

from collections.abc import Iterator
from enum import StrEnum, unique
from typing import Final, Self

from msgspec import Struct

from qsuper.errors import ConfigError
from qsuper.options import Handle, Option, Props, SharedMemory, Value
from qsuper.translate.node import Node
from qsuper.translate.parts.cpuset import numbers
from qsuper.translate.parts.numatune import Binding
from qsuper.translate.site import Site

_KIB: Final = 1024
_ORDINARY_BYTES: Final = 4096  # of pages that are not huge, on all hosts that qsuper knows
_USUAL_MOUNT: Final = "/dev/hugepages"


@unique
class MemoryAccess(StrEnum):
    """Whether other processes see what the guest writes."""

    SHARED = "shared"
    PRIVATE = "private"


@unique
class SourceType(StrEnum):
    """Where memory comes from."""

    ANONYMOUS = "anonymous"
    FILE = "file"
    MEMFD = "memfd"


@unique
class Allocation(StrEnum):
    """When memory is taken from the host."""

    IMMEDIATE = "immediate"
    ONDEMAND = "ondemand"


class HugePage(Struct, frozen=True, kw_only=True):
    """`<page>`: a page size and the cells that get it."""

    node: Node
    size_bytes: int | None
    """None: the host's default."""
    cells: frozenset[int] | None = None
    """None: all others."""


class Backing(Struct, frozen=True, kw_only=True):
    """What stands in `<memoryBacking>`."""

    pages: tuple[HugePage, ...] = ()
    shares_pages: bool = True
    is_locked: bool = False
    source: SourceType | None = None
    access: MemoryAccess | None = None
    allocation: Allocation | None = None
    threads: int | None = None
    discards: bool | None = None
    has_pinned_cpus: bool = False
    """`<vcpu cpuset=>`: no threads are made to touch memory elsewhere, as they could not run."""

    @classmethod
    def parse(cls, node: Node) -> Self:
        """Read `<memoryBacking>` of `<domain>`.

        Raises:
            ConfigError: an unknown word, a page size that is none.
        """
        found, vcpu = node.child("memoryBacking"), node.child("vcpu")
        has_pinned_cpus = vcpu is not None and vcpu.has("cpuset")
        if found is None:
            return cls(has_pinned_cpus=has_pinned_cpus)
        source, access = found.child("source"), found.child("access")
        allocation = found.child("allocation")
        return cls(
            pages=tuple(_pages(found)),
            shares_pages=found.child("nosharepages") is None,
            is_locked=found.child("locked") is not None,
            source=source.enum("type", SourceType, None) if source is not None else None,
            access=access.enum("mode", MemoryAccess, None) if access is not None else None,
            allocation=(
                allocation.enum("mode", Allocation, None) if allocation is not None else None
            ),
            threads=(
                allocation.integer("threads", low=0, high=0xFFFF) or None
                if allocation is not None
                else None
            ),
            discards=True if found.child("discard") is not None else None,
            has_pinned_cpus=has_pinned_cpus,
        )

    @property
    def is_anonymous(self) -> bool:
        """Whether the memory has no file, or no other than huge pages."""
        return self.source not in (SourceType.FILE, SourceType.MEMFD)

    def is_early(self, cell: int | None) -> bool:
        """Tell whether all of a cell's memory is touched before the guest runs."""
        return self.page(cell) is not None or self.allocation is Allocation.IMMEDIATE

    @property
    def says_what(self) -> bool:
        """Whether it says where the memory comes from."""
        return bool(self.pages) or self.source is not None or self.access is not None

    def page(self, cell: int | None) -> HugePage | None:
        """Give the huge pages of a cell, or of memory in none (None); None: ordinary ones."""
        # Without cells the whole memory counts as cell 0.
        mine = (page for page in self.pages if page.cells and (cell or 0) in page.cells)
        others = (page for page in self.pages if page.cells is None)
        found = next(mine, None) or next(others, None)
        return None if found is None or found.size_bytes == _ORDINARY_BYTES else found

    def problems(self, site: Site, *, cells: int) -> Iterator[ConfigError]:
        """Give page sizes that the host has not, and cells that are not there."""
        masters = [page for page in self.pages if page.cells is None or not cells]
        if len(masters) > 1:
            yield masters[1].node.error("two sizes are for all cells", hint="use nodeset=")
        if masters and self.source is SourceType.ANONYMOUS:
            yield masters[0].node.error("huge pages are no source type='anonymous'", hint="memfd")
        seen: set[int] = set()
        for page in self.pages:
            yield from _page_problems(page, site)
            named = page.cells or frozenset()
            # Without cells the whole memory counts as cell 0.
            if named and max(named) >= max(cells, 1):
                yield page.node.error(f"there is no cell {max(named)}", hint="see <cpu><numa>")
            if seen & named:
                yield page.node.error(f"cell {min(seen & named)} has another size, too")
            seen |= named


class MemoryObject(Struct, frozen=True, kw_only=True):
    """One piece of memory, from which its QEMU object is made."""

    alias: str
    """The object's id."""
    size_bytes: int
    domain: str
    """The domain's name."""
    is_system: bool = False
    """The whole memory of a machine without cells."""
    cell: int | None = None
    access: MemoryAccess | None = None
    discards: bool | None = None
    path: str | None = None
    """A file of its own, in which it lasts."""
    is_touched: bool = False
    """It is allocated at once, whatever holds for other memory."""


def memory_options(
    piece: MemoryObject, backing: Backing, binding: Binding | None, site: Site
) -> Iterator[Option]:
    """Give the object of a piece of memory, and of the threads that touch it first.

    Source: libvirt `qemuBuildMemoryBackendProps`.
    """
    page = backing.page(piece.cell)
    access = piece.access or backing.access
    kind = "file" if piece.path is not None else _kind(backing, page, access)
    is_early = piece.is_touched or backing.is_early(piece.cell)
    props: dict[str, Value] = {"qom-type": f"memory-backend-{kind}", "id": piece.alias}
    if kind == "memfd" and page is not None:
        props |= {"hugetlb": True, "hugetlbsize": page_size(page, site)}
    if piece.path is not None:
        props["mem-path"] = piece.path
    elif kind == "file":
        props["mem-path"] = _path(piece, page, site)
        props["discard-data"] = piece.discards if piece.discards is not None else backing.discards
    if access is not None:
        props["share"] = access is MemoryAccess.SHARED
    if piece.is_system and kind != "ram":
        props["x-use-canonical-path-for-ramblock-id"] = False
    props["prealloc"] = True if is_early else None
    props["prealloc-threads"] = backing.threads
    props["size"] = piece.size_bytes
    policy: Props = binding.policy(site) if binding is not None else {}
    context = None
    nodes = binding.nodes_on(site) if binding is not None else []
    may_help = is_early and not backing.has_pinned_cpus
    if may_help and nodes and site.caps.has_type("thread-context"):
        context = f"tc-{piece.alias}"
        affinity: Props = {"node-affinity": nodes}
        yield Option.json("object", {"qom-type": "thread-context", "id": context, **affinity})
    yield Option.json("object", {**props, **policy, "prealloc-context": context})


def page_size(page: HugePage, site: Site) -> int | None:
    """Give the size of a huge page in bytes; None: the host's default, which is not known."""
    return page.size_bytes or next(iter(site.host.hugepages), None)


def page_path(page: HugePage, domain: str, site: Site) -> str:
    """Give the directory whose files are of such pages."""
    directory = site.host.hugepages.get(page_size(page, site) or 0, _USUAL_MOUNT)
    return directory.replace("{domain}", short_name(domain))


def short_name(domain: str) -> str:
    """Give the name of a domain as libvirt has it in paths, of a domain that does not run."""
    return f"-1-{domain[:20]}".replace("/", "-")


def _kind(backing: Backing, page: HugePage | None, access: MemoryAccess | None) -> str:
    if backing.source is SourceType.MEMFD:
        return "memfd"
    if page is not None or access is not None or backing.source is SourceType.FILE:
        return "file"
    return "ram"


def _path(piece: MemoryObject, page: HugePage | None, site: Site) -> Value:
    if page is not None:
        return page_path(page, piece.domain, site)
    # libvirt's file is private to the domain and goes with it: a memfd does the same.
    memory = SharedMemory(
        name=piece.alias, share=f"{piece.domain}/{piece.alias}", size_bytes=piece.size_bytes
    )
    shown = f"{site.host.ram_dir}/{short_name(piece.domain)}/{piece.alias}"
    return Handle(resource=memory, shown=shown, live="/proc/self/fd/{}")


def _pages(node: Node) -> Iterator[HugePage]:
    for parent in node.children("hugepages"):
        pages = list(parent.children("page"))
        if not pages:
            yield HugePage(node=parent, size_bytes=None)
        for page in pages:
            size = page.quantity("size")
            if not size:
                raise page.error("attribute 'size' is missing or zero")
            text = page.get("nodeset")
            cells = numbers(page, text, "nodeset=") if text is not None else None
            yield HugePage(node=page, size_bytes=size, cells=cells)


def _page_problems(page: HugePage, site: Site) -> Iterator[ConfigError]:
    known = site.host.hugepages
    if page.size_bytes is None or not known:
        return
    if page.size_bytes not in known and page.size_bytes != _ORDINARY_BYTES:
        have = ", ".join(f"{size // _KIB} KiB" for size in known)
        yield page.node.error(
            f"the host has no huge pages of {page.size_bytes // _KIB} KiB", hint=f"it has {have}"
        )
