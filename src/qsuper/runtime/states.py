"""The states of a domain, in libvirt's words, and what QEMU's run states mean in them.

Import budget: `enum` and `typing`; data only.
"""

from enum import StrEnum, unique
from typing import Final, NamedTuple


@unique
class State(StrEnum):
    """Where a domain stands. The values are what `virsh list` prints, and two of our own."""

    RUNNING = "running"
    PAUSED = "paused"
    IN_SHUTDOWN = "in shutdown"
    """The guest has powered off; its QEMU has not ended yet, or is kept (`preserve`)."""
    SHUT_OFF = "shut off"
    CRASHED = "crashed"
    """The guest panicked, or QEMU ended when nobody asked it to."""
    PMSUSPENDED = "pmsuspended"
    PRELAUNCH = "prelaunch"
    """Ours: QEMU is there, no guest instruction has run."""
    UNRESPONSIVE = "unresponsive"
    """Ours: QEMU lives, its monitor does not answer."""


@unique
class Reason(StrEnum):
    """Why a domain is in its state; libvirt's words where it has them."""

    BOOTED = "booted"
    UNPAUSED = "unpaused"
    WAKEUP = "wakeup"
    RESTARTED = "restarted"
    """By another QEMU, after a crash or because it was asked for."""
    RESTARTING = "restarting"
    """Its QEMU has ended, and another is being started in its place."""
    USER = "user"
    STARTING = "starting up"
    IO_ERROR = "I/O error"
    WATCHDOG = "watchdog"
    PANICKED = "panicked"
    MIGRATING = "migrating"
    SAVING = "saving"
    INTERNAL_ERROR = "internal error"
    DEBUG = "debug"
    SHUTDOWN = "shutdown"
    DESTROYED = "destroyed"
    FAILED = "failed"
    """It did not start, or not again."""
    EMULATOR_ENDED = "emulator ended"
    BACKOFF = "waiting to restart"
    STOPPED = "stopped by a signal"
    TIMED_OUT = "monitor does not answer"
    UNKNOWN = "unknown"


class Standing(NamedTuple):
    """A state with its reason."""

    state: State
    reason: Reason


LIVE: Final = frozenset(State) - {State.SHUT_OFF, State.CRASHED}
"""A QEMU process exists for sure; `crashed` may have one too (a panicked guest)."""
CAN_SUSPEND: Final = frozenset(
    {State.RUNNING, State.PAUSED, State.PRELAUNCH, State.UNRESPONSIVE, State.PMSUSPENDED}
)
"""`stop` makes sense: it changes the state, or changes nothing."""
CAN_RESUME: Final = frozenset({State.RUNNING, State.PAUSED, State.PRELAUNCH, State.UNRESPONSIVE})
CAN_OBEY: Final = frozenset({State.RUNNING, State.PMSUSPENDED, State.IN_SHUTDOWN})
"""The guest OS may react to the power button."""

OF_RUN_STATE: Final = {
    "running": Standing(State.RUNNING, Reason.UNPAUSED),
    "paused": Standing(State.PAUSED, Reason.USER),
    "prelaunch": Standing(State.PRELAUNCH, Reason.STARTING),
    "preconfig": Standing(State.PRELAUNCH, Reason.STARTING),
    "shutdown": Standing(State.IN_SHUTDOWN, Reason.SHUTDOWN),
    "suspended": Standing(State.PMSUSPENDED, Reason.UNKNOWN),
    "guest-panicked": Standing(State.CRASHED, Reason.PANICKED),
    "io-error": Standing(State.PAUSED, Reason.IO_ERROR),
    "watchdog": Standing(State.PAUSED, Reason.WATCHDOG),
    "internal-error": Standing(State.PAUSED, Reason.INTERNAL_ERROR),
    "debug": Standing(State.PAUSED, Reason.DEBUG),
    "inmigrate": Standing(State.PAUSED, Reason.MIGRATING),
    "postmigrate": Standing(State.PAUSED, Reason.MIGRATING),
    "finish-migrate": Standing(State.PAUSED, Reason.MIGRATING),
    "colo": Standing(State.PAUSED, Reason.MIGRATING),
    "save-vm": Standing(State.PAUSED, Reason.SAVING),
    "restore-vm": Standing(State.PAUSED, Reason.SAVING),
}
"""QMP `RunState` (qapi/run-state.json) to ours."""
