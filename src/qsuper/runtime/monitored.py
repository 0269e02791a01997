"""A domain as its QEMU's monitor shows it: where it stands, and commands to it."""

import time
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import trio

from qsuper.errors import QsuperError, TimedOutError
from qsuper.plan import LaunchPlan, Member
from qsuper.runtime import states
from qsuper.runtime.helping import Emit
from qsuper.runtime.launch import Home, Launched
from qsuper.runtime.monitors import Listener, Monitors
from qsuper.runtime.qmp import field
from qsuper.runtime.states import Reason, Standing, State
from qsuper.runtime.sync import Link, answers

Json = Any  # whatever QEMU says

ANSWER_WITHIN_S: Final = 2.0
"""How long a monitor may take for a command that QEMU does at once."""

_STATE_EVENTS: Final = frozenset(
    {"STOP", "RESUME", "RESET", "SHUTDOWN", "SUSPEND", "WAKEUP", "GUEST_PANICKED", "WATCHDOG"}
)
_QUIET_EVENTS: Final = frozenset({"RTC_CHANGE", "NIC_RX_FILTER_CHANGED", "VSERPORT_CHANGE"})
"""Too many, and of no interest to the log."""


_ALIKE: Final = frozenset({State.RUNNING, State.UNRESPONSIVE})
"""Another reason for the same state is no news."""
_STOPPED: Final = Standing(State.UNRESPONSIVE, Reason.STOPPED)


class Monitored(Listener):
    """A domain with a QEMU. Its state comes from the pidfd and QMP, and nowhere else."""

    def __init__(self, home: Home, launched: Launched, emit: Emit) -> None:
        """Take a member whose QEMU is there."""
        self.home = home
        self.member: Member = home.member
        self.plan: LaunchPlan = home.member.plan
        self.standing = Standing(State.PRELAUNCH, Reason.STARTING)
        self.since = launched.at
        self.process = launched.process
        self.gone = trio.Event()
        """The process has ended; another may follow."""
        self._emit = emit
        self._monitors = Monitors(home, self)
        self._nursery: trio.Nursery | None = None
        """Of what is done as long as its QEMU lives."""
        self._changes = 0
        self._is_looking = False

    @property
    def name(self) -> str:
        return self.plan.name

    @property
    def seen(self) -> Standing:
        """Where it stands; one whose QEMU is stopped by a signal answers nobody."""
        if self._is_stopped and self.standing.state is not State.UNRESPONSIVE:
            return _STOPPED
        return self.standing

    @property
    def state(self) -> State:
        return self.seen.state

    @property
    def _is_stopped(self) -> bool:
        return not self.gone.is_set() and self.process.identity.is_stopped

    @property
    def link(self) -> Link | None:
        """Its monitor for `stop` and `cont`; None while there is no connection."""
        return self._monitors.link

    def change(self, state: State, reason: Reason) -> None:
        """Note where it stands now, and say so if that is news."""
        before = self.standing
        if before.state is state and (before.reason is reason or state in _ALIKE):
            return
        self._changes += 1
        self.standing = Standing(state, reason)
        self.since = time.time()
        self._emit("STATE_CHANGED", self.name, {"state": state, "reason": reason})

    def start_soon(self, task: Callable[..., Awaitable[None]], *arguments: Reason) -> None:
        """Have something done, for as long as this QEMU lives; does not wait."""
        if self._nursery is not None:
            self._nursery.start_soon(task, *arguments)

    async def command(
        self,
        name: str,
        arguments: Mapping[str, Json] | None = None,
        *,
        within_s: float = ANSWER_WITHIN_S,
    ) -> Json:
        """Run a QMP command and give what it returns.

        Raises:
            TimedOutError: the monitor does not answer.
            CommandError: QEMU refuses.
            QsuperError: it has no monitor (any more).
        """
        monitor = self._monitors.qmp
        if monitor is None:
            fate = "is not running" if self.gone.is_set() else "has no monitor now"
            raise QsuperError(f"domain {self.name!r} {fate}")
        with trio.move_on_after(within_s):
            return await monitor.execute(name, arguments)
        self.change(State.UNRESPONSIVE, Reason.TIMED_OUT)
        self.start_soon(self._look)  # the answer to this one tells when it can answer again
        raise TimedOutError(f"{self.name}: QEMU's monitor gave no answer within {within_s:g} s")

    async def refresh(self) -> None:
        """Ask QEMU where it stands."""
        while True:
            changes = self._changes
            try:
                status = field(await self.command("query-status"), "status")
            except QsuperError:
                return
            if changes == self._changes:  # else what it said may be older than what we know
                was_silent = self.standing.state is State.UNRESPONSIVE
                self.change(*states.OF_RUN_STATE.get(status, (State.PAUSED, Reason.UNKNOWN)))
                if was_silent:
                    self.answers_again()
                return

    def look(self) -> None:
        """Have it noticed within 2 s if QEMU does not answer any more; does not wait."""
        self.start_soon(self._look)  # the answer, however late, tells that it goes on
        self.look_for_stop()

    def look_for_stop(self) -> None:
        """Note whether a signal has stopped QEMU, or one that was stopped goes on."""
        if self._is_stopped:
            self.change(*_STOPPED)
        elif self.standing == _STOPPED:
            self.start_soon(self.refresh)

    async def _look(self) -> None:
        if self._is_looking:  # QEMU takes so many questions that it does not answer, and no more
            return
        self._is_looking = True
        try:
            if (link := self.link) and not await answers(link):
                self.change(State.UNRESPONSIVE, Reason.TIMED_OUT)
            elif self.standing.state is State.UNRESPONSIVE:
                await self.refresh()
        finally:
            self._is_looking = False

    async def take(self, event: Json) -> None:
        name, data = event["event"], event.get("data", {})
        if name not in _QUIET_EVENTS:
            self._emit(name, self.name, data)
        self.react(name, data)
        if name in _STATE_EVENTS or self.standing.state is State.UNRESPONSIVE:
            await self.refresh()

    @abstractmethod
    def answers_again(self) -> None:
        """Take note that QEMU, which did not answer, does."""

    @abstractmethod
    def react(self, event: str, data: Json) -> None:
        """Do what an event of QEMU's leads to, without waiting."""

    def answered_late(self) -> None:
        if self.standing.state is State.UNRESPONSIVE:
            self.start_soon(self.refresh)
