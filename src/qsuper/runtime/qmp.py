"""A QEMU's monitor: qemu.qmp, which speaks asyncio, behind a protocol that trio code can use.

The only module that knows asyncio, trio-asyncio and qemu.qmp. They take some 50 ms to load: import
this after the QEMUs have been spawned (docs/decisions/0001).
"""

import asyncio  # noqa: TID251 - the module that may
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, ParamSpec, Protocol, TypeVar, cast

import trio_asyncio  # type: ignore[import-untyped]  # it ships no types
from qemu.qmp import EventListener, ExecuteError, Message, QMPClient, QMPError, Runstate

from qsuper.errors import QsuperError

# What is dropped on purpose (a late answer to a command that timed out) is no news.
logging.getLogger("qemu").addHandler(logging.NullHandler())
logging.getLogger("qemu").propagate = False

P = ParamSpec("P")
T = TypeVar("T")
Json = Any  # whatever QEMU says


class CommandError(QsuperError):
    """QEMU refused a command; the text is QEMU's own."""


class DisconnectedError(QsuperError):
    """The monitor is gone; QEMU most likely as well."""


class Monitor(Protocol):
    """What the runtime needs of a QMP client."""

    async def execute(self, command: str, arguments: Mapping[str, Json] | None = None) -> Json:
        """Run a command and give what it returns.

        Raises:
            CommandError: QEMU refused it.
            DisconnectedError: the connection was lost.
        """
        ...

    def events(self) -> AsyncIterator[Json]:
        """Give QEMU's events as they come, until it hangs up."""
        ...

    async def close(self) -> None:
        """Hang up."""
        ...


class QemuMonitor:
    """The `Monitor` by qemu.qmp. Needs `open_loop` around it."""

    def __init__(self, name: str) -> None:
        """Name it, for messages."""
        self._name = name
        self._client = QMPClient(name)
        self._events = EventListener()
        self._client.register_listener(self._events)

    async def connect(self, connection: socket.socket) -> None:
        """Take a connected socket and wait for QEMU's greeting.

        Raises:
            DisconnectedError: QEMU hung up before.
        """
        try:
            await _aio(self._client.connect)(connection)
        except (QMPError, OSError, EOFError) as error:
            raise DisconnectedError(f"{self._name}: {error}") from error

    async def execute(self, command: str, arguments: Mapping[str, Json] | None = None) -> Json:
        try:
            return await _aio(self._client.execute)(command, arguments)
        except ExecuteError as error:
            raise CommandError(str(error)) from error
        except (QMPError, OSError, EOFError) as error:
            raise DisconnectedError(f"{self._name}: the monitor hung up") from error

    async def events(self) -> AsyncIterator[Json]:
        get = _aio(self._next_event)
        while (message := await get()) is not None:
            yield cast("Json", dict(message))

    async def _next_event(self) -> Message | None:
        """Give the next event; None once QEMU has hung up and there is none left."""
        event = asyncio.ensure_future(self._events.get())
        end = asyncio.ensure_future(self._hung_up())
        try:
            await asyncio.wait((event, end), return_when=asyncio.FIRST_COMPLETED)
            if not event.done():
                await asyncio.sleep(0)  # it may just have come
            return event.result() if event.done() else None
        finally:
            event.cancel()
            end.cancel()

    async def _hung_up(self) -> None:
        while self._client.runstate is Runstate.RUNNING:
            await self._client.runstate_changed()

    async def close(self) -> None:
        try:
            await _aio(self._client.disconnect)()
        except (QMPError, OSError, EOFError):
            return  # it was gone already


def field(answer: Json, name: str) -> Json:
    """Give a field of an answer; None where it has none, as a QEMU's would not."""
    try:
        return answer[name]
    except (LookupError, TypeError):
        return None


def open_loop() -> AbstractAsyncContextManager[object]:
    """Give the context in which monitors work."""
    loop = trio_asyncio.open_loop()  # pyright: ignore[reportUnknownMemberType]  # untyped
    return cast("AbstractAsyncContextManager[object]", loop)


async def connect(name: str, connection: socket.socket) -> Monitor:
    """Open a monitor over a connected socket; errors as of `QemuMonitor.connect`."""
    monitor = QemuMonitor(name)
    await monitor.connect(connection)
    return monitor


def _aio(call: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Awaitable[T]]:
    """Give an asyncio function as one that trio code can await."""
    wrapped = trio_asyncio.aio_as_trio(call)  # pyright: ignore[reportUnknownMemberType]  # untyped
    return cast("Callable[P, Awaitable[T]]", wrapped)
