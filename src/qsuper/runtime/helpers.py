"""The helpers of one QEMU: swtpm, virtiofsd, passt. Needs no trio.

Each is connected with QEMU before either runs, so that nobody waits for a socket to appear; each
ends by itself when QEMU hangs up, so that none outlives a QEMU that nobody supervises.
"""

import contextlib
import json
import os
import select
import shutil
import signal
import socket
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from qsuper.errors import QsuperError
from qsuper.options import Handle, HelperLink, OpenFile, Readiness, Word, spelled
from qsuper.plan import Helper
from qsuper.runtime import errand, rundir
from qsuper.runtime.log import Log
from qsuper.runtime.process import EndedProcess, Identity, Process, Spawn
from qsuper.runtime.resources import opened
from qsuper.runtime.rundir import Rundir
from qsuper.runtime.survivors import HELPERS, recorded_helpers

_ANYBODY_MAY_WRITE: Final = 0o622


class RunningHelper:
    """A helper that was started, or is taken over."""

    def __init__(self, plan: Helper, process: Process, log: Log, ready_fd: int | None) -> None:
        """Take a process; for `Helpers`."""
        self.plan = plan
        self.process = process
        self.log = log
        self.ready_fd = ready_fd
        """Readable once it is ready, or has ended; None: QEMU itself waits for it."""
        self.status: int | None = None
        """How it ended, negative for a signal; None where unknown, or it lives."""

    @property
    def name(self) -> str:
        return self.plan.name

    @property
    def has_ended(self) -> bool:
        return bool(select.select([self.process.pidfd], [], [], 0)[0])

    def failure(self) -> str:
        """Tell how it ended, in its own words where it had some."""
        said = self.log.tail() or "it said nothing"
        how = "" if self.status is None else f" with status {self.status}"
        return f"{self.name} ended{how}: {said}"

    def settle(self) -> None:
        """Take note of its end, and end what it left of its process group."""
        # Until it is waited for, its pid and its group are nobody else's.
        if self.status is None and self.process.is_child:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
        self.status = self.process.status() if self.status is None else self.status

    def end_now(self) -> None:
        """Kill it, wait until it is gone, and let go of it."""
        if self.process.is_closed:
            return
        self.process.kill(signal.SIGKILL)
        select.select([self.process.pidfd], [], [])
        self.close()

    def close(self) -> None:
        """Let go of one that has ended."""
        self.settle()
        self.process.close()
        if self.ready_fd is not None:
            os.close(self.ready_fd)
            self.ready_fd = None


class Helpers:
    """All helpers of one QEMU. `end_now` is what must not be forgotten."""

    def __init__(self, place: Rundir, state_dir: str) -> None:
        """Take the domain's directories."""
        self._place = place
        self._state_dir = state_dir
        self._running: list[RunningHelper] = []

    def __iter__(self) -> Iterator[RunningHelper]:
        return iter(self._running)

    def start(self, plans: Sequence[Helper], links: dict[str, int], *, bind: bool) -> None:
        """Start them, and put QEMU's ends of the connections into *links*.

        Args:
            plans: What to start.
            links: Gets descriptors by the names of the links.
            bind: They are killed when this process ends, however it does.

        Raises:
            QsuperError: one cannot be started; those before it run until `end_now`.
        """
        for plan in plans:
            directory = self._prepared(plan)
            self._running.append(self._start(plan, directory, links, bind=bind))
            self._record()

    def adopt(self, plans: Sequence[Helper]) -> None:
        """Take over those that another supervisor started, by what it wrote down."""
        recorded = recorded_helpers(self._place.path)
        for plan in plans:
            identity = recorded.get(plan.name)
            process = Process.adopt(Identity(*identity)) if identity else None
            log = self._log(plan)
            log.skip()
            log.close()
            self._running.append(RunningHelper(plan, process or EndedProcess(), log, None))

    def blame(self) -> str:
        """Give what those say that have failed by themselves."""
        for helper in self._running:
            if helper.has_ended:
                helper.settle()
        return "; ".join(helper.failure() for helper in self._running if helper.status)

    def kill_stopped(self) -> None:
        """Kill those that a signal has stopped: QEMU may wait for one, and cannot end then."""
        for helper in self._running:
            if helper.process.identity.is_stopped:
                helper.process.kill(signal.SIGKILL)

    def kill(self, number: signal.Signals) -> None:
        """Send all of them a signal; those that are stopped are killed."""
        self.kill_stopped()
        for helper in self._running:
            helper.process.kill(number)

    def end_now(self) -> None:
        """Kill all, and wait until they are gone."""
        for helper in self._running:
            helper.end_now()
        if self._running:
            self._place.unmark(HELPERS)
        self._running.clear()

    def _prepared(self, plan: Helper) -> str:
        """Make the helper's directory, filled by its setup."""
        path = os.path.join(self._state_dir, plan.directory)
        if plan.setup is None or _is_used(path):
            _make_directory(path)
            return path
        draft = f"{path.rstrip('/')}.new"
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(draft)  # of a setup that was cut off
        _make_directory(draft)
        try:
            self._run_setup(plan, draft)
            os.rename(draft, path)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
        return path

    def _run_setup(self, plan: Helper, directory: str) -> None:
        assert plan.setup  # noqa: S101 - the caller looks
        setup, log = plan.setup, self._log(plan)
        with contextlib.ExitStack() as stack:
            stack.callback(log.close)
            numbers = _inherited(setup.words, {}, stack)
            argv = (setup.program, *spelled(setup.words, numbers))
            errand.run(argv, log, directory=directory, pass_fds=tuple(numbers.values()))

    def _start(
        self, plan: Helper, directory: str, links: dict[str, int], *, bind: bool
    ) -> RunningHelper:
        with contextlib.ExitStack() as stack:
            lent = {plan.link.name: self._connected(plan.link, links, stack)}
            ready_fd: int | None = None
            failed = contextlib.ExitStack()
            stack.push(failed)
            if plan.readiness is not None:
                ready_fd, lent[plan.readiness.name] = os.pipe()
                stack.callback(os.close, lent[plan.readiness.name])
                failed.callback(os.close, ready_fd)
                # One started by root becomes another user before it opens it.
                os.fchmod(lent[plan.readiness.name], _ANYBODY_MAY_WRITE)
            numbers = _inherited(plan.words, lent, stack)
            argv = (plan.program, *spelled(plan.words, numbers))
            log = self._log(plan)
            stack.callback(log.close)
            log.begin(argv)
            self._record({plan.name: (os.path.realpath(directory), *argv)})
            spawn = Spawn(argv, {}, directory, log.fd, tuple(numbers.values()), bind)
            process = Process.spawn(spawn)
            failed.pop_all()
        return RunningHelper(plan, process, log, ready_fd)

    def _connected(
        self, link: HelperLink, links: dict[str, int], stack: contextlib.ExitStack
    ) -> int:
        """Connect QEMU and the helper, and give the helper's end."""
        if link.listens:
            path = self._place.file(f"{link.name}.sock")
            listener = stack.enter_context(rundir.bind_listener(path))
            try:
                links[link.name] = rundir.connect(path).detach()
            finally:
                rundir.remove_socket(path)
            os.set_blocking(links[link.name], True)
            return listener.fileno()
        ours, theirs = socket.socketpair()
        stack.callback(theirs.close)
        links[link.name] = ours.detach()
        return theirs.fileno()

    def _log(self, plan: Helper) -> Log:
        return Log(os.path.join(self._state_dir, f"{plan.name}.log"))

    def _record(self, coming: Mapping[str, Sequence[str]] | None = None) -> None:
        """Write down what runs, for whoever comes after us; before a start, what is *coming*."""
        running = {helper.name: str(helper.process.identity) for helper in self._running}
        self._place.write(HELPERS, json.dumps({**running, **(coming or {})}))


def _inherited(
    words: Sequence[Word], lent: dict[str, int], stack: contextlib.ExitStack
) -> dict[str, int]:
    """Give the descriptors among the words; files are opened until the stack unwinds."""
    numbers: dict[str, int] = {}
    for word in words:
        match word:
            case Handle(resource=HelperLink(name=name) | Readiness(name=name)):
                numbers[name] = lent[name]
            case Handle(resource=OpenFile() as file):
                numbers[file.name] = opened(file.path, file)
                stack.callback(os.close, numbers[file.name])
            case Handle():
                raise QsuperError(f"a helper cannot inherit a {type(word.resource).__name__}")
            case str():
                pass
    return numbers


def _is_used(path: str) -> bool:
    try:
        return bool(os.listdir(path))
    except FileNotFoundError:
        return False
    except OSError as error:
        raise QsuperError(f"{path}: {error.strerror}") from error


def _make_directory(path: str) -> None:
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
    except OSError as error:
        raise QsuperError(f"{path}: {error.strerror}") from error
