"""What the translator hands to the runtime: everything it needs, and no XML."""

from collections.abc import Iterator, Mapping
from enum import StrEnum, unique
from typing import Any, Self

from msgspec import Struct, field
from msgspec.structs import replace

from qsuper.options import HelperLink, Option, Readiness, Resource, Word


@unique
class OnEnd(StrEnum):
    """What to do when the guest ends by itself: libvirt's `<on_poweroff>` and its kin."""

    DESTROY = "destroy"
    RESTART = "restart"
    PRESERVE = "preserve"
    RENAME_RESTART = "rename-restart"
    """QEMU in libvirt treats it as `restart`."""
    COREDUMP_DESTROY = "coredump-destroy"
    COREDUMP_RESTART = "coredump-restart"


class Lifecycle(Struct, frozen=True, kw_only=True):
    """What the guest's own actions lead to."""

    on_poweroff: OnEnd = OnEnd.DESTROY
    on_reboot: OnEnd = OnEnd.RESTART
    on_crash: OnEnd = OnEnd.DESTROY


@unique
class ConsoleKind(StrEnum):
    """How a console's character device is reached from outside."""

    PTY = "pty"
    UNIX = "unix"
    """A UNIX socket on which QEMU listens."""
    TCP = "tcp"
    """A TCP socket on which QEMU listens."""
    FILE = "file"
    OTHER = "other"
    """Cannot be attached to: null, a client socket, stdio, ..."""


class Console(Struct, frozen=True, kw_only=True):
    """A serial port, console, parallel port or channel with a character device."""

    alias: str
    """`serial0`, `console1`, `channel0`, ..."""
    chardev: str
    """QEMU's id of the character device; the runtime adds a log file to it by this."""
    kind: ConsoleKind
    endpoint: str = ""
    """A path, or `host:port`; empty where only the running QEMU knows (pty)."""
    logged: bool = False
    """The XML names a log file of its own."""


class Seed(Struct, frozen=True, kw_only=True):
    """A file that is copied from a template before the start, where it does not exist yet."""

    path: str
    template: str
    obstacle: str = ""
    """Why it cannot be copied; empty: it can."""


@unique
class OnSignal(StrEnum):
    """What a signal from a guest to the supervisor does to a domain, by its group's rules."""

    SUSPEND = "suspend"
    RESUME = "resume"
    RESET = "reset"
    RESTART = "restart"
    """By a new QEMU, which has none of the code that the old one had translated."""
    SHUTDOWN = "shutdown"
    DESTROY = "destroy"


class Vector(Struct, frozen=True, kw_only=True):
    """One of the supervisor's vectors."""

    share: str
    """Name of the memory whose doorbell it is."""
    number: int


class Signal(Struct, frozen=True, kw_only=True):
    """A vector and what it does to the domain."""

    vector: Vector
    verb: OnSignal


class Setup(Struct, frozen=True, kw_only=True):
    """A command that fills a helper's directory, run in it where it does not exist yet."""

    program: str
    """As of `Helper`."""
    package: str
    words: tuple[Word, ...]


class Helper(Struct, frozen=True, kw_only=True):
    """A process that QEMU needs: started before it, ended after it.

    When it ends before its QEMU, the guest lives on without what it served.
    """

    name: str
    """Unique in the domain; also of its log: `NAME.log` in the state directory."""
    serves: str
    """Alias of the device."""
    program: str
    """A path, or a name to be found; the loader makes it an absolute path."""
    package: str
    """Debian's, for who has not installed it."""
    words: tuple[Word, ...]
    """What follows the program's name on its command line."""
    link: HelperLink
    readiness: Readiness | None = None
    """None: QEMU itself waits for it."""
    directory: str = ""
    """Where it runs, made if need be; relative to the state directory, which is the default."""
    setup: Setup | None = None


class Command(Struct, frozen=True, kw_only=True):
    """A QMP command that completes the guest before it is let run."""

    name: str
    arguments: Mapping[str, Any]


class PlugCpu(Struct, frozen=True, kw_only=True):
    """A virtual CPU that is plugged in before the guest is let run, by QMP's `device_add`."""

    number: int
    """Among all CPUs there can be, from 0."""


class Meeting(Struct, frozen=True, kw_only=True):
    """Where QEMUs of a group find each other: sockets that they make themselves.

    Those with the same directory and prefix meet. A QEMU looks for a socket once, so they are
    started one after the other, each when those before it listen, or run.
    """

    directory: str
    """As it is given to QEMU. A relative one is seen from the domain's runtime directory, and
    made with mode 0700; an absolute one is the user's."""
    prefix: str
    """What the names of the sockets begin with."""
    is_host: bool = False
    """The others come to its socket: it is started before them, whatever its role."""


class SavedState(Struct, frozen=True, kw_only=True):
    """What a domain goes on from, rather than starting."""

    path: str
    """A file, as QEMU wrote it."""
    runs: bool
    """It ran when it was saved."""
    has_shared: bool = True
    """The shared memory that it maps is in the file; else in the group's `memories` alone."""
    disks: tuple[str, ...] = ()
    """The qcow2 files whose content was kept, as an internal snapshot."""
    snapshot: str = ""
    """The name that all these snapshots have."""


class LaunchPlan(Struct, frozen=True, kw_only=True):
    """How to start one domain."""

    name: str
    uuid: str
    arch: str
    """libvirt's name: x86_64, aarch64, armv7l, riscv64, ..."""
    emulator: str
    """The QEMU binary, an absolute path."""
    options: tuple[Option, ...]
    """What the guest is, in libvirt's order; the runtime adds its own frame (monitors, logs)."""
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    """Added to QEMU's environment."""
    consoles: tuple[Console, ...] = ()
    """The first is the one that `qsuper console` takes."""
    lifecycle: Lifecycle = Lifecycle()
    seeds: tuple[Seed, ...] = ()
    """The firmware's variables, unless they have no template."""
    helpers: tuple[Helper, ...] = ()
    """Started in this order."""
    setup: tuple[Command | PlugCpu, ...] = ()
    """Run in this order once the monitor answers, at each start of a QEMU."""
    boot: Vector | None = None
    """It stays paused until this is rung."""
    signals: tuple[Signal, ...] = ()
    meeting: Meeting | None = None
    """None: it needs no other QEMU to start."""
    has_sandbox: bool = True
    """The emulator was built with seccomp."""
    saved: SavedState | None = None

    def started(self) -> Self:
        """Give the plan of one that has been brought back: its next QEMU starts anew."""
        return replace(self, saved=None)

    def resources(self) -> Iterator[Resource]:
        """Give what must be made before the spawn, each once, in the order of the options."""
        seen: set[str] = set()
        for option in self.options:
            for handle in option.handles():
                if handle.resource.name not in seen:
                    seen.add(handle.resource.name)
                    yield handle.resource


@unique
class Role(StrEnum):
    """A member's place in its group."""

    PRIMARY = "primary"
    DEPENDENCY = "dependency"


class Member(Struct, frozen=True, kw_only=True):
    """A domain of a group."""

    plan: LaunchPlan
    role: Role
    needs: tuple[str, ...] = ()
    """Names of its dependencies, in document order; a dependency has none."""
    source: str = ""
    """The XML file it comes from."""
    xml: str = ""
    """That file's text, kept for the record."""


class LogLimits(Struct, frozen=True, kw_only=True):
    """How much is kept of each log file: (keep + 1) * max_bytes, and a little."""

    max_bytes: int = 10 << 20
    """A file that is longer is cut; 0: never."""
    keep: int = 3
    """How many of the pieces cut off are kept, each at most max_bytes long."""


class GroupPlan(Struct, frozen=True):
    """One or more primaries with their dependencies; what one supervisor runs.

    Named after its first primary.
    """

    members: tuple[Member, ...]
    """Dependencies first, each once, then the primaries; both in document order."""
    logs: LogLimits = LogLimits()
    memories: Mapping[str, str] = field(default_factory=dict[str, str])
    """Files with the content that shared memory begins with, by its name; else it is zero."""
    rung: tuple[Vector, ...] = ()
    """The supervisor's vectors that are rung from the start: signals that a save came before."""

    @property
    def name(self) -> str:
        return self.primaries[0].plan.name

    def started(self) -> Self:
        """Give the plan of a group whose members all have been started, or brought back."""
        members = (replace(member, plan=member.plan.started()) for member in self.members)
        return replace(self, members=tuple(members), memories={}, rung=())

    @property
    def in_launch_order(self) -> tuple[Member, ...]:
        """The members in the order in which their QEMUs are started."""

        def is_host(member: Member) -> bool:
            return member.plan.meeting is not None and member.plan.meeting.is_host

        return tuple(sorted(self.members, key=is_host, reverse=True))  # stable

    @property
    def primaries(self) -> tuple[Member, ...]:
        return tuple(member for member in self.members if member.role is Role.PRIMARY)
