"""What makes a guest whole beside its QEMU: helpers that are ready, and commands by QMP."""

import os
import signal
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Protocol

import trio

from qsuper.errors import EmulatorError, QsuperError, TimedOutError
from qsuper.plan import Command, PlugCpu
from qsuper.runtime.helpers import Helpers, RunningHelper
from qsuper.runtime.process import Process
from qsuper.runtime.qmp import CommandError

Json = Any  # whatever QEMU says
Emit = Callable[[str, str, Mapping[str, Json]], None]
"""Takes an event, the domain's name, and details."""

_READY_WITHIN_S: Final = 20.0
"""It takes milliseconds."""
_ENDS_WITHIN_S: Final = 0.5
"""By itself, after QEMU: also milliseconds."""
_TERM_WITHIN_S: Final = 2.0


class Execute(Protocol):
    """Runs a QMP command; raises as `Guest.command` does."""

    async def __call__(self, name: str, arguments: Mapping[str, Json] | None = None) -> Json:
        """Run it and give what it returns."""
        ...


class Served(Protocol):
    """Whom the helpers serve."""

    has_started: bool
    settled: trio.Event
    process: Process

    @property
    def name(self) -> str:
        """The domain's."""
        ...

    @property
    def command(self) -> Execute:
        """Runs a QMP command."""
        ...


class Completion:
    """How a guest is made whole, and what goes wrong with that."""

    def __init__(self, served: Served, emit: Emit) -> None:
        """Take who is made whole, and what takes events."""
        self.refusal: QsuperError | None = None
        """Why it cannot be let run although its QEMU is there."""
        self.blame = ""
        """What helpers said that had failed before their QEMU ended."""
        self._served = served
        self._emit = emit

    async def run(self, helpers: Helpers, commands: Iterable[Command | PlugCpu]) -> bool:
        """Wait for the helpers and run the commands; False where that failed."""
        self.refusal = None
        try:
            await complete(helpers, commands, self._served.command)
        except QsuperError as error:
            self.refusal = type(error)(f"{self._served.name}: {error}")
            if self._served.has_started:  # its group waits for it no more
                self._emit("RESTART_FAILED", self._served.name, {"message": str(error)})
                self._served.process.kill(signal.SIGKILL)
        return self.refusal is None

    async def watch(self, helpers: Helpers) -> None:
        """Wait for the helpers' ends."""
        async with trio.open_nursery() as nursery:
            for helper in helpers:
                nursery.start_soon(self._watch, helper)

    async def end(self, helpers: Helpers) -> None:
        """End the helpers of a QEMU that has ended, and take note of who had failed."""
        are_gone = await _have_ended(helpers, _ENDS_WITHIN_S)
        said = helpers.blame()  # before they get a signal of ours
        self.blame = f"{said}; " if said else ""
        if not are_gone:
            helpers.kill(signal.SIGTERM)
            await _have_ended(helpers, _TERM_WITHIN_S)
        helpers.end_now()

    async def _watch(self, helper: RunningHelper) -> None:
        await trio.lowlevel.wait_readable(helper.process.pidfd)
        helper.settle()
        await self._served.settled.wait()
        # A helper ends because its QEMU does as well, which cannot answer then.
        try:
            await self._served.command("query-status")
        except TimedOutError:
            pass
        except QsuperError:
            return
        detail = {"helper": helper.name, "device": helper.plan.serves, "status": helper.status}
        self._emit("HELPER_ENDED", self._served.name, {**detail, "message": helper.log.tail()})
        if not self._served.has_started and self.refusal is None:
            self.refusal = EmulatorError(f"{self._served.name}: {helper.failure()}")


async def complete(
    helpers: Iterable[RunningHelper],
    commands: Iterable[Command | PlugCpu],
    execute: Execute,
) -> None:
    """Wait for the helpers, and have QEMU told what completes the guest.

    Raises:
        EmulatorError: a helper has failed.
        TimedOutError: a helper is not ready in time.
        CommandError: QEMU refuses.
        QsuperError: QEMU does not answer.
    """
    for helper in helpers:
        if helper.ready_fd is not None:
            with trio.move_on_after(_READY_WITHIN_S) as scope:
                await trio.lowlevel.wait_readable(helper.ready_fd)
            if scope.cancelled_caught:
                raise TimedOutError(f"{helper.name} was not ready within {_READY_WITHIN_S:g} s")
            if not os.read(helper.ready_fd, 64):
                await trio.lowlevel.wait_readable(helper.process.pidfd)
                helper.settle()
                raise EmulatorError(helper.failure())
    for command in commands:
        one = command if isinstance(command, Command) else await _plug(command, execute)
        try:
            await execute(one.name, one.arguments)
        except CommandError as error:
            raise CommandError(f"QEMU refuses {one.name}: {error}") from error


async def _have_ended(helpers: Helpers, within_s: float) -> bool:
    with trio.move_on_after(within_s) as scope:
        for helper in helpers:
            await trio.lowlevel.wait_readable(helper.process.pidfd)
    return not scope.cancelled_caught


async def _plug(cpu: PlugCpu, execute: Execute) -> Command:
    """Give the command that plugs a CPU in; QEMU tells by what props it is known."""
    slots: list[Json] = await execute("query-hotpluggable-cpus")
    slots.reverse()  # it tells the last one first
    if cpu.number >= len(slots) or "qom-path" in slots[cpu.number]:
        raise CommandError(f"CPU {cpu.number} cannot be plugged in: there is no free place for it")
    slot = slots[cpu.number]
    arguments = {"driver": slot["type"], "id": f"vcpu{cpu.number}", **slot["props"]}
    return Command(name="device_add", arguments=arguments)
