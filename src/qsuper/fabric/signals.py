"""The signals that reach the supervisor, by its vectors."""

import select
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, NamedTuple

import trio

from qsuper.fabric.ivshmem import Server, taken

_READY_MAX: Final = 64
_BURST: Final = 50
_PER_S: Final = 50.0


class Rung(NamedTuple):
    """A signal that reached the supervisor."""

    share: str
    vector: int
    times: int
    """How often it was rung before we looked."""


class Bell:
    """Waits for the supervisor's vectors on all servers, with one descriptor."""

    def __init__(
        self,
        servers: Iterable[Server],
        free: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint,
    ) -> None:
        """Listen to the supervisor's eventfds of *servers*; signals stay there until *free*."""
        self._until_free = free
        self._epoll = select.epoll()
        self._sources: dict[int, tuple[str, int]] = {}
        for server in servers:
            for vector, descriptor in enumerate(server.own.eventfds):
                self._sources[descriptor] = (server.share, vector)
                self._epoll.register(descriptor, select.EPOLLIN)

    def close(self) -> None:
        self._epoll.close()

    async def rung(self) -> list[Rung]:
        """Wait for signals, and give those that have come."""
        found: list[Rung] = []
        while not found:
            await trio.lowlevel.wait_readable(self._epoll.fileno())
            await self._until_free()
            for descriptor, _ in self._epoll.poll(0, _READY_MAX):
                if times := taken(descriptor):
                    found.append(Rung(*self._sources[descriptor], times))
        return found


class Rate:
    """Lets a burst through, then so many a second: who floods us shall not fill the log."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Take a clock in seconds."""
        self._clock = clock
        self._credit = float(_BURST)
        self._at_s = clock()
        self._held = 0

    def due_s(self) -> float:
        """Give how long it is until one more is let through."""
        self._earn()
        return max(0.0, (1 - self._credit) / _PER_S)

    def _earn(self) -> None:
        now_s = self._clock()
        self._credit = min(_BURST, self._credit + (now_s - self._at_s) * _PER_S)
        self._at_s = now_s

    def told(self, times: int) -> int:
        """Take signals; give how many to tell of now, 0 for none yet."""
        self._earn()
        self._held += times
        if self._credit < 1:
            return 0
        self._credit -= 1
        held, self._held = self._held, 0
        return held
