"""`<cputune>`, `<memtune>`, `<blkiotune>`, `<perf>`: what the host is told of the guest.

It is checked as libvirt does, and then has no effect, which is said.

Source: libvirt `formatdomain.rst`, "CPU Tuning", "Memory Tuning", "Block I/O Tuning",
"Performance monitoring events"; `virDomainDefParseXML`, `virDomainDefCputuneValidate`.
"""

from collections.abc import Callable, Iterator
from enum import StrEnum, unique
from typing import Final, Self

from msgspec import Struct

from qsuper.errors import ConfigError, ConfigErrors
from qsuper.location import Notice
from qsuper.translate.node import Node
from qsuper.translate.parts.cpuset import numbers
from qsuper.translate.parts.resctrl import check_resctrl

_LEAST_US: Final = 1000
_LONGEST_PERIOD_US: Final = 1_000_000
_LONGEST_QUOTA_US: Final = 17_592_186_044_415
_GROUPS: Final = ("", "global_", "emulator_", "iothread_")
_LIMITS: Final = ("hard_limit", "soft_limit", "swap_hard_limit")
_DEVICE_LIMITS: Final = (
    "weight",
    "read_iops_sec",
    "write_iops_sec",
    "read_bytes_sec",
    "write_bytes_sec",
)
_MOST: Final = (1 << 64) - 1


@unique
class _Scheduler(StrEnum):
    BATCH = "batch"
    IDLE = "idle"
    FIFO = "fifo"
    RR = "rr"


@unique
class _Event(StrEnum):
    CMT = "cmt"
    MBMT = "mbmt"
    MBML = "mbml"
    CPU_CYCLES = "cpu_cycles"
    INSTRUCTIONS = "instructions"
    CACHE_REFERENCES = "cache_references"
    CACHE_MISSES = "cache_misses"
    BRANCH_INSTRUCTIONS = "branch_instructions"
    BRANCH_MISSES = "branch_misses"
    BUS_CYCLES = "bus_cycles"
    STALLED_CYCLES_FRONTEND = "stalled_cycles_frontend"
    STALLED_CYCLES_BACKEND = "stalled_cycles_backend"
    REF_CPU_CYCLES = "ref_cpu_cycles"
    CPU_CLOCK = "cpu_clock"
    TASK_CLOCK = "task_clock"
    PAGE_FAULTS = "page_faults"
    CONTEXT_SWITCHES = "context_switches"
    CPU_MIGRATIONS = "cpu_migrations"
    PAGE_FAULTS_MIN = "page_faults_min"
    PAGE_FAULTS_MAJ = "page_faults_maj"
    ALIGNMENT_FAULTS = "alignment_faults"
    EMULATION_FAULTS = "emulation_faults"


class Members(Struct, frozen=True):
    """CPUs or threads that an element names."""

    node: Node
    numbers: frozenset[int]


class Tuning(Struct, frozen=True, kw_only=True):
    """What was asked of the host."""

    cpus: tuple[Members, ...] = ()
    threads: tuple[Members, ...] = ()
    resctrl_node: Node | None = None
    """Where caches or the bandwidth of memory are dealt out, which needs KVM."""
    remarks: tuple[Notice, ...] = ()

    @classmethod
    def parse(cls, node: Node) -> Self:
        """Read the elements of `<domain>`.

        Raises:
            ConfigErrors: something makes no sense.
        """
        reader = _Reader()
        found = list(node.children(*_READERS))
        for tune in found:
            reader.read(tune)
        if reader.errors:
            raise ConfigErrors(reader.errors)
        return cls(
            cpus=tuple(reader.cpus),
            threads=tuple(reader.threads),
            resctrl_node=reader.resctrl_node,
            remarks=tuple(
                part.notice("not supported here, has no effect")
                for tune in found
                for part in (tune.elements if tune.tag == "cputune" else [tune])
            ),
        )

    def problems(
        self, *, cpus: int, threads: frozenset[int], is_kvm: bool
    ) -> Iterator[ConfigError]:
        """Give what is not there; *cpus* is the number of CPUs, *threads* have the I/O threads."""
        for each in self.cpus:
            away = each.numbers - frozenset(range(cpus))
            if away:
                yield each.node.error(f"there is no CPU {min(away)}", hint=f"<vcpu> says {cpus}")
        for each in self.threads:
            away = each.numbers - threads
            if away:
                yield each.node.error(f"there is no I/O thread {min(away)}", hint="see <iothreads>")
        if self.resctrl_node is not None and not is_kvm:
            yield self.resctrl_node.error("this is for KVM guests only", hint="type='kvm'")

    def notices(self) -> Iterator[Notice]:
        """Give what has no effect."""
        yield from self.remarks


class _Reader:
    """Reads element by element and goes on after an error, to find them all."""

    def __init__(self) -> None:
        self.errors: list[ConfigError] = []
        self.cpus: list[Members] = []
        self.threads: list[Members] = []
        self.resctrl_node: Node | None = None

    def read(self, tune: Node) -> None:
        """Read a tuning element; what is left of it counts as read."""
        try:
            _READERS[tune.tag](self, tune)
        except ConfigError as error:
            self.errors.append(error)
        tune.accept()

    def cputune(self, tune: Node) -> None:
        shares = tune.child("shares")
        if shares is not None:
            shares.integer_text(low=0, high=_MOST)
        for group in _GROUPS:
            _check_time(tune.child(f"{group}period"), low=0, high=_LONGEST_PERIOD_US)
            _check_time(tune.child(f"{group}quota"), low=None, high=_LONGEST_QUOTA_US)
        _check_pins(tune, "vcpupin", "vcpu", low=0)
        pins = _check_pins(tune, "iothreadpin", "iothread", low=1)
        self.threads += [Members(pin, frozenset((number,))) for number, pin in pins.items()]
        for name in ("emulatorpin", "emulatorsched"):
            if len(list(tune.children(name))) > 1:
                raise tune.error(f"<{name}> is there twice", hint="remove one")
        for pin in tune.children("emulatorpin"):
            numbers(pin, pin.required("cpuset"), "cpuset=")
        for found in tune.children("emulatorsched"):
            _check_scheduler(found)
        self.cpus += _scheduled(tune, "vcpusched", "vcpus", "CPU")
        self.threads += _scheduled(tune, "iothreadsched", "iothreads", "I/O thread")
        self.resctrl_node = check_resctrl(tune)

    def memtune(self, tune: Node) -> None:
        for limit in tune.children("min_guarantee"):
            raise limit.error("QEMU guarantees no memory", hint="remove it")
        for limit in tune.children(*_LIMITS):
            limit.bytes_text()

    def blkiotune(self, tune: Node) -> None:
        seen: set[str] = set()
        for device in tune.children("device"):
            path = device.required_child("path").text
            if path in seen:
                raise device.error(f"{path} is there twice", hint="remove one")
            seen.add(path)
            for limit in device.children(*_DEVICE_LIMITS):
                limit.integer_text(low=0, high=_MOST)

    def perf(self, tune: Node) -> None:
        seen: set[_Event] = set()
        for found in tune.children("event"):
            event = found.enum("name", _Event)
            found.required_yes_no("enabled")
            if event in seen:
                raise found.error(f"name='{event}' is there twice", hint="remove one")
            seen.add(event)


_READERS: Final[dict[str, Callable[[_Reader, Node], None]]] = {
    "cputune": _Reader.cputune,
    "memtune": _Reader.memtune,
    "blkiotune": _Reader.blkiotune,
    "perf": _Reader.perf,
}


def _check_time(found: Node | None, *, low: int | None, high: int) -> None:
    """Check a time in microseconds; 0 and less sets no limit."""
    if found is None:
        return
    value = found.integer_text(low=low, high=high)
    if 0 < value < _LEAST_US:
        raise found.error(f"'{value}' is out of range", hint=f"{_LEAST_US}..{high}")


def _check_pins(tune: Node, tag: str, name: str, *, low: int) -> dict[int, Node]:
    pins: dict[int, Node] = {}
    for pin in tune.children(tag):
        number = pin.required_integer(name, low=low)
        numbers(pin, pin.required("cpuset"), "cpuset=")
        if number in pins:
            raise pin.error(f"{name}='{number}' is there twice", hint="remove one")
        pins[number] = pin
    return pins


def _check_scheduler(found: Node) -> None:
    if found.enum("scheduler", _Scheduler) in (_Scheduler.FIFO, _Scheduler.RR):
        found.required_integer("priority")


def _scheduled(tune: Node, tag: str, name: str, what: str) -> Iterator[Members]:
    seen: set[int] = set()
    for found in tune.children(tag):
        members = numbers(found, found.required(name), f"{name}=")
        _check_scheduler(found)
        if seen & members:
            raise found.error(
                f"{what} {min(seen & members)} is scheduled twice", hint="name it once"
            )
        seen |= members
        yield Members(found, members)
