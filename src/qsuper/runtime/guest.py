"""One domain while it runs: from its first QEMU's start to its last one's end."""

import contextlib
from typing import Any, Final

import trio

from qsuper.errors import EmulatorError, QsuperError, TimedOutError
from qsuper.fabric.group import Fabric
from qsuper.fabric.outside import flushed
from qsuper.runtime import policy, rundir
from qsuper.runtime.ending import end_process, fate
from qsuper.runtime.helpers import Helpers
from qsuper.runtime.helping import Completion, Emit
from qsuper.runtime.launch import Home, Launched, Past, launch
from qsuper.runtime.log import Log
from qsuper.runtime.policy import Backoff, Then
from qsuper.runtime.qmp import CommandError
from qsuper.runtime.reactions import Reactions
from qsuper.runtime.renewal import Renewal
from qsuper.runtime.states import Reason, State
from qsuper.runtime.steered import Steered
from qsuper.runtime.survivors import RESTARTING

Json = Any  # whatever QEMU says

_LAST_WORDS_WITHIN_S: Final = 1.0  # for the events that tell why a QEMU has ended
_GOES: Final = frozenset({State.RUNNING, State.PAUSED, State.PMSUSPENDED})
"""It was let run."""
_GO_WITHIN_S: Final = 10.0  # a QEMU has just begun, on a machine that may be busy


class Guest(Steered):
    """A member of a running group: its life, QEMU after QEMU."""

    def __init__(self, home: Home, launched: Launched, fabric: Fabric, emit: Emit) -> None:
        """Take a member that was just started, paused."""
        super().__init__(home, launched, emit)
        self.ended = trio.Event()
        """It has ended for good, and its name is free."""
        self.may_restart = True
        self.bind = False
        """It is killed when the supervisor ends."""
        self.status: int | None = None
        """How its last QEMU ended, negative for a signal."""
        self.completion = Completion(self, emit)
        self.backoff = Backoff()
        self.began_s = trio.current_time()
        self._launched = launched
        self._fabric = fabric
        self._reactions = Reactions(self, emit)
        self._end: Reason | None = None
        self._is_ending = False
        self.was_over = False
        """It had ended before we came."""
        self._renewal: Renewal | None = None
        self._is_whole = False
        if launched.past is not None:
            self._remember(launched.past)

    def _remember(self, past: Past) -> None:
        """Go on where another supervisor left off."""
        self.standing, self.since = past.standing, past.since
        self.has_started = self._is_whole = True
        if past.is_ending:
            self.was_over = past.is_over
            self._end = past.end
            self._is_ending = True
            self._unwanted.set()
        elif self.home.place.has(RESTARTING):
            self._renewal = Renewal()
            self._unwanted.set()

    @property
    def helpers(self) -> Helpers:
        """The processes that serve its QEMU."""
        return self._launched.helpers

    @property
    def log(self) -> Log:
        """What its QEMU says."""
        return self._launched.log

    @property
    def is_live(self) -> bool:
        """It has not ended for good."""
        return not self.ended.is_set()

    def failure(self, why: str = "") -> EmulatorError:
        """Give why it did not start: QEMU's own words, else *why*."""
        said = self.log.tail() or why or fate(self.status)
        return EmulatorError(f"{self.name}: QEMU did not start: {self.completion.blame}{said}")

    # The life of it

    async def run(self) -> None:
        """Live as long as the domain does, over restarts; cancelled, kill it.

        When this returns, nothing of it is left in the runtime directory.
        """
        try:
            while await self._live():
                pass
        finally:
            self.process.end_now()
            self.process.close()
            self.helpers.end_now()
            self.home.release()
            self.settled.set()
            self.gone.set()
            self.ended.set()
            if self._renewal is not None:
                self._renewal.finish(QsuperError(f"domain {self.name!r} has ended: {self.state}"))

    async def _live(self) -> bool:
        """Run one QEMU; tell whether there is another one after it."""
        self.began_s = trio.current_time()
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            if self._unwanted.is_set():  # before there was a nursery
                nursery.start_soon(self._end_process)
            nursery.start_soon(self._monitors.run, self._launched)
            nursery.start_soon(self.completion.watch, self.helpers)
            for conversation in self._fabric.unsent(self.name):
                nursery.start_soon(flushed, conversation)
            await trio.lowlevel.wait_readable(self.process.pidfd)
            with trio.move_on_after(_LAST_WORDS_WITHIN_S):
                await self._monitors.drained()
            self._nursery = None
            nursery.cancel_scope.cancel()
        self.status = self.process.status()
        self._note_end()
        await self.completion.end(self.helpers)
        self.gone.set()
        self.settled.set()
        if self._renewal is not None and self._renewal.is_launched and not self._is_ending:
            self._give_up(self._renewal, self.completion.refusal or self.failure())
        return self._has_next() and await self._replace(trio.current_time() - self.began_s)

    def _has_next(self) -> bool:
        """Tell whether another QEMU follows one that has ended."""
        if self._end is not None or self._is_ending:
            return False
        if self._renewal is not None:
            return True
        wanted = policy.after_crash(self.plan.lifecycle) is Then.RESET
        return wanted and self.standing.state is State.CRASHED and self.may_restart

    async def _replace(self, ran_for_s: float) -> bool:
        """Start another QEMU, after the delay if nobody asked for it; tell whether one is there."""
        self.home.place.mark(RESTARTING)
        while True:
            if self._renewal is None:
                self.change(State.CRASHED, Reason.BACKOFF)
                with trio.move_on_after(self.backoff.delay_s(ran_for_s)):
                    await self._unwanted.wait()
            if self._is_ending:
                self._note_end()
                return False
            try:
                self._launched = launch(self.home, self._fabric, bind=self.bind)
            except QsuperError as error:
                self.change(State.CRASHED, Reason.FAILED)
                self._give_up(self._renewal, error)
                if not self._has_next():
                    return False
                ran_for_s = 0.0
                continue
            self._begin()
            return True

    def _begin(self) -> None:
        """Take the QEMU that was launched for the one that has ended."""
        self.process.close()
        self.process = self._launched.process
        self.settled, self.gone = trio.Event(), trio.Event()
        self._unwanted = trio.Event()
        self._reactions = Reactions(self, self._emit)
        self.notes.going.clear()
        self.notes.reboots.clear()
        self.completion.refusal = None
        self._is_whole, self._goes_by_itself = False, True
        if self._renewal is not None:
            self._renewal.is_launched = True
        self.change(State.PRELAUNCH, Reason.STARTING)

    def _give_up(self, renewal: Renewal | None, error: QsuperError) -> None:
        """Say that the new QEMU does not run; what follows is up to the lifecycle settings."""
        if error is not self.completion.refusal:  # of that it has been told
            self._emit("RESTART_FAILED", self.name, {"message": str(error)})
        if renewal is not None:
            self._renewal = None
            self._unwanted = trio.Event()
            renewal.finish(error)

    def _note_end(self) -> None:
        if self.was_over:
            return
        if self._end is Reason.PANICKED:
            self.change(State.CRASHED, self._end)
        elif self._end is not None:
            self.change(State.SHUT_OFF, self._end)
        elif self._renewal is not None and not self._renewal.is_launched:
            self.change(State.SHUT_OFF, Reason.RESTARTING)
        elif self._renewal is not None:
            self.change(State.CRASHED, Reason.FAILED)
        elif not self.has_started:
            self.change(State.SHUT_OFF, Reason.FAILED)
        elif self.status == 0:
            self.change(State.SHUT_OFF, Reason.SHUTDOWN)
        else:
            detail = {"status": self.status, "message": self.log.tail()}
            self._emit("EMULATOR_ENDED", self.name, detail)
            self.change(State.CRASHED, Reason.EMULATOR_ENDED)

    # Its monitors: it is their `Listener`

    async def opened(self, *, again: bool) -> None:
        """Set QEMU up as its lifecycle settings want it, and say that it is there."""
        with contextlib.suppress(CommandError):  # before QEMU 6
            await self.command("set-action", policy.actions(self.plan.lifecycle))
        await self.refresh()
        if again:
            self._catch_up()
        if not self._is_whole:
            self._is_whole = await self.completion.run(self.helpers, self.plan.setup)
        self.settled.set()
        if self._is_whole and not self._unwanted.is_set():
            await self._go()

    def _catch_up(self) -> None:
        """Take note of what happened while nobody listened."""
        if self.standing.state not in (State.PRELAUNCH, State.UNRESPONSIVE):
            self.release()
            if self.standing.state in _GOES:
                self.notes.going.clear()
        if self._renewal is None:
            self._reactions.catch_up()

    @property
    def _has_not_run(self) -> bool:
        """No guest instruction has run, as far as is known; an adopted QEMU has told so."""
        is_new = self._launched.past is None and self.standing.state is State.UNRESPONSIVE
        return is_new or self.standing.state is State.PRELAUNCH

    async def _go(self) -> None:
        """Let a QEMU go that nobody else lets go; who asks for a restart now gets another one."""
        renewal, self._renewal = self._renewal, None
        try:
            if self._goes_by_itself and self.notes.released and self._has_not_run:
                await self.command("cont", within_s=_GO_WITHIN_S)
                is_new = self._launched.past is None
                self.change(State.RUNNING, Reason.RESTARTED if is_new else Reason.BOOTED)
        except QsuperError as error:
            self._go_later(renewal, error)
            raise
        self._goes_by_itself = False
        if not self._unwanted.is_set():
            self.home.place.unmark(RESTARTING)
        if renewal is not None:
            renewal.finish()

    def _go_later(self, renewal: Renewal | None, error: QsuperError) -> None:
        """Leave it open whether the new QEMU goes: its end tells why not, or it answers yet."""
        if self._renewal is None:
            self._renewal = renewal
        elif renewal is not None:
            renewal.finish(error)

    def lost(self, message: str) -> None:
        """Say that the monitor hung up while QEMU lives."""
        if self._end is None and not self._unwanted.is_set():
            self._emit("MONITOR_LOST", self.name, {"message": message})
            self.change(State.UNRESPONSIVE, Reason.TIMED_OUT)

    def answers_again(self) -> None:
        if self._renewal is None:
            self._reactions.catch_up()

    def react(self, event: str, data: Json) -> None:
        if self._renewal is not None:
            return  # nothing that it does matters any more
        if event == "RESUME":  # whoever let it run
            self.release()
            self.notes.going.clear()
        self._reactions.take(event, data)

    # For its reactions

    def begin_anew(self) -> None:
        """Put another QEMU in the place of this one; where others depend on this one, end it."""
        if not self.may_restart:
            self.start_soon(self.end, Reason.SHUTDOWN)
        elif not self._is_ending and self._end is None and self._renewal is None:
            self._renew()

    def was_told_to_end(self) -> None:
        """Note that its QEMU was ended by somebody on the host."""
        self._end = self._end or Reason.DESTROYED

    async def unwanted(self) -> None:
        """Wait until somebody wants this QEMU to end."""
        await self._unwanted.wait()

    # Verbs

    async def restart(self, within_s: float) -> None:
        """End its QEMU, and start another of the same plan in its place.

        Returns once the new one runs, or waits for its boot signal. Who asks before that waits
        for the same one.

        Raises:
            QsuperError: the new QEMU does not start, or the domain is ending.
            TimedOutError: the new QEMU does not answer in time; it goes when it does.
        """
        if self._is_ending or self._end is not None:
            raise QsuperError(f"domain {self.name!r} is ending")
        if (renewal := self._renewal) is None:
            if self.plan.boot is None:
                self.notes.released.set()
            else:
                self.notes.released.clear()
            self.notes.was_shut_down.clear()
            renewal = self._renew()
        with trio.move_on_after(within_s):
            await renewal.result()
            return
        if renewal is self._renewal and renewal.is_launched:
            self._renewal = None
            self.change(State.UNRESPONSIVE, Reason.TIMED_OUT)
        raise TimedOutError(f"{self.name}: QEMU's monitor gave no answer within {within_s:g} s")

    def _renew(self) -> Renewal:
        self.home.place.mark(RESTARTING)
        self._renewal = Renewal()
        self._unwanted.set()
        self.start_soon(self._end_process)
        return self._renewal

    async def steady(self) -> None:
        """Wait until a restart that somebody asked for is over."""
        if self._renewal is not None:
            await self._renewal.over()

    async def end(self, reason: Reason = Reason.DESTROYED) -> None:
        """End it now, and wait until nothing of it is left.

        QMP `quit`, then SIGTERM, then SIGKILL; a second caller waits for the first one's.
        """
        if not self._is_ending:
            self._is_ending = True
            self.home.place.mark(rundir.ENDING)
            self._end = self._end or reason
            self._unwanted.set()
            self.start_soon(self._end_process)
        await self.ended.wait()

    async def _end_process(self) -> None:
        self.helpers.kill_stopped()
        monitor = None if self.state is State.UNRESPONSIVE else self._monitors.qmp
        await end_process(self.process, monitor, self.gone)
