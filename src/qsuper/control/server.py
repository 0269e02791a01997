"""The control socket: QMP's protocol for any number of clients of our own uid.

A client can hurt nobody but itself: one that reads nothing is hung up on, malformed input is
answered with an error, and each command runs in its client's own task.
"""

import os
import socket
import struct
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import Any, Final

import trio

from qsuper.control import wire
from qsuper.control.commands import Commands
from qsuper.errors import QsuperError, UsageError

Json = Any

_CHUNK_BYTES: Final = 65536
_QUEUED_EVENTS_MAX: Final = 1024
_DRAIN_WITHIN_S: Final = 2.0
_CREDENTIALS: Final = struct.Struct("3i")  # pid, uid, gid: struct ucred, unix(7)


class Server:
    """Serves the commands to clients, and the events to those that ask."""

    def __init__(
        self, listener: socket.socket, commands: Commands, has_ended: Callable[[], bool]
    ) -> None:
        """Take a listening socket.

        Args:
            listener: It is closed when the server ends.
            commands: What clients can ask for.
            has_ended: Tells whether all members have ended.
        """
        listener.setblocking(False)  # noqa: FBT003 - as socket names it
        self._listener = trio.SocketListener(trio.socket.from_stdlib_socket(listener))
        self._commands = commands
        self._has_ended = has_ended
        self._free = trio.Event()
        self._clients: set[_Client] = set()
        self._busy = 0
        self._idle = trio.Event()

    async def run(self) -> None:
        """Serve until cancelled."""
        async with trio.open_nursery() as nursery:
            await trio.serve_listeners(self._serve, [self._listener], handler_nursery=nursery)

    def tell(self, name: str, domain: str, data: Mapping[str, Json], at_s: float) -> None:
        """Send an event to all who asked for events."""
        concerned = {domain, *data.get("domains", ())}
        listeners = [client for client in self._clients if client.wants(concerned)]
        if listeners:
            line = wire.event(name, domain, data, at_s)
            for client in listeners:
                client.queue(line)

    async def drain(self) -> None:
        """Let the last answers go out, once all names are free again."""
        self._free.set()
        with trio.move_on_after(_DRAIN_WITHIN_S):
            while self._busy:
                self._idle = trio.Event()
                await self._idle.wait()
            for client in self._clients:
                await client.flush()

    async def perform(self, request: wire.Request) -> bytes:
        """Run a command and give its answer.

        An answer that the group has ended waits until its names can be used again.
        """
        try:
            value = await self._commands.run(request.command, request.arguments)
        except QsuperError as error:
            return wire.refusal(error, request.tag)
        except Exception as error:  # noqa: BLE001 - a bug in one command must not end the guests
            traceback.print_exc(file=sys.stderr)
            return wire.refusal(QsuperError(f"internal error: {error!r}"), request.tag)
        if self._has_ended():
            await self._free.wait()
        return wire.answer(value, request.tag)

    async def _serve(self, stream: trio.SocketStream) -> None:
        async with stream:
            if _peer_uid(stream) != os.getuid():
                return
            client = _Client(stream, self)
            self._clients.add(client)
            try:
                await client.run()
            except* (trio.BrokenResourceError, trio.ClosedResourceError):
                pass
            finally:
                self._clients.discard(client)

    def enter(self) -> None:
        """Note that a command is at work."""
        self._busy += 1

    def leave(self) -> None:
        """Note that its answer is sent."""
        self._busy -= 1
        if not self._busy:
            self._idle.set()


class _Client:
    """One connection: its commands run one after the other, events come in between."""

    def __init__(self, stream: trio.SocketStream, server: Server) -> None:
        self._wanted: str | None = None
        """The domain whose events it wants; empty: of all; None: it has not asked."""
        self._stream = stream
        self._server = server
        self._negotiated = False
        self._sending = trio.Lock()
        self._push, self._events = trio.open_memory_channel[bytes](_QUEUED_EVENTS_MAX)
        self._scope = trio.CancelScope()

    async def run(self) -> None:
        with self._scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._send_events)
                await self._send(wire.greeting())
                await self._receive()
                nursery.cancel_scope.cancel()

    def wants(self, domains: set[str]) -> bool:
        """Tell whether it asked for events of these."""
        return self._wanted is not None and (not self._wanted or self._wanted in domains)

    def queue(self, line: bytes) -> None:
        """Queue an event; who does not read them is hung up on."""
        try:
            self._push.send_nowait(line)
        except trio.WouldBlock:
            self._scope.cancel()

    async def flush(self) -> None:
        """Send the events that are queued."""
        while True:
            try:
                await self._send(self._events.receive_nowait())
            except (trio.WouldBlock, trio.BrokenResourceError, trio.ClosedResourceError):
                return

    async def _send(self, line: bytes) -> None:
        async with self._sending:
            await self._stream.send_all(line)

    async def _send_events(self) -> None:
        async for line in self._events:
            await self._send(line)

    async def _receive(self) -> None:
        splitter = wire.Splitter()
        while chunk := await self._stream.receive_some(_CHUNK_BYTES):
            try:
                messages = splitter.feed(bytes(chunk))
            except wire.MalformedError as error:
                await self._send(wire.refusal(error, error.tag))
                return
            for message in messages:
                await self._obey(message)

    async def _obey(self, line: bytes) -> None:
        self._server.enter()
        try:
            try:
                request = wire.parse(line)
            except wire.MalformedError as error:
                await self._send(wire.refusal(error, error.tag))
                return
            await self._send(await self._answer(request))
        finally:
            self._server.leave()

    async def _answer(self, request: wire.Request) -> bytes:
        if request.command == "qmp_capabilities":
            self._negotiated = True
            return wire.answer({}, request.tag)
        if not self._negotiated:
            error = wire.CommandNotFoundError("expecting qmp_capabilities first")
            return wire.refusal(error, request.tag)
        if request.command == "events":
            wanted = request.arguments.get("domain", "")
            if not isinstance(wanted, str):
                return wire.refusal(UsageError("'domain' must be a string"), request.tag)
            self._wanted = wanted
            return wire.answer({}, request.tag)
        return await self._server.perform(request)


def _peer_uid(stream: trio.SocketStream) -> int:
    content = stream.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, uid, _ = _CREDENTIALS.unpack(content)
    return int(uid)
