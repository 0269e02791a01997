"""ivshmem's protocol between a server and its clients, version 0.

Source: QEMU docs/specs/ivshmem-spec. A message is a little-endian int64, with at most one
descriptor. The server says its version, the client's own number, -1 with the memory; then, for
every peer, the client itself included, its number with an eventfd once for each of its vectors.
From then on, the same for each peer that joins, and the number alone for one that leaves. A client
says nothing.

Import budget: the standard library.
"""

import socket
import struct
from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple

VERSION: Final = 0
MEMORY: Final = -1
NUMBER_MAX: Final = 65535
MESSAGE: Final = struct.Struct("<q")

# A message with a descriptor takes some 760 bytes of the kernel's; the kernel doubles the value
# and stops at net.core.wmem_max.
_SEND_BUFFER_BYTES: Final = 4 << 20


class Peer(NamedTuple):
    """Someone who can be rung."""

    number: int
    eventfds: Sequence[int]
    """One for each vector."""


class Conversation:
    """What one client is told, in order. Nothing blocks: what does not fit waits in a queue."""

    def __init__(self, connection: socket.socket) -> None:
        """Take the server's end."""
        connection.setblocking(False)  # noqa: FBT003 - as socket names it
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        self.connection = connection
        self._queue: deque[tuple[bytes, int | None]] = deque()

    @property
    def waiting(self) -> int:
        """How many messages did not fit."""
        return len(self._queue)

    def open(self, number: int, memory: int) -> None:
        """Say the first three messages."""
        self.say(VERSION)
        self.say(number)
        self.say(MEMORY, memory)

    def join(self, peer: Peer) -> None:
        """Say how a peer is rung."""
        for descriptor in peer.eventfds:
            self.say(peer.number, descriptor)

    def leave(self, peer: Peer) -> None:
        """Say that a peer is gone before its eventfds are closed; never to a QEMU."""
        kept = [each for each in self._queue if each[1] not in peer.eventfds]
        unsaid = len(self._queue) - len(kept)
        self._queue = deque(kept)
        if unsaid < len(peer.eventfds):
            self.say(peer.number)

    def say(self, value: int, descriptor: int | None = None) -> None:
        self._queue.append((MESSAGE.pack(value), descriptor))
        self.flush()

    def flush(self) -> None:
        """Send what fits.

        Raises:
            OSError: the client is gone.
        """
        while self._queue:
            content, descriptor = self._queue[0]
            try:
                if descriptor is None:
                    self.connection.send(content)
                else:
                    socket.send_fds(self.connection, [content], [descriptor])
            except BlockingIOError:
                return
            self._queue.popleft()

    def close(self) -> None:
        self._queue.clear()
        self.connection.close()
