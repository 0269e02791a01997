"""`<clock>`: what the guest's clocks show, and the timers that tick."""

from collections.abc import Iterator
from datetime import UTC, datetime
from enum import StrEnum, unique
from typing import Final, Self

from msgspec import Struct

from qsuper.errors import ConfigError
from qsuper.options import Option, Props, Value
from qsuper.translate.node import Node
from qsuper.translate.site import Site

_YEAR_S: Final = 366 * 24 * 3600
_LAST_S: Final = 253402300799  # the end of the year 9999, which -rtc can't write beyond


@unique
class Offset(StrEnum):
    """What the real-time clock starts from."""

    UTC = "utc"
    LOCALTIME = "localtime"
    VARIABLE = "variable"
    TIMEZONE = "timezone"
    ABSOLUTE = "absolute"


@unique
class Basis(StrEnum):
    """What a variable offset is added to."""

    UTC = "utc"
    LOCALTIME = "localtime"


@unique
class TimerName(StrEnum):
    """The timers that libvirt knows."""

    PLATFORM = "platform"
    PIT = "pit"
    RTC = "rtc"
    HPET = "hpet"
    TSC = "tsc"
    KVMCLOCK = "kvmclock"
    HYPERVCLOCK = "hypervclock"
    ARMVTIMER = "armvtimer"


@unique
class TickPolicy(StrEnum):
    """What happens to ticks that came while the guest could not run."""

    DELAY = "delay"
    CATCHUP = "catchup"
    MERGE = "merge"
    DISCARD = "discard"


@unique
class Track(StrEnum):
    """Which of the host's clocks the real-time clock follows."""

    BOOT = "boot"
    GUEST = "guest"
    WALL = "wall"
    REALTIME = "realtime"


@unique
class TimerMode(StrEnum):
    """How the TSC is read; nothing to QEMU."""

    AUTO = "auto"
    NATIVE = "native"
    EMULATE = "emulate"
    PARAVIRT = "paravirt"
    SMPSAFE = "smpsafe"


class Timer(Struct, frozen=True, kw_only=True):
    """`<timer>`."""

    node: Node
    name: TimerName
    is_present: bool | None = None
    policy: TickPolicy | None = None
    track: Track | None = None
    frequency_hz: int | None = None
    mode: TimerMode | None = None


_TRACKS: Final = {Track.GUEST: "vm", Track.WALL: "host", Track.REALTIME: "rt"}
_X86_TIMERS: Final = (
    TimerName.TSC,
    TimerName.HPET,
    TimerName.KVMCLOCK,
    TimerName.HYPERVCLOCK,
)
_PARAVIRTUAL: Final = (TimerName.KVMCLOCK, TimerName.HYPERVCLOCK)
_NOTHING: Final = frozenset[TickPolicy]()
_POLICIES: Final = {
    TimerName.RTC: frozenset({TickPolicy.DELAY, TickPolicy.CATCHUP}),
    TimerName.PIT: frozenset({TickPolicy.DELAY, TickPolicy.CATCHUP, TickPolicy.DISCARD}),
    TimerName.ARMVTIMER: frozenset({TickPolicy.DELAY, TickPolicy.DISCARD}),
}


class Clock(Struct, frozen=True, kw_only=True):
    """The real-time clock and the timers."""

    node: Node | None = None
    offset: Offset = Offset.UTC
    basis: Basis = Basis.UTC
    timezone: str = ""
    adjustment_s: int = 0
    start_s: int = 0
    """Since the epoch; of an absolute clock."""
    timers: tuple[Timer, ...] = ()

    @classmethod
    def parse(cls, node: Node) -> Self:
        """Read `<clock>` of `<domain>`.

        Raises:
            ConfigError: an unknown word, a number out of range, a timer given twice.
        """
        found = node.child("clock")
        if found is None:
            return cls()
        offset = found.enum("offset", Offset, Offset.UTC)
        basis = found.enum("basis", Basis, Basis.UTC)
        if offset in (Offset.UTC, Offset.LOCALTIME) and _is_moved(found):
            offset, basis = Offset.VARIABLE, Basis(str(offset))
        return cls(
            node=found,
            offset=offset,
            basis=basis,
            timezone=found.required("timezone") if offset is Offset.TIMEZONE else "",
            adjustment_s=_adjustment(found, offset),
            start_s=_start(found, offset),
            timers=tuple(_timers(found)),
        )

    def timer(self, name: TimerName) -> Timer | None:
        return next((timer for timer in self.timers if timer.name is name), None)

    def problems(self, site: Site) -> Iterator[ConfigError]:
        """Give what QEMU can't do, and times that can't be computed."""
        if self.node is not None and self._needs_offset and site.host.now_s is None:
            yield self.node.error(
                "the clock can't be computed: the host's time is not known here",
                hint="offset='utc'",
            )
        for timer in self.timers:
            yield from _timer_problems(timer, site)

    def cpu_props(self, site: Site) -> Props:
        """Give the CPU flags of the timers that are CPU features."""
        props: dict[str, Value] = {}
        for timer in self.timers:
            match timer.name:
                case TimerName.KVMCLOCK if timer.is_present is not None:
                    props["kvmclock"] = timer.is_present
                case TimerName.HYPERVCLOCK if timer.is_present:
                    props["hv-time"] = True
                case TimerName.TSC if timer.frequency_hz:
                    props["tsc-frequency"] = timer.frequency_hz
                case TimerName.ARMVTIMER if site.is_arm and timer.policy is not None:
                    props["kvm-no-adjvtime"] = timer.policy is TickPolicy.DISCARD
                case _:
                    pass
        return props

    @property
    def env(self) -> dict[str, str]:
        """Give what must be in QEMU's environment."""
        return {"TZ": self.timezone} if self.timezone else {}

    def machine_props(self, site: Site) -> Props:
        """Give `hpet=` of `-machine`."""
        takes_hpet = site.is_x86 and site.caps.has_parameter("machine", "hpet")
        return {"hpet": self._has_hpet if takes_hpet else None}

    @property
    def _has_hpet(self) -> bool | None:
        timer = self.timer(TimerName.HPET)
        return timer.is_present if timer is not None else None

    def options(self, site: Site) -> Iterator[Option]:
        """Give `-rtc` and the timers' `-global`."""
        rtc, pit = self.timer(TimerName.RTC), self.timer(TimerName.PIT)
        catches_up = rtc is not None and rtc.policy is TickPolicy.CATCHUP
        props: Props = {
            "base": self._base(site),
            "clock": _TRACKS.get(rtc.track) if rtc is not None and rtc.track else None,
            "driftfix": "slew" if catches_up else None,
        }
        yield Option.keyed("rtc", props)
        is_old = site.is_x86 and not site.caps.has_parameter("machine", "hpet")
        if is_old and self._has_hpet is False:
            yield Option.flag("no-hpet")
        # KVM's own default is to catch up, libvirt's is not.
        if (
            pit is not None
            and pit.policy is not TickPolicy.CATCHUP
            and site.caps.has_prop("kvm-pit", "lost_tick_policy")
        ):
            policy = pit.policy or TickPolicy.DELAY
            yield Option.word("global", f"kvm-pit.lost_tick_policy={policy}")

    @property
    def _needs_offset(self) -> bool:
        is_moved = self.adjustment_s != 0
        return self.offset is Offset.VARIABLE and (is_moved or self.basis is Basis.LOCALTIME)

    def _base(self, site: Site) -> str:
        match self.offset:
            case Offset.LOCALTIME | Offset.TIMEZONE:
                return "localtime"
            case Offset.ABSOLUTE:
                return _date(self.start_s)
            case Offset.VARIABLE if site.host.now_s is not None:
                local = site.host.utc_offset_s if self.basis is Basis.LOCALTIME else 0
                return _date(site.host.now_s + local + self.adjustment_s)
            case _:
                return "utc"


def _date(seconds: int) -> str:
    clamped = max(0, min(seconds, _LAST_S))
    return datetime.fromtimestamp(clamped, tz=UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _adjustment(node: Node, offset: Offset) -> int:
    """Read `adjustment`; `reset` (start over at each start) is no adjustment."""
    if offset is Offset.VARIABLE or _is_moved(node):
        return node.integer("adjustment", low=-100 * _YEAR_S, high=100 * _YEAR_S) or 0
    return 0


def _is_moved(node: Node) -> bool:
    """Tell whether a clock that does not say so is variable: from then on libvirt keeps track."""
    return node.get("adjustment") not in (None, "reset")


def _start(node: Node, offset: Offset) -> int:
    if offset is not Offset.ABSOLUTE:
        return 0
    if node.get("start") == "epoch":
        return 0
    return node.required_integer("start", low=0, high=_LAST_S)


def _timers(node: Node) -> Iterator[Timer]:
    seen: set[TimerName] = set()
    for found in node.children("timer"):
        name = found.enum("name", TimerName)
        if name in seen:
            raise found.error(f"timer '{name}' is given twice", hint="one of each name")
        seen.add(name)
        policy = found.enum("tickpolicy", TickPolicy, None)
        for catchup in found.children("catchup"):
            for word in ("threshold", "slew", "limit"):  # libvirt reads them, too, for no driver
                catchup.integer(word, low=0)
            if policy is not TickPolicy.CATCHUP:
                raise catchup.error("it goes with tickpolicy='catchup'", hint="remove it")
        yield Timer(
            node=found,
            name=name,
            is_present=found.yes_no("present"),
            policy=policy,
            track=found.enum("track", Track, None),
            frequency_hz=found.integer("frequency", low=0, high=2**63 - 1),
            mode=found.enum("mode", TimerMode, None),
        )


def _armvtimer_problems(timer: Timer, site: Site) -> Iterator[ConfigError]:
    if not (site.is_arm and site.is_virt and site.is_kvm):
        yield timer.node.error("only KVM's ARM guests of machine 'virt' have it", hint="remove it")
    elif timer.is_present is False:
        yield timer.node.error("it can't be switched off", hint="remove present=")


def _misplaced(timer: Timer) -> Iterator[ConfigError]:
    """Give the attributes that are another timer's."""
    rows = (
        ("frequency", timer.frequency_hz, timer.name is TimerName.TSC),
        ("mode", timer.mode, timer.name is TimerName.TSC),
        ("track", timer.track, timer.name in (TimerName.RTC, TimerName.PLATFORM)),
    )
    for name, value, fits in rows:
        if value is not None and not fits:
            yield timer.node.error(f"timer '{timer.name}' has no {name}=", hint="remove it")


def _timer_problems(timer: Timer, site: Site) -> Iterator[ConfigError]:
    allowed = _POLICIES.get(timer.name, _NOTHING)
    is_catching_up = timer.name is TimerName.PIT and timer.policy is TickPolicy.CATCHUP
    if is_catching_up and not site.caps.has_prop("kvm-pit", "lost_tick_policy"):
        allowed -= {TickPolicy.CATCHUP}
    if timer.policy is not None and allowed and timer.policy not in allowed:
        yield timer.node.error(
            f"tickpolicy='{timer.policy}' is not supported by QEMU for '{timer.name}'",
            hint=f"one of {', '.join(sorted(allowed))}",
        )
    if timer.policy is not None and timer.name in _PARAVIRTUAL:
        yield timer.node.error(f"timer '{timer.name}' has no tickpolicy", hint="remove it")
    if timer.name is TimerName.PLATFORM:
        yield timer.node.error("timer 'platform' is not supported by QEMU", hint="remove it")
    if timer.name is TimerName.RTC and timer.track is Track.BOOT:
        yield timer.node.error("track='boot' is not supported by QEMU", hint="guest or wall")
    if timer.name is TimerName.ARMVTIMER:
        yield from _armvtimer_problems(timer, site)
    yield from _misplaced(timer)
    is_asked_for = timer.is_present or timer.frequency_hz is not None
    if timer.name in _X86_TIMERS and not site.is_x86 and is_asked_for:
        yield timer.node.error(f"only x86 guests have '{timer.name}'", hint="remove it")
