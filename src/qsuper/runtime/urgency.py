"""Real-time priority for the few milliseconds of a group's suspend or resume.

Busy vCPUs keep QEMU's own threads, each other and us from the CPU, and so put the members apart.
With QEMU's own threads in SCHED_FIFO, and us above them, they all hear of it at once. A vCPU is to
be stopped before its QEMU says that it has stopped, and one that computes without end waits several
milliseconds for the CPU to notice: for a suspend the vCPUs are in SCHED_FIFO too, below the others,
until the last one has stopped. 8 busy guests on 2 cores stop within 1 ms so, in place of 8 ms.

It takes CAP_SYS_NICE; without it nothing changes.
"""

import contextlib
import os
from collections.abc import Callable, Generator, Iterable
from typing import Final

# Threads that QEMU makes meanwhile do not inherit it.
_FIFO: Final = os.SCHED_FIFO | os.SCHED_RESET_ON_FORK
_US: Final = os.sched_param(3)
_QEMU: Final = os.sched_param(2)
_VCPU: Final = os.sched_param(1)
_VCPUS: Final = ("CPU ", "ALL CPUs")
"""How QEMU names these threads with `-name debug-threads=on`, which is in our frame."""

Before = tuple[int, int, os.sched_param]
"""A thread, with the policy and the priority that it had."""


@contextlib.contextmanager
def urgent(pids: Iterable[int], *, vcpus: bool) -> Generator[Callable[[], None]]:
    """Let us and these QEMUs go first; of one alone, and while that is so for others, leave it.

    Args:
        pids: The QEMUs.
        vcpus: Their vCPUs come next, before all others.

    Yields:
        What ends it before the context does: a vCPU that does not stop shall not keep the host.
    """
    several = list(pids)
    before: list[Before] = []

    def calm() -> None:
        while before:
            _schedule(*before.pop())

    if len(several) > 1 and (us := _raised(os.getpid(), _US)):
        before.append(us)
        for pid in several:
            for thread, is_vcpu in _threads(pid):
                if vcpus or not is_vcpu:
                    before += filter(None, [_raised(thread, _VCPU if is_vcpu else _QEMU)])
    try:
        yield calm
    finally:
        calm()


def is_allowed() -> bool:
    """Tell whether anybody can be raised here."""
    before = _raised(os.getpid(), _US)
    return before is not None and _schedule(*before)


def calm_down(pid: int) -> None:
    """Take back what a supervisor that was killed meanwhile has left of it in a QEMU."""
    for thread, _ in _threads(pid):
        with contextlib.suppress(OSError):
            if os.sched_getscheduler(thread) == _FIFO:
                _schedule(thread, os.SCHED_OTHER, os.sched_param(0))


def _raised(thread: int, priority: os.sched_param) -> Before | None:
    """Raise a thread; None where that is not allowed, or it has ended, or is raised.

    Who has raised it gives it back, and must find what it was before: no second one may.
    """
    try:
        before = thread, os.sched_getscheduler(thread), os.sched_getparam(thread)
    except OSError:
        return None
    is_raised = before[1] == _FIFO
    return before if not is_raised and _schedule(thread, _FIFO, priority) else None


def _schedule(thread: int, policy: int, priority: os.sched_param) -> bool:
    """Set a thread's policy; tell whether that was possible."""
    try:
        os.sched_setscheduler(thread, policy, priority)
    except OSError:
        return False
    return True


def _threads(pid: int) -> list[tuple[int, bool]]:
    """Give the threads of a QEMU, each with whether it runs guest code."""
    found: list[tuple[int, bool]] = []
    with contextlib.suppress(OSError):  # it has just ended
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(
                f"/proc/{pid}/task/{thread}/comm", encoding="utf-8", errors="replace"
            ) as file:
                found.append((int(thread), file.read().startswith(_VCPUS)))
    return found
