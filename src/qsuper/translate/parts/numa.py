"""`<cpu><numa>`: the guest's NUMA cells, how far they are from each other."""

from collections.abc import Iterator
from typing import Final, Self

from msgspec import Struct, field
from msgspec.structs import replace

from qsuper.errors import ConfigError
from qsuper.location import Notice
from qsuper.options import Option, Props
from qsuper.translate.node import Node
from qsuper.translate.parts.backing import MemoryAccess
from qsuper.translate.parts.cpuset import numbers, ranges
from qsuper.translate.parts.hmat import Interconnect, MemoryCache, parse_interconnects
from qsuper.translate.parts.numatune import Numatune
from qsuper.translate.parts.vcpu import Vcpu
from qsuper.translate.site import Site

_MIB: Final = 1 << 20
_MOST_CELLS: Final = 128  # QEMU's MAX_NODES
_MOST_BYTES: Final = 1 << 62
_HERE: Final = 10
_ELSEWHERE: Final = 20
_FARTHEST: Final = 255
_NO_DISTANCES: Final[dict[int, int]] = {}


class Cell(Struct, frozen=True, kw_only=True):
    """A NUMA node of the guest."""

    node: Node
    number: int
    cpus: frozenset[int]
    size_bytes: int
    """Whole MiB."""
    access: MemoryAccess | None = None
    discards: bool | None = None
    distances: dict[int, int] = field(default_factory=dict[int, int])
    """To other cells, as far as the file says."""
    caches: tuple[MemoryCache, ...] = ()

    @property
    def backend(self) -> str:
        return f"ram-node{self.number}"


class Numa(Struct, frozen=True, kw_only=True):
    """The cells, in the order of their numbers; none: no NUMA."""

    cells: tuple[Cell, ...] = ()
    is_implied: bool = False
    """The only cell is not from the file."""
    interconnects: tuple[Interconnect, ...] = ()
    tune: Numatune

    @classmethod
    def parse(cls, node: Node) -> Self:
        """Read `<cpu><numa>` and `<numatune>` of `<domain>`.

        Raises:
            ConfigError: a number out of range, a cell that is missing or there twice.
        """
        cpu = node.child("cpu")
        found = cpu.child("numa") if cpu is not None else None
        tune = Numatune.parse(node)
        if found is None:
            return cls(tune=tune)
        elements = list(found.children("cell"))
        if not elements:
            raise found.error("<cell> is missing")
        cells: dict[int, Cell] = {}
        for position, element in enumerate(elements):
            cell = _cell(element, position)
            if cell.number in cells:
                raise element.error(f"id='{cell.number}' is given twice")
            if cell.number >= len(elements):
                raise element.error(f"id='{cell.number}' leaves a gap", hint="ids go from 0 up")
            cells[cell.number] = cell
        if len(cells) > _MOST_CELLS:
            raise found.error("there are too many cells", hint=f"at most {_MOST_CELLS}")
        return cls(
            cells=tuple(cells[number] for number in sorted(cells)),
            interconnects=tuple(parse_interconnects(found)),
            tune=tune,
        )

    def defaulted(self, vcpu: Vcpu, *, at: Node, slots: int, size_bytes: int) -> Self:
        """Put the CPUs that no cell names into the first; where memory is plugged, have one."""
        if not self.cells:
            if not slots or size_bytes <= 0:
                return self
            all_cpus = frozenset(range(vcpu.maximum))
            cell = Cell(node=at, number=0, cpus=all_cpus, size_bytes=size_bytes)
            return replace(self, cells=(cell,), is_implied=True)
        rest = frozenset(range(vcpu.maximum)).difference(*(cell.cpus for cell in self.cells))
        first = replace(self.cells[0], cpus=self.cells[0].cpus | rest)
        return replace(self, cells=(first, *self.cells[1:]))

    @property
    def has_hmat(self) -> bool:
        return bool(self.interconnects) or any(cell.caches for cell in self.cells)

    def machine_props(self) -> Props:
        """Give `hmat=` of `-machine`."""
        return {"hmat": True if self.has_hmat else None}

    def problems(self, site: Site, *, vcpu: Vcpu) -> Iterator[ConfigError]:
        """Give what does not add up."""
        yield from self.tune.problems(site, cells=len(self.cells))
        seen: set[int] = set()
        for cell in self.cells:
            if seen & cell.cpus:
                yield cell.node.error(f"CPU {min(seen & cell.cpus)} is in another cell, too")
            seen |= cell.cpus
            if cell.cpus and max(cell.cpus) >= vcpu.maximum:
                yield cell.node.error(
                    f"there is no CPU {max(cell.cpus)}", hint=f"<vcpu> says {vcpu.maximum}"
                )
            for other in cell.distances:
                if other >= len(self.cells):
                    yield cell.node.error(f"<distances> name cell {other}, which is not there")
        for link in self.interconnects:
            if max(link.initiator, link.target) >= len(self.cells):
                yield link.node.error("there is no such cell")
        info = site.machine_info
        if self.cells and info is not None and not info.numa_mem and not info.default_ram_id:
            yield self.cells[0].node.error(f"machine '{site.machine}' has no NUMA")

    def notices(self, site: Site) -> Iterator[Notice]:
        """Give what has no effect."""
        yield from self.tune.notices(site)

    def options(self, *, is_by_size: bool = False) -> Iterator[Option]:
        """Give `-numa`; the objects of the memory come from `Memory.cell_options`."""
        for cell in self.cells:
            yield self._node(cell, is_by_size=is_by_size)
        if any(cell.distances for cell in self.cells) and not self._has_usual_distances:
            for cell in self.cells:
                for other in self.cells:
                    props: Props = {
                        "type": "dist",
                        "src": cell.number,
                        "dst": other.number,
                        "val": self._distance(cell, other),
                    }
                    yield Option.keyed("numa", props, implied="type")
        for link in self.interconnects:
            yield link.option()
        for cell in self.cells:
            for cache in cell.caches:
                yield cache.option()

    def _node(self, cell: Cell, *, is_by_size: bool) -> Option:
        initiator = None
        if self.has_hmat:
            initiator = cell.number if cell.cpus else self._initiator(cell.number)
        props: Props = {
            "type": "node",
            "nodeid": cell.number,
            "cpus": ranges(cell.cpus),
            "initiator": initiator,
            "mem": f"{cell.size_bytes // _MIB}" if is_by_size else None,
            "memdev": None if is_by_size else cell.backend,
        }
        return Option.keyed("numa", props, implied="type")

    def _initiator(self, target: int) -> int:
        """Give the cell with CPUs that is nearest to one without."""
        links = [link for link in self.interconnects if link.target == target and not link.level]
        near = min(links, key=lambda link: link.latency_ns or 0, default=None)
        first = next((cell.number for cell in self.cells if cell.cpus), 0)
        return near.initiator if near is not None else first

    @property
    def _has_usual_distances(self) -> bool:
        """Whether each cell is said to be as far from each other one as QEMU has it anyway.

        Where it is not said of all, libvirt writes down the usual ones too.
        """
        return all(
            (other.number in cell.distances or cell.number in other.distances)
            and self._distance(cell, other) == _ELSEWHERE
            for cell in self.cells
            for other in self.cells
            if cell is not other
        )

    def _distance(self, cell: Cell, other: Cell) -> int:
        usual = _HERE if cell is other else _ELSEWHERE
        return cell.distances.get(other.number, other.distances.get(cell.number, usual))


def _cell(node: Node, position: int) -> Cell:
    number = node.integer("id", low=0, high=_MOST_CELLS - 1)
    number = position if number is None else number
    cpus = node.get("cpus")
    if node.get("memory") is None:
        raise node.error("attribute 'memory' is missing")
    size = node.quantity("memory") or 0
    if not 0 < size < _MOST_BYTES:
        raise node.error("that is no size of memory", hint="check the unit")
    return Cell(
        node=node,
        number=number,
        cpus=numbers(node, cpus, "cpus=") if cpus else frozenset(),
        size_bytes=-(-size // _MIB) * _MIB,
        access=node.enum("memAccess", MemoryAccess, None),
        discards=node.yes_no("discard"),
        distances=_distances(node, number),
        caches=tuple(MemoryCache.parse(cache, number) for cache in node.children("cache")),
    )


def _distances(node: Node, number: int) -> dict[int, int]:
    parent = node.child("distances")
    if parent is None:
        return _NO_DISTANCES
    if not any(parent.children("sibling")):
        raise parent.error("<sibling> is missing", hint="remove <distances>, or add one")
    distances: dict[int, int] = {}
    for sibling in parent.children("sibling"):
        other = sibling.required_integer("id", low=0, high=_MOST_CELLS - 1)
        value = sibling.required_integer("value", low=_HERE, high=_FARTHEST)
        if (value == _HERE) is not (other == number):
            hint = f"a cell is {_HERE} from itself, and no other"
            raise sibling.error(f"value='{value}' can't be", hint=hint)
        distances[other] = value
    return distances
