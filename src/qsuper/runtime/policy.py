"""How a group behaves: its own policies, and what the guests' own actions lead to.

The latter by libvirt's `on_poweroff`, `on_reboot` and `on_crash`. Source: libvirt formatdomain,
"Events configuration": for QEMU `rename-restart` is a `restart`, and `preserve` of a reboot is a
`destroy`.
"""

from enum import Enum, auto
from typing import Final

from msgspec import Struct

from qsuper.plan import Lifecycle, OnEnd

_LONGEST_DELAY_S: Final = 60.0
_GOOD_AFTER_S: Final = 600.0
"""Who has run this long starts over with the delays."""


class Then(Enum):
    """What the runtime does when the guest has ended by itself."""

    END = auto()
    RESET = auto()
    """Reset the machine and let it run: the same QEMU."""
    KEEP = auto()
    """Leave it as it is, for someone to look at."""


_THEN: Final = {
    OnEnd.DESTROY: Then.END,
    OnEnd.RESTART: Then.RESET,
    OnEnd.PRESERVE: Then.KEEP,
    OnEnd.RENAME_RESTART: Then.RESET,
    OnEnd.COREDUMP_DESTROY: Then.END,
    OnEnd.COREDUMP_RESTART: Then.RESET,
}
_DUMPS: Final = frozenset({OnEnd.COREDUMP_DESTROY, OnEnd.COREDUMP_RESTART})


def after_poweroff(lifecycle: Lifecycle) -> Then:
    """Give what follows when the guest has powered off."""
    return _THEN[lifecycle.on_poweroff]


def after_reboot(lifecycle: Lifecycle) -> Then:
    """Give what follows when the guest wants to reboot."""
    return _THEN[lifecycle.on_reboot]


def after_crash(lifecycle: Lifecycle) -> Then:
    """Give what follows when the guest panicked, or QEMU ended unasked."""
    return _THEN[lifecycle.on_crash]


def dumps_core(lifecycle: Lifecycle) -> bool:
    """Tell whether a guest that panicked is dumped first."""
    return lifecycle.on_crash in _DUMPS


def actions(lifecycle: Lifecycle) -> dict[str, str]:
    """Give the arguments of QMP `set-action` that make QEMU wait for our decision."""
    reboots = after_reboot(lifecycle) is Then.RESET
    return {"shutdown": "pause"} | ({} if reboots else {"reboot": "shutdown"})


class Policies(Struct, frozen=True, kw_only=True):
    """How a group behaves beyond what its plan says."""

    paused: bool = False
    """Members are not let run at the start."""
    keep_dependencies: bool = False
    """Dependencies run on when their primary has ended by itself."""
    start_within_s: float = 60.0
    exit_from: str | None = None
    """The group ends with this member."""
    bind: bool = False
    """Members started again after a crash are killed when the supervisor ends."""


class Backoff:
    """The delays before restarts: 0, 1, 2, 4, ... 60 s; from the start after 10 good minutes."""

    def __init__(self) -> None:
        """Start without any crash."""
        self._next_s = 0.0

    def delay_s(self, ran_for_s: float) -> float:
        """Give how long to wait after a crash that came *ran_for_s* after the start."""
        if ran_for_s >= _GOOD_AFTER_S:
            self._next_s = 0.0
        delay_s = self._next_s
        self._next_s = min(2 * delay_s or 1.0, _LONGEST_DELAY_S)
        return delay_s
