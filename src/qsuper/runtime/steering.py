"""Verbs on a group's members, and the work that wants none of them meanwhile: a save."""

import contextlib
from collections.abc import AsyncGenerator, Generator

import trio

from qsuper.errors import QsuperError


class Steering:
    """Who steers a group: many at a time by verbs, or one that holds it."""

    def __init__(self) -> None:
        """Start free."""
        self._verbs = 0
        self._idle = _set_event()
        self._free = _set_event()
        self._by = ""

    @contextlib.contextmanager
    def verb(self) -> Generator[None]:
        """Steer.

        Raises:
            QsuperError: somebody holds the group.
        """
        if self._by:
            raise QsuperError(self._by)
        self._verbs += 1
        self._idle = trio.Event()
        try:
            yield
        finally:
            self._verbs -= 1
            if not self._verbs:
                self._idle.set()

    @contextlib.asynccontextmanager
    async def held(self, why: str) -> AsyncGenerator[None]:
        """Hold the group once the verbs under way are done; *why* is what others are told.

        Raises:
            QsuperError: somebody holds it already.
        """
        if self._by:
            raise QsuperError(self._by)
        self._by, self._free = why, trio.Event()
        try:
            while self._verbs:
                await self._idle.wait()
            yield
        finally:
            self._by = ""
            self._free.set()

    async def free(self) -> None:
        """Wait until nobody holds it."""
        await self._free.wait()


def _set_event() -> trio.Event:
    event = trio.Event()
    event.set()
    return event
