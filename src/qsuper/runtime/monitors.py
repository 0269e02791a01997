"""The supervisor's two monitors of one QEMU: opened, followed, and opened again.

A QEMU that hangs up is about to end, most often, and its pidfd tells. One that lives on is
connected to again, by path: so are those that another supervisor started.
"""

import socket
from collections.abc import Mapping
from typing import Any, Final, Protocol

import trio

from qsuper.errors import QsuperError
from qsuper.runtime import qmp
from qsuper.runtime.launch import Home, Launched, connect_monitors
from qsuper.runtime.qmp import DisconnectedError, Monitor, field
from qsuper.runtime.sync import Link

Json = Any  # whatever QEMU says

_HANG_UP_WITHIN_S: Final = 1.0
_ENDS_WITHIN_S: Final = 1.0
"""Between `sync.sock` hanging up and the end of a QEMU that ends."""
_FIRST_DELAY_S: Final = 0.1
_LONGEST_DELAY_S: Final = 10.0
_NO_UUID: Final = "00000000-0000-0000-0000-000000000000"
"""What a QEMU says that was told none."""


class Listener(Protocol):
    """Who is told what comes over the monitors."""

    async def opened(self, *, again: bool) -> None:
        """They answer; *again* where events may have been missed."""
        ...

    async def take(self, event: Json) -> None:
        """Take an event of QEMU's."""
        ...

    def answered_late(self) -> None:
        """An answer has come that nobody waits for any more."""
        ...

    def lost(self, message: str) -> None:
        """QEMU has hung up, and lives on."""
        ...


class Monitors:
    """The monitors of one QEMU."""

    def __init__(self, home: Home, listener: Listener) -> None:
        """Take the member's home, and who listens."""
        self.qmp: Monitor | None = None
        """The supervisor's; None while there is no connection."""
        self.link: Link | None = None
        """The group's, for `stop` and `cont`; likewise."""
        self._drained = trio.Event()
        self._drained.set()
        self._home = home
        self._plan = home.member.plan
        self._listener = listener

    async def run(self, launched: Launched) -> None:
        """Follow them until cancelled, which the end of the process shall do."""
        sockets = launched.monitors
        again = launched.past is not None
        delay_s = _FIRST_DELAY_S
        while True:
            began_s = trio.current_time()
            message = await self._follow(sockets, again=again) if sockets else "nobody listens"
            if trio.current_time() - began_s > _LONGEST_DELAY_S:
                delay_s = _FIRST_DELAY_S
            await trio.sleep(delay_s)
            delay_s = min(2 * delay_s, _LONGEST_DELAY_S)
            self._listener.lost(message)
            sockets = connect_monitors(self._home)
            again = True

    async def drained(self) -> None:
        """Wait until all is told that QEMU said before it hung up."""
        await self._drained.wait()

    async def _follow(self, sockets: Mapping[str, socket.socket], *, again: bool) -> str:
        """Tell what comes until QEMU hangs up; give what is to be said of that."""
        link = Link(sockets["sync"])
        link.late = self._listener.answered_late
        message = "QEMU hung up"
        self._drained = trio.Event()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(link.handshake)
                monitor = self.qmp = await qmp.connect(self._plan.name, sockets["qmp"])
            if again:
                await self._check(monitor)
            self.link = link
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_until_hung_up, link, nursery.cancel_scope)
                await self._listener.opened(again=again)
                async for event in monitor.events():
                    await self._listener.take(event)
                nursery.cancel_scope.cancel()
        except* (QsuperError, EOFError) as group:
            message = "; ".join(filter(None, map(str, group.exceptions))) or message
        finally:
            self._drained.set()
            await self._hang_up(link, sockets)
        return message

    async def _check(self, monitor: Monitor) -> None:
        """Check that it is our QEMU who answers by that path."""
        found = field(await monitor.execute("query-uuid"), "UUID")
        if found not in (self._plan.uuid, _NO_UUID):
            who = "somebody who tells no UUID" if found is None else f"a domain with UUID {found}"
            raise DisconnectedError(f"qmp.sock is answered by {who}")

    async def _hang_up(self, link: Link, sockets: Mapping[str, socket.socket]) -> None:
        monitor, self.qmp, self.link = self.qmp, None, None
        link.close()
        if monitor is None:
            sockets["qmp"].close()
            return
        with trio.move_on_after(_HANG_UP_WITHIN_S, shield=True):
            await monitor.close()


async def _until_hung_up(link: Link, scope: trio.CancelScope) -> None:
    await link.follow()
    await trio.sleep(_ENDS_WITHIN_S)  # the other monitor may have to tell why
    scope.cancel()
