"""`<vcpu>`, `<vcpus>` and `<cpu><topology>`: how many CPUs, and how they sit."""

from collections.abc import Iterator
from enum import StrEnum, unique
from math import prod
from typing import Final, Self

from msgspec import Struct

from qsuper.errors import ConfigError
from qsuper.options import Option, Props
from qsuper.plan import PlugCpu
from qsuper.translate.node import Node
from qsuper.translate.parts.cpuset import numbers
from qsuper.translate.site import Site

_MOST: Final = 16384
_LEVELS: Final = ("sockets", "dies", "clusters", "cores", "threads")
_OPTIONAL: Final = ("dies", "clusters")


@unique
class Placement(StrEnum):
    """Who says on which of the host's CPUs the guest's run: nobody, here."""

    STATIC = "static"
    AUTO = "auto"


class _State(Struct, frozen=True, kw_only=True):
    """`<vcpus><vcpu>`: when a CPU is there."""

    number: int
    order: int | None
    is_enabled: bool
    is_pluggable: bool


class Topology(Struct, frozen=True, kw_only=True):
    """How the CPUs sit; each number counts what is in one of the level above."""

    node: Node
    sockets: int
    dies: int
    clusters: int
    cores: int
    threads: int

    @property
    def levels(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in _LEVELS}

    @property
    def total(self) -> int:
        return prod(self.levels.values())


class Vcpu(Struct, frozen=True, kw_only=True):
    """The number of virtual CPUs."""

    node: Node
    maximum: int = 1
    online: int = 1
    """At the start; libvirt plugs in those that are enabled and pluggable later."""
    later: tuple[int, ...] = ()
    """Ids of those, in the order in which they are plugged in."""
    topology: Topology | None = None

    @classmethod
    def parse(cls, node: Node) -> Self:
        """Read `<vcpu>`, `<vcpus>` and `<cpu><topology>` of `<domain>`.

        Raises:
            ConfigError: a number out of range, an id that is not there.
        """
        found = node.child("vcpu")
        topology = _topology(node)
        if found is None:
            return cls(node=node, topology=topology)
        found.enum("placement", Placement, None)
        if (cpuset := found.attributes.get("cpuset")) is not None:  # has no effect, and is so told
            numbers(found, cpuset, "cpuset=")
        maximum = found.integer_text(low=1, high=_MOST)
        current = found.integer("current", low=1, high=maximum) or maximum
        vcpus = node.child("vcpus")
        has_states = vcpus is not None and any(vcpus.children("vcpu"))
        online, later = _states(vcpus, maximum) if vcpus and has_states else (current, ())
        return cls(node=found, maximum=maximum, online=online, later=later, topology=topology)

    def problems(self, site: Site) -> Iterator[ConfigError]:
        """Give what does not add up or the machine can't take."""
        topology = self.topology
        if topology is not None and topology.total != self.maximum:
            yield topology.node.error(
                f"the topology has {topology.total} CPUs, <vcpu> says {self.maximum}",
                hint="make the numbers agree",
            )
        info = site.machine_info
        most = info.max_cpus if info is not None else _MOST
        if self.maximum > most:
            yield self.node.error(
                f"machine '{site.machine}' takes no more than {most} CPUs", hint="use fewer"
            )
        for name in _OPTIONAL:
            if topology is not None and topology.levels[name] > 1 and not _knows(site, name):
                yield topology.node.error(f"this QEMU knows no {name}", hint=f"{name}='1'")

    def setup(self) -> Iterator[PlugCpu]:
        """Give the CPUs that are plugged in before the guest runs."""
        for number in self.later:
            yield PlugCpu(number=number)

    def options(self, site: Site) -> Iterator[Option]:
        """Give `-smp`."""
        levels = {"sockets": self.maximum, "cores": 1, "threads": 1}
        if self.topology is not None:
            levels = {
                name: count
                for name, count in self.topology.levels.items()
                if name not in _OPTIONAL or _knows(site, name)
            }
        maximum = self.maximum if self.maximum != self.online else None
        props: Props = {"cpus": self.online, "maxcpus": maximum, **levels}
        yield Option.keyed("smp", props, implied="cpus")


def _knows(site: Site, level: str) -> bool:
    return site.caps.has_parameter("smp-opts", level)


def _topology(node: Node) -> Topology | None:
    cpu = node.child("cpu")
    found = cpu.child("topology") if cpu is not None else None
    if found is None:
        return None
    return Topology(
        node=found,
        sockets=found.required_integer("sockets", low=1, high=_MOST),
        dies=found.integer("dies", low=1, high=_MOST) or 1,
        clusters=found.integer("clusters", low=1, high=_MOST) or 1,
        cores=found.required_integer("cores", low=1, high=_MOST),
        threads=found.required_integer("threads", low=1, high=_MOST),
    )


def _states(vcpus: Node, maximum: int) -> tuple[int, tuple[int, ...]]:
    """Give the number of CPUs at the start and the ids of those plugged in later."""
    said: dict[int, Node] = {}
    for found in vcpus.children("vcpu"):  # of two for one CPU the last counts, as with libvirt
        number = found.required_integer("id", low=0, high=maximum - 1)
        if number in said:
            said[number].accept()
        said[number] = found
    states = [_state(found, number) for number, found in said.items()]
    enabled = [state for state in states if state.is_enabled]
    if 0 not in said:
        raise vcpus.error("CPU 0 must be enabled", hint="<vcpu id='0' enabled='yes'/>")
    if len({state.order is None for state in enabled}) > 1:
        raise vcpus.error("some enabled CPUs have no order=", hint="all of them, or none")
    later = sorted((state.order or _MOST, state.number) for state in enabled if state.is_pluggable)
    return len(enabled) - len(later), tuple(number for _, number in later)


def _state(found: Node, number: int) -> _State:
    order = found.integer("order", low=1, high=_MOST)
    is_enabled = found.required_yes_no("enabled")
    is_pluggable = found.yes_no("hotpluggable")
    if number == 0 and (is_pluggable or not is_enabled):
        raise found.error("CPU 0 must be enabled and not pluggable")
    if number == 0 and order not in (None, 1):
        raise found.error(f"order='{order}': CPU 0 comes first", hint="order='1'")
    if not is_enabled and is_pluggable is False:
        raise found.error("a CPU that is not enabled must be pluggable")
    return _State(
        number=number, order=order, is_enabled=is_enabled, is_pluggable=bool(is_pluggable)
    )
