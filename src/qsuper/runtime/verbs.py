"""What can be asked of a domain, whom it concerns, and what QEMU is told; data only.

Import budget: `enum` and `typing`.
"""

from enum import StrEnum, unique
from typing import Final


@unique
class Verb(StrEnum):
    """What a user can ask of a running domain, in libvirt's words."""

    SUSPEND = "suspend"
    RESUME = "resume"
    SHUTDOWN = "shutdown"
    DESTROY = "destroy"
    RESET = "reset"
    REBOOT = "reboot"


QMP_COMMAND: Final = {
    Verb.SUSPEND: "stop",
    Verb.RESUME: "cont",
    Verb.SHUTDOWN: "system_powerdown",
    Verb.DESTROY: "quit",
    Verb.RESET: "system_reset",
    Verb.REBOOT: "system_powerdown",  # and a reset once the guest has powered off
}

PROPAGATED: Final = frozenset({Verb.SUSPEND, Verb.RESUME, Verb.SHUTDOWN, Verb.DESTROY})
"""Done to a primary, they are done to its dependencies; the others only when told so."""

QMP_EVENT: Final = {Verb.SUSPEND: "STOP", Verb.RESUME: "RESUME"}
"""What QEMU says with the verb's own timestamp, in `sync.py`."""
