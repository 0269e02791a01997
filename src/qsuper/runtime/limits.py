"""How many open files the supervisor may have."""

import resource
from typing import Final

from qsuper.errors import QsuperError

_LEAST: Final = 32
_EACH_MEMBER: Final = 8
"""Lock, pidfd, monitors, logs; and what it inherits, for the moment of its start."""
_CLIENTS: Final = 512


def allow_descriptors(members: int) -> None:
    """Raise our limit of open files as far as we may.

    Raises:
        QsuperError: it stays too low. What runs out later would end a group that has run for days.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = _LEAST + _EACH_MEMBER * members
    wanted = needed + _CLIENTS
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft < needed:
        raise QsuperError(
            f"too few open files are allowed here: {soft} of the {needed} that are needed"
            " (see `ulimit -n`)"
        )
