"""`<memory>` and its kin: how much RAM the guest has and what the host backs it with."""

from collections.abc import Iterator
from typing import Final, Self

from msgspec import Struct

from qsuper.errors import ConfigError
from qsuper.location import Notice
from qsuper.options import Option, Props
from qsuper.translate.node import Node
from qsuper.translate.parts.backing import Backing, MemoryObject, memory_options, page_path
from qsuper.translate.parts.numa import Numa
from qsuper.translate.site import Site

_MIB: Final = 1 << 20
_KIB: Final = 1 << 10
_MOST_BYTES: Final = 1 << 62
_MOST_SLOTS: Final = 256


class Memory(Struct, frozen=True, kw_only=True):
    """The guest's RAM."""

    node: Node
    size_bytes: int | None = None
    """What `<memory>` says: all of it, pluggable devices included."""
    current_bytes: int | None = None
    """What the balloon leaves to the guest."""
    maximum_bytes: int | None = None
    """What can be plugged in up to."""
    slots: int = 0
    is_dumped: bool = False
    """Core dumps of QEMU hold the guest's memory."""
    backing: Backing

    @classmethod
    def parse(cls, node: Node) -> Self:
        """Read the memory elements of `<domain>`.

        Raises:
            ConfigError: a quantity is none, or too big.
        """
        found, current, most = (
            node.child("memory"),
            node.child("currentMemory"),
            node.child("maxMemory"),
        )
        return cls(
            node=found if found is not None else node,
            size_bytes=_bytes(found) if found is not None else None,
            current_bytes=_bytes(current) if current is not None else None,
            maximum_bytes=_bytes(most) if most is not None else None,
            slots=(most.integer("slots", low=0, high=_MOST_SLOTS) or 0) if most is not None else 0,
            is_dumped=bool(found.on_off("dumpCore")) if found is not None else False,
            backing=Backing.parse(node),
        )

    def initial_bytes(self, numa: Numa, *, plugged_bytes: int) -> int:
        """Give the size of the memory at start, without devices, in whole MiB."""
        if numa.cells:
            return sum(cell.size_bytes for cell in numa.cells)
        return _whole((self.size_bytes or 0) - plugged_bytes)

    def problems(self, site: Site, *, numa: Numa, plugged_bytes: int = 0) -> Iterator[ConfigError]:
        """Give what does not add up, or what the host has not."""
        initial = self.initial_bytes(numa, plugged_bytes=plugged_bytes)
        if not self.size_bytes and not numa.cells:
            yield self.node.error("there is no memory", hint="<memory unit='MiB'>512</memory>")
        elif initial <= 0:
            yield self.node.error("the memory devices are bigger than all memory")
        most = self.maximum_bytes
        if most is not None and most < initial + plugged_bytes:
            yield self.node.error("<maxMemory> is smaller than the memory", hint="make it bigger")
        if plugged_bytes and most is None:
            yield self.node.error("memory devices need <maxMemory slots=>", hint="add it")
        yield from self.backing.problems(site, cells=len(numa.cells))

    @property
    def ballooned_bytes(self) -> int | None:
        """What a balloon leaves to the guest at the start; None: it stays empty."""
        current, size = self.current_bytes, self.size_bytes
        return current if current and size and current < size else None

    def notices(self, site: Site, *, numa: Numa, has_balloon: bool) -> Iterator[Notice]:
        """Tell what has no effect: a size without a balloon, nodes that can't be named."""
        memory = numa.tune.memory
        if memory is not None and self.is_by_size(site, numa):
            yield memory.node.notice(
                f"no effect: machine '{site.machine}' can't have it for all cells at once"
            )
        if self.ballooned_bytes and not has_balloon:
            yield self.node.notice("<currentMemory> has no effect: there is no balloon")

    def machine_props(self, site: Site, *, numa: Numa, in_pieces: bool = False) -> Props:
        """Give `dump-guest-core=`, `mem-merge=`, `memory-backend=` of `-machine`."""
        return {
            "dump-guest-core": self.is_dumped,
            "mem-merge": None if self.backing.shares_pages else False,
            "memory-backend": None if numa.cells or in_pieces else ram_id(site),
        }

    def options(
        self,
        site: Site,
        *,
        numa: Numa,
        domain: str,
        plugged_bytes: int = 0,
        shared: tuple[Option, ...] = (),
    ) -> Iterator[Option]:
        """Give `-m`, the object of the RAM, `-overcommit`.

        Args:
            site: The ground.
            numa: The cells, whose sizes count where there are some.
            domain: The domain's name, for the paths of files.
            plugged_bytes: Size of all memory devices (dimm, nvdimm, ...) together.
            shared: The objects of the RAM where other members of the group share it.
        """
        initial = self.initial_bytes(numa, plugged_bytes=plugged_bytes)
        most = self.maximum_bytes
        props: Props = {
            "size": f"{initial // _KIB}k",
            "slots": self.slots or None,
            "maxmem": None if most is None else f"{_whole(most) // _KIB}k",
        }
        yield Option.keyed("m", props)
        alias = ram_id(site)
        if shared:
            yield from shared
        elif not numa.cells and alias is not None:
            piece = MemoryObject(alias=alias, size_bytes=initial, domain=domain, is_system=True)
            yield from memory_options(piece, self.backing, numa.tune.binding(None), site)
        yield Option.keyed("overcommit", {"mem-lock": self.backing.is_locked})

    def is_by_size(self, site: Site, numa: Numa) -> bool:
        """Tell whether `-numa` gives the cells their memory, without objects.

        Old machine types were made so, and a guest of theirs that is migrated has to stay so.

        Source: libvirt `qemuBuildNumaCommandLine`, `qemuBuildMemoryBackendProps`.
        """
        info = site.machine_info
        if not numa.cells or numa.has_hmat or info is None or not info.numa_mem:
            return False
        is_bound = bool(numa.tune.cells) or any(page.cells for page in self.backing.pages)
        accesses = (self.backing.access, *(cell.access for cell in numa.cells))
        return not is_bound and not any(accesses) and self.backing.is_anonymous

    def preallocates(self, site: Site, numa: Numa) -> bool:
        """Tell whether one option has QEMU touch all memory first, that of devices too."""
        return self.is_by_size(site, numa) and self.backing.is_early(None)

    def cell_options(self, site: Site, *, numa: Numa, domain: str) -> Iterator[Option]:
        """Give the objects of the cells' memory; they stand before `-numa`."""
        if self.is_by_size(site, numa):
            if self.preallocates(site, numa):
                yield Option.flag("mem-prealloc")
            page = self.backing.page(None)
            if page is not None:
                yield Option.word("mem-path", page_path(page, domain, site))
            return
        for cell in numa.cells:
            piece = MemoryObject(
                alias=cell.backend,
                size_bytes=cell.size_bytes,
                domain=domain,
                cell=cell.number,
                access=cell.access,
                discards=cell.discards,
            )
            binding = numa.tune.binding(cell.number)
            yield from memory_options(piece, self.backing, binding, site)


def ram_id(site: Site) -> str | None:
    """Give the id that the machine wants its RAM's object to have."""
    info = site.machine_info
    return info.default_ram_id if info is not None else None


def _whole(size: int) -> int:
    """Round up to a MiB."""
    return -(-size // _MIB) * _MIB


def _bytes(node: Node) -> int:
    size = node.bytes_text()
    if size >= _MOST_BYTES:
        raise node.error("that is more memory than there can be", hint="check the unit")
    return size
