"""POSIX signals to the supervisor are verbs to its group.

| signal | does |
|---|---|
| SIGTSTP | suspends; in the foreground the supervisor then stops itself |
| SIGCONT | resumes |
| SIGINT, SIGTERM | shuts down, and destroys after the grace; the second one destroys at once |
| SIGQUIT | destroys |
| SIGHUP | as SIGTERM in the foreground: its terminal went away; nothing when detached |
| SIGUSR1 | logs where every member stands |

`early.Early` listens from the very start of the process, before trio is there to take over.
"""

import contextlib
import os
import signal
import sys
from collections.abc import Awaitable, Callable

import trio

from qsuper.errors import QsuperError
from qsuper.runtime.early import ENDING, OBEYED, Early
from qsuper.runtime.group import Group
from qsuper.runtime.notify import notify


class Obedience:
    """Turns signals into verbs until cancelled."""

    def __init__(self, group: Group, *, grace_s: float, foreground: bool) -> None:
        """Take the group, and the time between a graceful shutdown and the end."""
        self.ended_by: signal.Signals | None = None
        """The first signal that asked for the end."""
        self._group = group
        self._grace_s = grace_s
        self._foreground = foreground

    async def run(
        self,
        early: Early,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Obey, first those that came before; for `nursery.start`."""
        async with trio.open_nursery() as nursery:
            with trio.open_signal_receiver(*OBEYED) as later:
                task_status.started()
                for known in early.taken():
                    await self._obey(known, nursery)
                async for number in later:
                    await self._obey(signal.Signals(number), nursery)

    async def _obey(self, number: signal.Signals, nursery: trio.Nursery) -> None:
        if number in ENDING:
            self._end(number, nursery)
        elif number is signal.SIGUSR1:
            self._log_states()
        elif number is signal.SIGTSTP:
            await self._say_error(self._group.suspend_all)
            if self._foreground:
                os.kill(os.getpid(), signal.SIGSTOP)
        elif number is signal.SIGCONT:
            await self._say_error(self._group.resume_all)

    def _end(self, number: signal.Signals, nursery: trio.Nursery) -> None:
        if number is signal.SIGHUP and not self._foreground:
            return
        is_first = self.ended_by is None
        self.ended_by = self.ended_by or number
        notify("STOPPING=1")
        if number is signal.SIGQUIT or (number is signal.SIGINT and not is_first):
            nursery.start_soon(self._group.destroy_all)
        elif is_first:  # a closed terminal hangs up twice: the kernel, and its shell
            nursery.start_soon(self._shut_down)

    async def _shut_down(self) -> None:
        if self._foreground:
            _say(f"shutting down, within {self._grace_s:g} s (again: end it now)")
        if destroyed := await self._group.down_all(self._grace_s):
            _say(f"ended without its consent: {', '.join(destroyed)}")

    def _log_states(self) -> None:
        for guest in self._group.guests.values():
            _say(f"{guest.name}: {guest.state} ({guest.standing.reason}), pid {guest.process.pid}")

    async def _say_error(self, verb: Callable[[], Awaitable[object]]) -> None:
        try:
            with self._group.steering.verb():
                await verb()
        except QsuperError as error:
            _say(str(error))


def _say(text: str) -> None:
    with contextlib.suppress(OSError):  # the terminal may have gone away
        sys.stderr.write(f"qsuper: {text}\n")
        sys.stderr.flush()
