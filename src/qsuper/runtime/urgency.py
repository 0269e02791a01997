"""Real-time priority for the few milliseconds of a group's suspend or resume.

The busy vCPUs of members that still run keep QEMU's own threads and us from the CPU, and so put
the members apart. With all QEMU threads but the vCPUs in SCHED_FIFO, and us above them, 4 busy
guests on 2 cores come 0.2 ms apart in place of up to 3 ms. It takes CAP_SYS_NICE; without it
nothing changes.
"""

import contextlib
import os
from collections.abc import Generator, Iterable
from typing import Final

# Threads that QEMU makes meanwhile do not inherit it.
_FIFO: Final = os.SCHED_FIFO | os.SCHED_RESET_ON_FORK
_OURS: Final = os.sched_param(2)
_THEIRS: Final = os.sched_param(1)
_USUAL: Final = os.sched_param(0)
_VCPUS: Final = ("CPU ", "ALL CPUs")
"""How QEMU names these threads with `-name debug-threads=on`, which is in our frame."""


@contextlib.contextmanager
def urgent(pids: Iterable[int]) -> Generator[None]:
    """Let us and these QEMUs go first, but for their vCPUs; of one alone, leave it."""
    several = list(pids)
    if len(several) < 2 or not _schedule(os.getpid(), _FIFO, _OURS):  # noqa: PLR2004 - "several"
        yield
        return
    threads = [thread for pid in several for thread in _own_threads(pid)]
    try:
        for thread in threads:
            _schedule(thread, _FIFO, _THEIRS)
        yield
    finally:
        for thread in (os.getpid(), *threads):
            _schedule(thread, os.SCHED_OTHER, _USUAL)


def _schedule(thread: int, policy: int, priority: os.sched_param) -> bool:
    """Set a thread's policy; tell whether that was possible."""
    try:
        os.sched_setscheduler(thread, policy, priority)
    except OSError:
        return False
    return True


def _own_threads(pid: int) -> list[int]:
    """Give the threads of a QEMU that run no guest code."""
    found: list[int] = []
    with contextlib.suppress(OSError):  # it has just ended
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(
                f"/proc/{pid}/task/{thread}/comm", encoding="utf-8", errors="replace"
            ) as file:
                if not file.read().startswith(_VCPUS):
                    found.append(int(thread))
    return found
