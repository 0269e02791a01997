"""What a guest's own actions lead to: it powers off, resets itself or panics.

QEMU waits for a decision then (`policy.actions`), which is made here by the lifecycle settings.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

import trio

from qsuper.errors import QsuperError
from qsuper.plan import LaunchPlan
from qsuper.runtime import policy
from qsuper.runtime.coredump import dump_core
from qsuper.runtime.helping import Emit
from qsuper.runtime.launch import Home
from qsuper.runtime.notes import Notes
from qsuper.runtime.policy import Backoff, Then
from qsuper.runtime.states import Reason, Standing, State

Json = Any  # whatever QEMU says

_RESET_WITHIN_S: Final = 2.0
_BY_THE_HOST: Final = frozenset({"host-qmp-quit", "host-signal"})
_WAITS: Final = frozenset({State.CRASHED, State.UNRESPONSIVE})
"""QEMU waits for the decision on a panic, as far as is known."""
_INSTEAD_OF_A_RESET: Final = frozenset({"guest-reset", "host-qmp-system-reset"})
"""QEMU was told to shut down instead."""


class Actor(Protocol):
    """Whose guest acts."""

    plan: LaunchPlan
    home: Home
    standing: Standing
    backoff: Backoff
    began_s: float
    """When its guest began last, on trio's clock."""
    notes: Notes

    @property
    def name(self) -> str:
        """The domain's."""
        ...

    @property
    def command(self) -> Callable[..., Awaitable[Json]]:
        """Runs a QMP command; as `Guest.command`."""
        ...

    def start_soon(self, task: Callable[..., Awaitable[None]], *arguments: Reason) -> None:
        """Have something done, for as long as this QEMU lives; does not wait."""
        ...

    def begin_anew(self) -> None:
        """Put another QEMU in the place of this one; does not wait."""
        ...

    def was_told_to_end(self) -> None:
        """Note that its QEMU was ended by somebody on the host."""
        ...

    async def end(self, reason: Reason) -> None:
        """End it for good."""
        ...

    async def unwanted(self) -> None:
        """Wait until somebody wants this QEMU to end."""
        ...


class Reactions:
    """The decisions on one QEMU's guest."""

    def __init__(self, actor: Actor, emit: Emit) -> None:
        """Take the member, and its log."""
        self._actor = actor
        self._emit = emit
        self._reset = trio.Event()
        self._is_deciding = False

    def catch_up(self) -> None:
        """Act on what the guest did while nobody listened, and finish what was begun."""
        state = self._actor.standing.state
        if self._is_deciding:
            return
        if state is State.IN_SHUTDOWN:
            self._after_shutdown("")
        elif state is State.CRASHED:
            self._decide(self._after_panic)
        elif state is State.PRELAUNCH and self._actor.notes.going:
            self._decide(self._go)

    def take(self, event: str, data: Json) -> None:
        """Take an event of QEMU's."""
        if event == "RESET":
            self._reset.set()
        elif event == "SHUTDOWN":
            self._after_shutdown(data.get("reason", ""))
        elif event == "GUEST_PANICKED":
            self._decide(self._after_panic)

    def _after_shutdown(self, reason: str) -> None:
        then = policy.after_poweroff(self._actor.plan.lifecycle)
        if reason in _BY_THE_HOST:
            self._actor.was_told_to_end()
        elif reason in _INSTEAD_OF_A_RESET:
            self._actor.start_soon(self._actor.end, Reason.SHUTDOWN)
        elif self._actor.notes.reboots or then is Then.RESET:
            self._decide(self._begin_again)
        elif then is Then.END:
            self._actor.start_soon(self._actor.end, Reason.SHUTDOWN)

    def _decide(self, task: Callable[[], Awaitable[None]]) -> None:
        self._is_deciding = True

        async def decide() -> None:
            try:
                await task()
            except QsuperError as error:
                self._emit("RESTART_FAILED", self._actor.name, {"message": str(error)})
            finally:
                self._is_deciding = False

        self._actor.start_soon(decide)

    async def _after_panic(self) -> None:
        lifecycle = self._actor.plan.lifecycle
        if policy.dumps_core(lifecycle):
            await self._dump()
        then = policy.after_crash(lifecycle)
        if then is Then.END:
            await self._actor.end(Reason.PANICKED)
        elif then is Then.RESET:
            delay_s = self._actor.backoff.delay_s(trio.current_time() - self._actor.began_s)
            with trio.move_on_after(delay_s):
                await self._actor.unwanted()
                return
            if not delay_s or self._actor.standing.state in _WAITS:  # nobody has reset it meanwhile
                await self._begin_again()

    async def _dump(self) -> None:
        try:
            path = await dump_core(self._actor.command, self._actor.home.state_dir)
        except QsuperError as error:
            self._emit("DUMP_FAILED", self._actor.name, {"message": str(error)})
        else:
            self._emit("DUMPED", self._actor.name, {"file": path})

    async def _begin_again(self) -> None:
        """Reset the machine and let it run; the reset is asynchronous, its event tells."""
        if policy.after_reboot(self._actor.plan.lifecycle) is not Then.RESET:
            # QEMU ends at a reset; and SeaBIOS resets the machine itself after one.
            self._actor.begin_anew()
            return
        self._actor.notes.going.set()
        self._actor.notes.reboots.clear()
        self._reset = trio.Event()
        await self._actor.command("system_reset")
        with trio.move_on_after(_RESET_WITHIN_S):
            await self._reset.wait()
        await self._go()

    async def _go(self) -> None:
        self._actor.began_s = trio.current_time()
        await self._actor.command("cont")
