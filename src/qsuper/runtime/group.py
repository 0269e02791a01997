"""The domains that one supervisor runs: primaries with their dependencies, and verbs on them.

What is done to a primary is done to its dependencies (docs/ARCHITECTURE.md, "Groups"); what is
done to a dependency concerns nobody else.
"""

import contextlib
from collections.abc import Iterable, Mapping
from typing import Any, Final

import trio

from qsuper.errors import QsuperError, TimedOutError, first
from qsuper.plan import GroupPlan
from qsuper.runtime import states
from qsuper.runtime.each import each
from qsuper.runtime.guest import Guest
from qsuper.runtime.helping import Emit
from qsuper.runtime.policy import Policies
from qsuper.runtime.restore import bring_back
from qsuper.runtime.states import Reason, State
from qsuper.runtime.steering import Steering
from qsuper.runtime.sync import ANSWER_WITHIN_S, Answer, Link, signal_all
from qsuper.runtime.unison import in_unison
from qsuper.runtime.urgency import urgent
from qsuper.runtime.verbs import Verb

Json = Any  # an answer of the control protocol

_EVENTS: Final = {Verb.SUSPEND: "GROUP_SUSPENDED", Verb.RESUME: "GROUP_RESUMED"}


class Group:
    """The members of a run, and what can be asked of them."""

    def __init__(
        self,
        plan: GroupPlan,
        guests: Iterable[Guest],
        policies: Policies,
        emit: Emit,
        *,
        adopted: bool = False,
    ) -> None:
        """Take members in the plan's order: just started, paused; or *adopted*, as they are."""
        self.plan = plan
        self.policies = policies
        self.guests = {guest.name: guest for guest in guests}
        self.started = trio.Event()
        """All members are there, and run unless the start was to leave them paused."""
        self.ended = trio.Event()
        """All members have ended."""
        self.steering = Steering()
        self._destroyed_by_down: list[Guest] = []
        """They did not obey; `down` sees to their dependencies next."""
        self.exit_status: int | None = None
        """With `exit_from`: that member's own status."""
        self._emit = emit
        self._adopted = adopted
        for guest in self.guests.values():
            is_alone = guest.plan.meeting is None  # else others would have to start with it
            guest.may_restart = is_alone and guest.name != policies.exit_from
            guest.bind = policies.bind

    @property
    def name(self) -> str:
        return self.plan.name

    @property
    def live(self) -> list[Guest]:
        return [guest for guest in self.guests.values() if guest.is_live]

    async def run(self) -> None:
        """Start the members and stay until all have ended. All or nothing.

        Raises:
            EmulatorError: a member did not start; all are gone again.
            TimedOutError: a member's monitor did not answer in time; likewise.
        """
        try:
            async with trio.open_nursery() as nursery:
                for guest in self.guests.values():
                    nursery.start_soon(self._member, guest)
                await (self._go_on() if self._adopted else self._start())
        except* QsuperError as group:
            raise first(group) from None
        finally:
            self.ended.set()

    async def _start(self) -> None:
        within_s = self.policies.start_within_s
        with trio.move_on_after(within_s) as scope:
            async with trio.open_nursery() as nursery:
                for guest in self.guests.values():
                    nursery.start_soon(_settle, guest)
        if scope.cancelled_caught:
            silent = ", ".join(g.name for g in self.guests.values() if not g.settled.is_set())
            raise TimedOutError(f"{silent}: QEMU's monitor gave no answer within {within_s:g} s")
        for guest in self.guests.values():
            await _settle(guest)  # a helper may have ended meanwhile
        ready = [guest for guest in self.guests.values() if _runs_at_start(guest)]
        await each(self.guests.values(), bring_back)
        if not self.policies.paused:
            await self._release([guest for guest in ready if not guest.is_primary])
            await self._release([guest for guest in ready if guest.is_primary])
        for guest in self.guests.values():
            guest.has_started = True
            if guest.standing.state is not State.PRELAUNCH:  # or it had run when it was saved
                guest.release()
        self.started.set()

    async def ready(self) -> None:
        """Wait until the monitors of adopted members are open; for one that hangs, not long."""
        if self._adopted:
            await self.started.wait()

    async def _go_on(self) -> None:
        """Wait for the monitors of adopted members; for one that hangs, not long."""
        with trio.move_on_after(ANSWER_WITHIN_S):
            for guest in self.guests.values():
                await guest.settled.wait()
                await guest.steady()
        for guest in self.live:
            if not guest.settled.is_set():
                guest.change(State.UNRESPONSIVE, Reason.TIMED_OUT)
        self.started.set()

    async def _release(self, guests: list[Guest]) -> None:
        links: dict[str, Link] = {}
        for guest in guests:
            if guest.link is None:
                raise guest.failure()
            links[guest.name] = guest.link
        with urgent((guest.process.pid for guest in guests), vcpus=False):
            answers = await signal_all(links, Verb.RESUME)
        self._released(answers)

    def _released(self, answers: Mapping[str, Answer | None]) -> int | None:
        """Note that members go; give when the last one did."""
        last_us: int | None = None
        for name, answer in answers.items():
            if answer is None:
                text = f"{name}: QEMU gave no answer to cont within {ANSWER_WITHIN_S:g} s"
                raise TimedOutError(text)
            if answer.error:
                raise self.guests[name].failure(answer.error)
            self.guests[name].release()
            self.guests[name].change(State.RUNNING, Reason.BOOTED)
            last_us = answer.at_us
        return last_us

    async def stop(self, guests: list[Guest]) -> None:
        """Have members stand still for a while; errors as of `resume`."""
        await self._signal(Verb.SUSPEND, guests)

    async def go_on(self, guests: list[Guest]) -> None:
        """Let members run that were stopped for a while; errors as of `resume`."""
        if guests:
            await self._signal(Verb.RESUME, guests)

    async def boot(self, guest: Guest) -> int | None:
        """Let a member go that waits for its boot signal.

        Returns:
            When it did, by QEMU's word, in microseconds since the epoch; None: it went before, or
            goes as soon as it has a QEMU that can.

        Raises:
            EmulatorError: QEMU refuses, or has ended.
            TimedOutError: its monitor does not answer in time.
        """
        if (link := guest.boot()) is None:
            return None
        return self._released(await signal_all({guest.name: link}, Verb.RESUME))

    async def _member(self, guest: Guest) -> None:
        await guest.run()
        if self._adopted:  # it may have ended before we came
            await self.started.wait()
        if guest.name == self.policies.exit_from:
            self.exit_status = _exit_status(guest.status)
            await self.destroy_all()
        if guest.is_primary and self.started.is_set():
            await self._primary_ended(guest)

    async def _primary_ended(self, guest: Guest) -> None:
        """Its dependencies end as it did, but for those that others need.

        One that was asked to shut down and ended in another way has not ended as it was asked to.
        """
        mine, _ = self._with_dependencies(guest)
        try:
            # Of one that a predecessor saw end, those tell that were asked after it.
            told = mine if guest.was_over else [guest]
            has_obeyed = guest.standing.reason is Reason.SHUTDOWN
            goes_down = has_obeyed or guest in self._destroyed_by_down
            if goes_down and any(each.notes.was_shut_down for each in told):
                await each(mine, _power_down_if_live)
            elif not self.policies.keep_dependencies:
                await each(mine, Guest.end)
        except QsuperError as error:  # it stays, and whoever looks sees it
            self._emit("SHUTDOWN_FAILED", guest.name, {"message": str(error)})

    # Whom a verb concerns

    def guest(self, name: str) -> Guest:
        """Find a member by its name.

        Raises:
            QsuperError: there is none.
        """
        try:
            return self.guests[name]
        except KeyError:
            raise QsuperError(f"no domain {name!r} in group {self.name!r}") from None

    def _live_guest(self, name: str) -> Guest:
        guest = self.guest(name)
        if not guest.is_live:
            raise QsuperError(f"domain {name!r} is not running: {guest.state}")
        return guest

    def _propagated(self, guest: Guest) -> list[Guest]:
        """Give the member and its dependencies, those that live; dependencies first."""
        names = (*guest.member.needs, guest.name)
        # A dependency that had ended before a save is not there after it.
        return [g for name in names if (g := self.guests.get(name)) and g.is_live]

    def _with_dependencies(self, guest: Guest) -> tuple[list[Guest], list[Guest]]:
        """Give the member's own that live, itself included, and those that others need."""
        needed = {
            name
            for other in self.live
            if other.is_primary and other is not guest
            for name in other.member.needs
        }
        all_of_them = self._propagated(guest)
        mine = [each for each in all_of_them if each is guest or each.name not in needed]
        return mine, [each for each in all_of_them if each not in mine]

    # Verbs

    async def suspend(self, name: str) -> Json:
        """Suspend a member with its dependencies; errors as of `resume`."""
        return await self._signal(Verb.SUSPEND, self._propagated(self._live_guest(name)))

    async def resume(self, name: str) -> Json:
        """Let a member with its dependencies go on.

        Raises:
            QsuperError: QEMU refuses, or the domain is not running.
            TimedOutError: one of them does not answer; the others did what they should.
        """
        named = self._live_guest(name)
        guests = self._propagated(named)
        # Who waits for a boot signal goes on by that, or when named.
        return await self._signal(Verb.RESUME, [g for g in guests if g is named or not g.waits])

    async def suspend_all(self) -> Json:
        return await self._signal(Verb.SUSPEND, self.live)

    async def resume_all(self) -> Json:
        return await self._signal(Verb.RESUME, [g for g in self.live if not g.waits])

    async def _signal(self, verb: Verb, guests: list[Guest]) -> Json:
        def tell(names: list[str], skew: int | None) -> None:
            self._emit(_EVENTS[verb], self.name, {"domains": names, "skew_us": skew})

        skew = await in_unison(verb, guests, tell)
        return {"domains": _states(guests), "skew_us": skew}

    async def destroy(self, name: str) -> Json:
        """End a member and its dependencies now; those that another primary needs are spared."""
        mine, spared = self._with_dependencies(self._live_guest(name))
        await each(mine, Guest.end)
        return {"domains": _states(mine), "spared": [guest.name for guest in spared]}

    async def destroy_all(self) -> None:
        await each(self.live, Guest.end)

    async def shutdown(self, name: str) -> Json:
        """Press a member's power button; its dependencies' once it has ended.

        Raises:
            QsuperError: the domain is not running, or QEMU refuses or does not answer.
        """
        guest = self._live_guest(name)
        await guest.power_down()
        return {"domains": _states([guest])}

    async def down(self, name: str, timeout_s: float) -> Json:
        """Shut a member down, then its dependencies; destroy who has not obeyed in time."""
        guest = self._live_guest(name)
        mine, spared = self._with_dependencies(guest)
        destroyed = await self._down([guest], timeout_s)
        destroyed += await self._down([each for each in mine if each is not guest], timeout_s)
        return {
            "domains": _states(mine),
            "spared": [guest.name for guest in spared],
            "destroyed": destroyed,
        }

    async def down_all(self, timeout_s: float) -> list[str]:
        """Shut all primaries down, then all dependencies; give the names of those destroyed."""
        destroyed = await self._down([g for g in self.live if g.is_primary], timeout_s)
        return destroyed + await self._down(self.live, timeout_s)

    async def _down(self, guests: list[Guest], timeout_s: float) -> list[str]:
        """Shut down at once, wait for all, destroy the rest; give the names of those."""
        with trio.move_on_after(timeout_s):
            await each(guests, _shut_down)
        rest = [guest for guest in guests if guest.is_live]
        self._destroyed_by_down += rest
        await each(rest, Guest.end)
        return [guest.name for guest in rest]

    async def reset(self, name: str, *, group: bool = False) -> Json:
        """Press a member's reset button; with *group*, its dependencies' too."""
        guest = self._live_guest(name)
        guests = self._propagated(guest) if group else [guest]
        await each(guests, _reset)
        return {"domains": _states(guests)}

    async def reboot(self, name: str, *, group: bool = False) -> Json:
        """Press a member's power button, and reset it once it has powered off."""
        guest = self._live_guest(name)
        guests = self._propagated(guest) if group else [guest]
        await each(guests, Guest.reboot)
        return {"domains": _states(guests)}

    async def restart(self, name: str, *, group: bool = False) -> Json:
        """Put a new QEMU in the place of a member's; with *group*, of its dependencies' too."""
        guest = self._live_guest(name)
        guests = self._propagated(guest) if group else [guest]
        if bound := [each.name for each in guests if each.plan.meeting is not None]:
            text = "QEMUs that meet by themselves start together (down and up)"
            raise QsuperError(f"cannot restart {', '.join(bound)}: {text}")
        await self.started.wait()
        await each(guests, self._restart)
        return {"domains": _states(guests)}

    async def _restart(self, guest: Guest) -> None:
        await guest.restart(self.policies.start_within_s)

    async def execute(self, name: str, command: str, arguments: Mapping[str, Json]) -> Json:
        """Pass a QMP command through to a member; errors as of `Guest.command`."""
        return await self._live_guest(name).command(command, arguments, within_s=30.0)


def _states(guests: Iterable[Guest]) -> dict[str, str]:
    return {guest.name: guest.state.value for guest in guests}


def _runs_at_start(guest: Guest) -> bool:
    """Tell whether it is let run with the group: no signal needed, nor paused when it was saved."""
    saved = guest.plan.saved
    return not guest.waits and (saved is None or saved.runs)


async def _settle(guest: Guest) -> None:
    await guest.settled.wait()
    if guest.gone.is_set():
        raise guest.failure()
    if guest.completion.refusal is not None:
        raise guest.completion.refusal


async def _reset(guest: Guest) -> None:
    await guest.command("system_reset")


async def _power_down_if_live(guest: Guest) -> None:
    if guest.is_live:
        await guest.power_down()


async def _shut_down(guest: Guest) -> None:
    """Shut down and wait for the end; return at once where the guest cannot obey."""
    guest.notes.was_shut_down.set()
    if guest.state in states.CAN_OBEY:
        with contextlib.suppress(QsuperError):
            await guest.power_down()
            await guest.ended.wait()


def _exit_status(status: int | None) -> int:
    """Give a process's status as a shell does: 128+n for signal n."""
    if status is None:
        return 1
    return status if status >= 0 else 128 - status
