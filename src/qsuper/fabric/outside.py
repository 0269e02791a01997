"""Clients from outside the group: other simulators, debuggers, models in Python.

Any number of them, each with a number of its own for as long as it is there; they are told of each
other's coming and going, the QEMUs are not. So a guest cannot ring them by number: what it rings
the supervisor with is passed on to all of them, vector by vector.

A client has nothing to say. One that says something is hung up on, descriptors that it sends go
unseen, and one that does not listen holds up nobody.
"""

import os
import socket
import struct
from collections.abc import Callable
from typing import Final

import trio

from qsuper.errors import QsuperError
from qsuper.fabric.ivshmem import Server, close, eventfds, ring
from qsuper.fabric.protocol import Conversation, Peer

CLIENTS_MAX: Final = 128
_CATCH_UP_WITHIN_S: Final = 5.0
"""How long a client may take to listen to what waits for it."""
_NO_DESCRIPTORS_S: Final = 0.1
_CREDENTIALS: Final = struct.Struct("3i")  # pid, uid, gid: struct ucred, unix(7)


class Outside:
    """The outside clients of one server."""

    def __init__(self, server: Server, listener: socket.socket) -> None:
        """Take the server whose peers they join, and the listening socket where they come in."""
        listener.setblocking(False)  # noqa: FBT003 - as socket names it
        self._server = server
        self._listener = listener
        self._clients: dict[int, _Client] = {}

    @property
    def numbers(self) -> list[int]:
        """Who is there."""
        return sorted(self._clients)

    async def run(self) -> None:
        """Serve until cancelled; the listener is closed then."""
        with self._listener:
            async with trio.open_nursery() as nursery:
                while True:
                    await trio.lowlevel.wait_readable(self._listener)
                    try:
                        connection, _ = self._listener.accept()
                    except BlockingIOError:
                        continue
                    except OSError:  # out of descriptors: others may close theirs
                        await trio.sleep(_NO_DESCRIPTORS_S)
                        continue
                    nursery.start_soon(self._serve, connection)

    def pass_on(self, vector: int) -> None:
        """Ring all of them."""
        for client in self._clients.values():
            ring(client.peer, vector)

    async def _serve(self, connection: socket.socket) -> None:
        with connection:
            if _peer_uid(connection) != os.getuid() or len(self._clients) >= CLIENTS_MAX:
                return
            try:
                number = self._server.fresh_number(frozenset(self._clients))
                peer = Peer(number, eventfds(self._server.vectors))
            except (QsuperError, OSError):  # no numbers, no descriptors: the others go on
                return
            client = _Client(peer, connection)
            try:
                self._introduce(client)
                await client.run()
            finally:
                del self._clients[number]
                for other in self._clients.values():
                    other.leave(peer)
                close(peer)

    def _introduce(self, client: "_Client") -> None:
        client.open(self._server.memory)
        for peer in (*self._server.peers, *(other.peer for other in self._clients.values())):
            client.join(peer)
        self._clients[client.peer.number] = client
        for everybody in self._clients.values():
            everybody.join(client.peer)


class _Client:
    """One of them."""

    def __init__(self, peer: Peer, connection: socket.socket) -> None:
        self.peer = peer
        self._connection = connection
        self._conversation = Conversation(connection)
        self._told = trio.Event()

    def open(self, memory: int) -> None:
        self._tell(lambda: self._conversation.open(self.peer.number, memory))

    def join(self, peer: Peer) -> None:
        self._tell(lambda: self._conversation.join(peer))

    def leave(self, peer: Peer) -> None:
        self._tell(lambda: self._conversation.leave(peer))

    def _tell(self, say: Callable[[], None]) -> None:
        try:
            say()
        except OSError:  # it is gone, which `run` sees
            return
        self._told.set()

    async def run(self) -> None:
        """Stay until it hangs up, says something, or does not listen."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._catch_up, nursery.cancel_scope)
            await trio.lowlevel.wait_readable(self._connection)
            nursery.cancel_scope.cancel()

    async def _catch_up(self, life: trio.CancelScope) -> None:
        """Send what waits, as fast as it listens."""
        while True:
            await self._told.wait()
            self._told = trio.Event()
            with trio.move_on_after(_CATCH_UP_WITHIN_S) as patience:
                await flushed(self._conversation)
            if patience.cancelled_caught:
                life.cancel()


async def flushed(conversation: Conversation) -> None:
    """Wait until all is sent, or the client is gone."""
    while conversation.waiting:
        await trio.lowlevel.wait_writable(conversation.connection)
        try:
            conversation.flush()
        except OSError:
            return


def _peer_uid(connection: socket.socket) -> int:
    """Give the uid of whoever is at the other end."""
    content = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    uid: int = _CREDENTIALS.unpack(content)[1]
    return uid
