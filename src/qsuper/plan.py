"""What the translator hands to the runtime: everything it needs, and no XML."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum, unique

from qsuper.options import Option, Resource


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifecycle:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Console:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Seed:
    """A file that is copied from a template before the start, where it does not exist yet."""

    path: str
    template: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchPlan:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A domain of a group."""

    plan: LaunchPlan
    role: Role
    needs: tuple[str, ...] = ()
    """Names of its dependencies, in document order; a dependency has none."""
    source: str = ""
    """The XML file it comes from."""
    xml: str = ""
    """That file's text, kept for the record."""


@dataclass(frozen=True, slots=True)
class GroupPlan:
    """One or more primaries with their dependencies; what one supervisor runs.

    Named after its first primary.
    """

    members: tuple[Member, ...]
    """Dependencies first, each once, then the primaries; both in document order."""

    @property
    def name(self) -> str:
        return self.primaries[0].plan.name

    @property
    def primaries(self) -> tuple[Member, ...]:
        return tuple(member for member in self.members if member.role is Role.PRIMARY)
