"""The event log: what happened to each domain, one JSON object a line.

    {"time": 1750000000.25, "event": "STATE_CHANGED", "domain": "web", "detail": {...}}

QEMU's own events keep their names. Ours: STATE_CHANGED (state, reason), GROUP_SUSPENDED and
GROUP_RESUMED (domains, skew_us), EMULATOR_ENDED (status, message), RESTART_FAILED, DUMPED,
DUMP_FAILED, MONITOR_LOST, SHUTDOWN_FAILED (message), SIGNAL (shmem, vector, times, to: a peer
number; domains and verbs where that is the supervisor's), SIGNAL_FAILED (verb, message),
BOOTED (delay_us: from the signal to QEMU's RESUME).
"""

import contextlib
import json
import os
import time
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from qsuper import paths
from qsuper.errors import QsuperError

FILE: Final = "events.jsonl"
_TAIL_BYTES: Final = 1 << 16


class Event(NamedTuple):
    """Something that happened to a domain."""

    time: float
    """Seconds since the epoch."""
    event: str
    domain: str
    detail: Mapping[str, Any]

    @classmethod
    def now(cls, event: str, domain: str, detail: Mapping[str, Any]) -> "Event":
        return cls(time.time(), event, domain, detail)


class EventLog:
    """The log files of some domains, open while they run."""

    def __init__(self, domains: Iterable[str]) -> None:
        """Open all of them.

        Raises:
            QsuperError: one cannot be made.
        """
        self._files: dict[str, int] = {}
        for name in domains:
            path = os.path.join(paths.domain_state_dir(name), FILE)
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
            try:
                paths.make_private(os.path.dirname(path))
                self._files[name] = os.open(path, flags, 0o600)
            except OSError as error:
                self.close()
                raise QsuperError(f"{path}: {error.strerror}") from error

    def write(self, event: Event) -> None:
        """Append an event to its domain's file. A full disk stops no guest."""
        descriptor = self._files.get(event.domain)
        if descriptor is None:
            return
        line = json.dumps(event._asdict(), separators=(",", ":")) + "\n"
        with contextlib.suppress(OSError):
            os.write(descriptor, line.encode())

    def close(self) -> None:
        for descriptor in self._files.values():
            os.close(descriptor)
        self._files.clear()


def last_state(domain: str) -> Event | None:
    """Give the last STATE_CHANGED of a domain; None where its log has none near its end."""
    path = os.path.join(paths.domain_state_dir(domain), FILE)
    for each in (path, f"{path}.1"):
        try:
            with open(each, "rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
                lines = file.read().splitlines()
        except OSError:
            continue
        for line in reversed(lines):
            with contextlib.suppress(ValueError, TypeError):  # cut in two, or written by others
                if b"STATE_CHANGED" in line:
                    return Event(**json.loads(line))
    return None
