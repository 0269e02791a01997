"""A QEMU process: spawned with the standard library, watched by pidfd.

The same class stands for a child and for a process that another supervisor spawned; only a child
has an exit status. Nothing here knows trio: `pidfd` is readable once the process has ended.

Processes are spawned from the main thread: PR_SET_PDEATHSIG fires when the *thread* that forked
ends (docs/decisions/0002).
"""

import contextlib
import ctypes
import os
import select
import signal
import subprocess  # noqa: TID251 - trio.run_process needs trio, which loads while this spawns
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple, Self

from qsuper.errors import EmulatorError

SERVICE_VARIABLES: Final = frozenset({"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"})
"""A QEMU or helper must not speak to systemd for the supervisor."""

_PR_SET_PDEATHSIG: Final = 1
_STAT_STATE: Final = 0  # fields of /proc/PID/stat counted from behind the command's name
_STAT_START_TIME: Final = 19


class Identity(NamedTuple):
    """A process, told apart from any later one with its pid."""

    pid: int
    start_time: int
    """Clock ticks since boot, from /proc/PID/stat."""

    def __str__(self) -> str:
        return f"{self.pid} {self.start_time}"

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read what `str` wrote; None where it is something else."""
        try:
            pid, start_time = map(int, text.split())
        except ValueError:
            return None
        return cls(pid, start_time)

    @classmethod
    def of(cls, pid: int) -> Self | None:
        """Give the identity of the process that has *pid* now; None where there is none."""
        fields = _stat(pid)
        if fields is None or fields[_STAT_STATE] in "ZX":
            return None
        return cls(pid, int(fields[_STAT_START_TIME]))

    @property
    def is_alive(self) -> bool:
        return Identity.of(self.pid) == self

    @property
    def is_stopped(self) -> bool:
        """Tell whether a signal or a tracer has stopped it: it reacts to SIGKILL alone."""
        fields = _stat(self.pid)
        return fields is not None and fields[_STAT_STATE] in "Tt"


class Spawn(NamedTuple):
    """How to start a process."""

    argv: Sequence[str]
    env: Mapping[str, str]
    directory: str
    output_fd: int
    """Where its stdout and stderr go."""
    pass_fds: Sequence[int]
    bind: bool = False
    """Whether it is killed when the spawning thread ends."""


class Process:
    """One process. Close it when it is no longer needed; that does not end it."""

    def __init__(
        self, identity: Identity, pidfd: int, child: "subprocess.Popen[bytes] | None"
    ) -> None:
        """Take a process; for `spawn` and `adopt`."""
        self.identity = identity
        self.pidfd = pidfd
        """Readable once it has ended."""
        self._child = child

    @classmethod
    def spawn(cls, spawn: Spawn) -> Self:
        """Start a process in its own process group, with stdin from /dev/null, deaf to SIGHUP.

        Raises:
            EmulatorError: it cannot be executed.
        """
        # When we die, the kernel hangs up on our children's groups that a signal has stopped.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
        try:
            child = subprocess.Popen(
                spawn.argv,
                env=_environment(spawn.env),
                cwd=spawn.directory,
                stdin=subprocess.DEVNULL,
                stdout=spawn.output_fd,
                stderr=spawn.output_fd,
                pass_fds=spawn.pass_fds,
                process_group=0,  # Ctrl-C and Ctrl-Z are ours to translate, not QEMU's to feel
                preexec_fn=_death_signal() if spawn.bind else None,  # noqa: PLW1509 - no threads then
            )
        except (OSError, subprocess.SubprocessError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise EmulatorError(f"{spawn.argv[0]}: {reason}") from error
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        # Even one that has ended at once is a zombie until we wait for it: it has an identity.
        try:
            fields = _stat(child.pid)
            start_time = int(fields[_STAT_START_TIME]) if fields else 0
            return cls(Identity(child.pid, start_time), os.pidfd_open(child.pid), child)
        except OSError as error:  # no descriptor is left
            child.kill()
            child.wait()
            raise EmulatorError(f"{spawn.argv[0]}: {error.strerror}") from error

    @classmethod
    def adopt(cls, identity: Identity) -> Self | None:
        """Take over a process that is not our child; None where it has ended."""
        try:
            process = cls(identity, os.pidfd_open(identity.pid), None)
        except ProcessLookupError:
            return None
        if identity.is_alive:  # asked after the pidfd was opened: now it cannot be another
            return process
        process.close()
        return None

    @property
    def pid(self) -> int:
        return self.identity.pid

    @property
    def is_child(self) -> bool:
        return self._child is not None

    @property
    def is_closed(self) -> bool:
        return self.pidfd < 0

    def status(self) -> int | None:
        """Give how a child ended, negative for a signal; None where unknown, or it lives."""
        return self._child.poll() if self._child else None

    def kill(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens where the process has ended."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, number)

    def end_now(self) -> None:
        """Kill it, and wait until it is gone."""
        self.kill(signal.SIGKILL)
        if self._child:
            self._child.wait()
        else:
            select.select([self.pidfd], [], [])

    def close(self) -> None:
        """Give up the descriptor."""
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1


class EndedProcess(Process):
    """Stands for a process that ended before anybody could take it over: nobody is signalled."""

    def __init__(self) -> None:
        super().__init__(Identity(0, 0), os.eventfd(1, os.EFD_CLOEXEC), None)

    def kill(self, number: signal.Signals) -> None:
        """Do nothing."""
        del number


def _environment(added: Mapping[str, str]) -> dict[str, str]:
    """Give what a process gets: our environment, but for what makes us systemd's service."""
    ours = {name: text for name, text in os.environ.items() if name not in SERVICE_VARIABLES}
    return {**ours, **added}


def _stat(pid: int) -> list[str] | None:
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def _death_signal() -> Callable[[], None]:
    """Give what a child runs before exec; all of it is loaded before the fork."""
    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
