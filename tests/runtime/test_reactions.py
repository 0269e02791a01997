"""How long a guest that panics again and again is left alone, in virtual time."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import trio
from trio.testing import MockClock

from qsuper.plan import Lifecycle, Member, OnEnd, Role
from qsuper.runtime.launch import Home
from qsuper.runtime.notes import Notes
from qsuper.runtime.policy import Backoff
from qsuper.runtime.reactions import Reactions
from qsuper.runtime.rundir import Rundir
from qsuper.runtime.states import Reason, Standing, State
from tests.support.supervised import domain

_LONG_S = 3600.0


def _untold(*_: object) -> None:
    """Take an event."""


class Panicking:
    """A member whose guest panics as soon as it runs."""

    name = "A"

    def __init__(self, directory: Path, nursery: trio.Nursery) -> None:
        place = Rundir(str(directory), -1)
        self.plan = domain("A", lifecycle=Lifecycle(on_crash=OnEnd.RESTART))
        self.home = Home(Member(plan=self.plan, role=Role.PRIMARY), place)
        self.notes = Notes(place)
        self.standing = Standing(State.CRASHED, Reason.PANICKED)
        self.backoff = Backoff()
        self.began_s = trio.current_time()
        self.went_s: list[float] = []
        self._nursery = nursery
        self._reactions = Reactions(self, _untold)

    def panic(self) -> None:
        self._reactions.take("GUEST_PANICKED", {})

    async def command(self, name: str) -> None:
        await trio.lowlevel.checkpoint()
        if name == "system_reset":
            self._reactions.take("RESET", {})
        else:
            assert name == "cont"
            self.went_s.append(trio.current_time())
            if len(self.went_s) < 5:
                self._nursery.start_soon(self._panic_soon)

    async def _panic_soon(self) -> None:
        await trio.lowlevel.checkpoint()
        self.panic()

    def start_soon(self, task: Callable[..., Awaitable[None]], *arguments: Reason) -> None:
        self._nursery.start_soon(task, *arguments)

    def begin_anew(self) -> None:
        raise NotImplementedError

    def was_told_to_end(self) -> None:
        raise NotImplementedError

    async def end(self, reason: Reason) -> None:
        raise NotImplementedError

    async def unwanted(self) -> None:
        await trio.sleep_forever()


async def test_panics_wait_longer_however_long_qemu_has_run(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    del autojump_clock
    async with trio.open_nursery() as nursery:
        guest = Panicking(tmp_path, nursery)
        await trio.sleep(_LONG_S)
        began_s = trio.current_time()
        guest.panic()
    assert [round(at_s - began_s) for at_s in guest.went_s] == [0, 1, 3, 7, 15]
