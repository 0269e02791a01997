"""What a guest's own actions lead to: it powers off, resets itself or panics.

QEMU waits for a decision then (`policy.actions`), which is made here by the lifecycle settings.
"""

import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

import trio

from qsuper.errors import QsuperError
from qsuper.plan import LaunchPlan
from qsuper.runtime import policy
from qsuper.runtime.coredump import dump_core
from qsuper.runtime.helping import Emit
from qsuper.runtime.launch import Home
from qsuper.runtime.policy import Backoff, Then
from qsuper.runtime.states import Reason, State

Json = Any  # whatever QEMU says

_RESET_WITHIN_S: Final = 2.0
_BY_THE_HOST: Final = frozenset({"host-qmp-quit", "host-signal"})


class Actor(Protocol):
    """Whose guest acts."""

    plan: LaunchPlan
    home: Home
    backoff: Backoff

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

    def __init__(self, actor: Actor, started_at: float, emit: Emit) -> None:
        """Take the member, when its QEMU was started (seconds since the epoch), and its log."""
        self.reboots = False
        """Once it has powered off, it is reset."""
        self._actor = actor
        self._started_at = started_at
        self._emit = emit
        self._reset = trio.Event()

    def catch_up(self, state: State) -> None:
        """Act on what the guest did while nobody listened; the event was lost."""
        if state is State.IN_SHUTDOWN:
            self._after_shutdown("")
        elif state is State.CRASHED:
            self._actor.start_soon(self._after_panic)

    def take(self, event: str, data: Json) -> None:
        """Take an event of QEMU's."""
        if event == "RESET":
            self._reset.set()
        elif event == "SHUTDOWN":
            self._after_shutdown(data.get("reason", ""))
        elif event == "GUEST_PANICKED":
            self._actor.start_soon(self._after_panic)

    def _after_shutdown(self, reason: str) -> None:
        if reason in _BY_THE_HOST:
            self._actor.was_told_to_end()
        elif reason == "guest-reset":  # QEMU was told to shut down instead
            self._actor.start_soon(self._actor.end, Reason.SHUTDOWN)
        elif self.reboots:
            self.reboots = False
            self._actor.start_soon(self._reset_and_go)
        else:
            then = policy.after_poweroff(self._actor.plan.lifecycle)
            if then is Then.END:
                self._actor.start_soon(self._actor.end, Reason.SHUTDOWN)
            elif then is Then.RESET:
                self._actor.start_soon(self._reset_and_go)

    async def _after_panic(self) -> None:
        lifecycle = self._actor.plan.lifecycle
        if policy.dumps_core(lifecycle):
            await self._dump()
        then = policy.after_crash(lifecycle)
        if then is Then.END:
            await self._actor.end(Reason.PANICKED)
        elif then is Then.RESET:
            with trio.move_on_after(self._actor.backoff.delay_s(time.time() - self._started_at)):
                await self._actor.unwanted()
                return
            await self._reset_and_go()

    async def _dump(self) -> None:
        try:
            path = await dump_core(self._actor.command, self._actor.home.state_dir)
        except QsuperError as error:
            self._emit("DUMP_FAILED", self._actor.name, {"message": str(error)})
        else:
            self._emit("DUMPED", self._actor.name, {"file": path})

    async def _reset_and_go(self) -> None:
        """Reset the machine and let it run; the reset is asynchronous, its event tells."""
        self._reset = trio.Event()
        try:
            await self._actor.command("system_reset")
            with trio.move_on_after(_RESET_WITHIN_S):
                await self._reset.wait()
            await self._actor.command("cont")
        except QsuperError as error:
            self._emit("RESTART_FAILED", self._actor.name, {"message": str(error)})
