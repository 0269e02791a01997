"""`<q:fabric>` in `<metadata>`: what the domain shares with others of its group.

Source: docs/fabric.md.
"""

from collections.abc import Iterator
from enum import StrEnum, unique
from typing import Final, Self

from msgspec import Struct

from qsuper.errors import ConfigError
from qsuper.location import Notice
from qsuper.options import Handle, Option, Props, SharedMemory
from qsuper.plan import Meeting, OnEnd, OnSignal, Signal, Vector
from qsuper.translate.node import Node
from qsuper.translate.parts import sdm
from qsuper.translate.parts.machine_path import MachinePath
from qsuper.translate.parts.passthrough import OURS
from qsuper.translate.site import SharedRam, Site

_MIB: Final = 1 << 20
_MOST_BYTES: Final = 1 << 62
_MOST_VECTOR: Final = 2047  # MSI-X has 2048
_MOST_ADDRESS: Final = (1 << 64) - 1
_RESTARTS: Final = (OnEnd.RESTART, OnEnd.RENAME_RESTART, OnEnd.COREDUMP_RESTART)
_KINDS: Final = ("memory", "window", "boot", "signal", "shmem", "machine-path")


@unique
class Numbering(StrEnum):
    """Which peer number a domain's doorbells have in its own eyes."""

    UNIQUE = "unique"
    PRIVATE = "private"
    """0: only so does QEMU save a doorbell."""


@unique
class SignalKind(StrEnum):
    """How a member that waits is told to go."""

    DOORBELL = "doorbell"


@unique
class Path(StrEnum):
    """Where shared memory can be found."""

    GROUP = "group"
    """By members and clients of the group alone."""
    HOST = "host"
    """As /dev/shm/NAME."""


class Ram(Struct, frozen=True, kw_only=True):
    """The domain's main memory, shared: all of a memory, or a window of one."""

    node: Node
    memory: str
    size_bytes: int
    is_window: bool
    offset_bytes: int = 0
    on_host: bool = False


class Boot(Struct, frozen=True, kw_only=True):
    """What the domain waits for, and where it begins."""

    node: Node
    vector: Vector
    entry: int | None = None
    """Address of the first instruction; None: the machine's own."""


class Rule(Struct, frozen=True, kw_only=True):
    """A signal that is a verb on the domain."""

    node: Node
    signal: Signal


class Fabric(Struct, frozen=True, kw_only=True):
    """What stands in `<q:fabric>`."""

    numbering: Numbering = Numbering.UNIQUE
    ram: Ram | None = None
    boot: Boot | None = None
    rules: tuple[Rule, ...] = ()
    host_shares: frozenset[str] = frozenset()
    """Names of the `<shmem>`s that programs outside find in /dev/shm."""
    machine_path: MachinePath | None = None
    dependencies: int = 0
    """How many the domain names."""

    @classmethod
    def parse(cls, node: Node) -> Self:
        """Read `<q:fabric>` of `<domain>`.

        Raises:
            ConfigError: something in it is unknown, missing or out of range.
        """
        found = _only_child(node)
        machine_path = MachinePath.parse(node, found)
        if found is None:
            return cls(machine_path=machine_path)
        for part in found.children():
            if part.tag not in (f"{OURS}{kind}" for kind in _KINDS):
                raise part.error("is unknown here", hint=f"one of {', '.join(_KINDS)}")
        shmems = found.children(f"{OURS}shmem")
        boot = list(found.children(f"{OURS}boot"))
        if len(boot) > 1:
            raise boot[1].error("there are two", hint="remove one")
        devices = node.children("devices")
        needs = [each for part in devices for each in part.children("domaindependency")]
        return cls(
            numbering=found.enum("numbering", Numbering, Numbering.UNIQUE),
            ram=_ram(found),
            boot=_boot(boot[0]) if boot else None,
            rules=tuple(_rule(each) for each in found.children(f"{OURS}signal")),
            host_shares=frozenset(
                each.required("name") for each in shmems if each.enum("path", Path) is Path.HOST
            ),
            machine_path=machine_path,
            dependencies=len(needs),
        )

    @property
    def is_private(self) -> bool:
        return self.numbering is Numbering.PRIVATE

    def objects(self, site: Site, *, ram_id: str | None) -> tuple[Option, ...]:
        """Give the objects of shared main memory, in place of those of memory by itself."""
        if self.ram is None:
            return ()
        memory = _memory(self.ram, site)
        if memory.is_native:
            path = _path(memory.name, memory.size_bytes, self.ram)
            size, is_master = self.ram.size_bytes, not self.ram.is_window
            options = sdm.ram_options(
                memory, path, ram_id=ram_id, size_bytes=size, is_master=is_master
            )
            return tuple(options)
        if self.ram.is_window and memory.in_pieces:
            share = memory.piece(self.ram.offset_bytes)
            return (_object(ram_id, share, self.ram.size_bytes, self.ram),)
        if self.ram.is_window:
            offset: Props = {"offset": self.ram.offset_bytes or None}
            return (_object(ram_id, memory.name, memory.size_bytes, self.ram, offset),)
        if memory.in_pieces:
            return tuple(
                _object(f"ram-node{number}", memory.piece(begin), end - begin, self.ram)
                for number, (begin, end) in enumerate(memory.cuts)
            )
        return (_object(ram_id, memory.name, memory.size_bytes, self.ram),)

    def is_in_pieces(self, site: Site) -> bool:
        """Tell whether the main memory is that of several NUMA nodes."""
        ram = self.ram
        return ram is not None and not ram.is_window and _memory(ram, site).in_pieces

    def numa_options(self, site: Site, *, cpus: int) -> Iterator[Option]:
        """Give `-numa`, which puts pieces of memory together; all CPUs are in the first node."""
        if self.ram is None or not self.is_in_pieces(site):
            return
        for number, _ in enumerate(_memory(self.ram, site).cuts):
            props: Props = {
                "type": "node",
                "nodeid": number,
                "cpus": None if number else f"0-{cpus - 1}" if cpus > 1 else "0",
                "memdev": f"ram-node{number}",
            }
            yield Option.keyed("numa", props, implied="type")

    def waits_natively(self, site: Site) -> bool:
        """Tell whether QEMU itself waits for the boot signal."""
        return self.ram is not None and _memory(self.ram, site).is_native

    def boot_vector(self, site: Site) -> Vector | None:
        """Give the signal for which the supervisor keeps the domain paused."""
        return None if self.boot is None or self.waits_natively(site) else self.boot.vector

    def meeting(self, site: Site) -> Meeting | None:
        """Give where QEMUs of the group find each other by themselves."""
        if self.machine_path is not None:
            return self.machine_path.meeting
        if self.ram is None or not self.waits_natively(site):
            return None
        return sdm.meeting(_memory(self.ram, site), is_master=not self.ram.is_window)

    def notices(self, site: Site, *, on_crash: OnEnd) -> Iterator[Notice]:
        """Tell what a QEMU that others meet does not do."""
        part = self.machine_path or self.ram
        if part is not None and on_crash in _RESTARTS and self.meeting(site) is not None:
            yield part.node.notice(
                f"<on_crash> {on_crash} is for panics alone: QEMUs that meet start only together"
            )

    def signal_options(self, site: Site, *, ram_id: str | None) -> Iterator[Option]:
        """Give QEMU's own signals, where it has them."""
        if self.ram is not None and self.waits_natively(site):
            memory, is_master = _memory(self.ram, site), not self.ram.is_window
            is_known = memory.name in site.host.memories
            slaves = len(memory.windows) if is_known or not is_master else self.dependencies
            yield from sdm.signal_options(memory, ram_id=ram_id, slaves=slaves, is_master=is_master)

    def options(self, site: Site, *, has_firmware: bool) -> Iterator[Option]:
        """Give the directory to meet in, and what makes the CPU begin at the entry.

        That is QEMU's loader, which loads nothing.
        """
        if self.machine_path is not None:
            yield from self.machine_path.options()
        if self.boot is None or self.boot.entry is None:
            return
        if site.is_riscv and not has_firmware:  # else QEMU puts OpenSBI into the memory
            yield Option.word("bios", "none")
        props: Props = {"driver": "loader", "addr": self.boot.entry, "cpu-num": 0}
        yield Option.json("device", props)

    def problems(
        self, site: Site, *, size_bytes: int, has_cells: bool, has_backing: bool
    ) -> Iterator[ConfigError]:
        """Give what does not fit the domain.

        Args:
            site: The ground.
            size_bytes: The domain's memory.
            has_cells: It has NUMA cells.
            has_backing: The file says what backs its memory.
        """
        if self.ram is not None:
            yield from _ram_problems(self.ram, site, size_bytes)
            if has_cells:
                yield self.ram.node.error("a domain with <cpu><numa> cannot share its memory")
            if has_backing:
                yield self.ram.node.error("<memoryBacking> backs the memory already")
        if self.machine_path is not None:
            yield from self.machine_path.problems(site)
        if self.boot is not None and self.boot.entry is not None:
            yield from _entry_problems(self.boot.node, self.boot.entry, site, size_bytes)


def _only_child(node: Node) -> Node | None:
    metadata = node.child("metadata")
    found: Node | None = None
    for each in metadata.children() if metadata is not None else ():
        if not each.tag.startswith(OURS):
            continue
        if each.tag != f"{OURS}fabric":
            raise each.error("is unknown", hint="<q:fabric>")
        if found is not None:
            raise each.error("there are two", hint="put all into one")
        found = each
    return found


def _ram(node: Node) -> Ram | None:
    found = list(node.children(f"{OURS}memory", f"{OURS}window"))
    if not found:
        return None
    if len(found) > 1:
        raise found[1].error("the domain has one main memory", hint="remove one")
    each = found[0]
    is_window = each.tag == f"{OURS}window"
    name = each.required("memory" if is_window else "name")
    check_name(each, name)
    return Ram(
        node=each,
        memory=name,
        size_bytes=_whole(each, "size"),
        is_window=is_window,
        offset_bytes=_whole(each, "offset") if is_window else 0,
        on_host=not is_window and each.enum("path", Path, Path.GROUP) is Path.HOST,
    )


def check_name(node: Node, name: str) -> None:
    """Check the name of a memory, which may be a file's.

    Raises:
        ConfigError: it is none.
    """
    if "/" in name or name in (".", "..") or not name.isprintable() or len(name) > _LONGEST_NAME:
        raise node.error(f"name='{name[:60]}' is no good", hint="letters, digits, dots, dashes")


_LONGEST_NAME: Final = 200


def _whole(node: Node, name: str) -> int:
    size = node.quantity(name)
    if size is None:
        raise node.error(f"attribute '{name}' is missing")
    if size % _MIB or size >= _MOST_BYTES or (name == "size" and not size):
        raise node.error(f"{name}: {size} bytes are no whole number of MiB", hint="unit='MiB'")
    return size


def _vector(node: Node) -> Vector:
    number = node.required_integer("vector", low=0, high=_MOST_VECTOR)
    return Vector(share=node.required("shmem"), number=number)


def _boot(node: Node) -> Boot:
    node.enum("signal", SignalKind, SignalKind.DOORBELL)
    entry = node.integer("entry", low=0, high=_MOST_ADDRESS)
    return Boot(node=node, vector=_vector(node), entry=entry)


def _rule(node: Node) -> Rule:
    verb = node.enum("verb", OnSignal)
    return Rule(node=node, signal=Signal(vector=_vector(node), verb=verb))


def _memory(ram: Ram, site: Site) -> SharedRam:
    """Give what the group knows of the memory; without a group, what the domain knows."""
    known = site.host.memories.get(ram.memory)
    if known is not None:
        return known
    end = ram.offset_bytes + ram.size_bytes
    return SharedRam(
        name=ram.memory,
        size_bytes=end,
        windows=((ram.offset_bytes, end),) if ram.is_window else (),
        is_native=sdm.is_native(site.caps),
        in_pieces=ram.is_window and not site.caps.has_prop("memory-backend-file", "offset"),
        on_host=ram.on_host,
    )


def _object(
    ram_id: str | None, share: str, size_bytes: int, ram: Ram, offset: Props | None = None
) -> Option:
    size = min(size_bytes, ram.size_bytes)
    props: Props = {
        "qom-type": "memory-backend-file",
        "id": ram_id,
        "mem-path": _path(share, size_bytes, ram),
        "share": True,
        "x-use-canonical-path-for-ramblock-id": False,
        "size": size,
    }
    return Option.json("object", {**props, **(offset or {})})


def _path(share: str, size_bytes: int, ram: Ram) -> Handle:
    """Give where QEMU finds a memory of the supervisor's."""
    memory = SharedMemory(
        name=f"ram-{share}", share=share, size_bytes=size_bytes, on_host=ram.on_host
    )
    return Handle(resource=memory, shown=f"/dev/shm/{share}", live="/proc/self/fd/{}")  # noqa: S108 - where it would be


def _ram_problems(ram: Ram, site: Site, size_bytes: int) -> Iterator[ConfigError]:
    if ram.size_bytes != size_bytes:
        text = f"the size is {ram.size_bytes // _MIB} MiB, <memory> says {size_bytes // _MIB} MiB"
        yield ram.node.error(text, hint="make them equal")
    info = site.machine_info
    if info is None or info.default_ram_id is None:
        yield ram.node.error(f"machine '{site.machine}' cannot share its memory")
    memory = _memory(ram, site)
    if memory.is_native:
        yield from sdm.problems(ram.node, memory)


def _entry_problems(node: Node, entry: int, site: Site, size_bytes: int) -> Iterator[ConfigError]:
    if site.is_x86:
        yield node.error("entry= is not for x86, which begins in its firmware", hint="remove it")
    if not site.is_virt or not (site.is_arm or site.is_riscv):
        return
    base = 0x8000_0000 if site.is_riscv else 0x4000_0000
    if not base <= entry < base + size_bytes:
        span = f"{base:#x} to {base + size_bytes - 1:#x}"
        yield node.error(f"entry={entry:#x} is not in the memory", hint=span)
    begin, end = _device_tree(site, base, size_bytes)
    if begin <= entry < end:
        text = f"entry={entry:#x} is where QEMU puts the device tree at each reset"
        yield node.error(text, hint=f"outside {begin:#x} to {end - 1:#x}")


def _device_tree(site: Site, base: int, size_bytes: int) -> tuple[int, int]:
    """Give where QEMU puts it: measured with 7.2 and 10.0, see docs/fabric.md."""
    if not site.is_riscv:
        return base, base + _MIB
    end = min(base + size_bytes, 0xC000_0000)
    begin = (end - _MIB) // (2 * _MIB) * (2 * _MIB)
    return begin, begin + _MIB
