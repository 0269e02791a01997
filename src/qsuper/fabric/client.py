"""A client for the fabric: a program that shares memory with guests, and is rung by them.

    from qsuper.fabric.client import Client

    with Client("/run/user/1000/qsuper/groups/lab/mailbox.ivshmem") as fabric:
        while True:
            vector = fabric.wait()
            (number,) = struct.unpack_from("<I", fabric.memory, 64)
            struct.pack_into("<I", fabric.memory, 68, number * number)
            fabric.ring(2, 0)

`qsuper info` shows the path. The client waits for what guests ring the supervisor (peer 1) with,
and for what other clients ring it with. In trio, wait for `fileno()` to be readable and call
`wait(0)`.

It speaks to any server of ivshmem's protocol. Import budget: the standard library.
"""

import contextlib
import mmap
import os
import select
import socket
import time
from collections import deque
from typing import Final, Self

from qsuper.errors import QsuperError, TimedOutError
from qsuper.fabric.protocol import MEMORY, MESSAGE, VERSION

_GREETING_WITHIN_S: Final = 10.0


class Client:
    """A peer of an ivshmem server."""

    def __init__(self, path: str, *, timeout_s: float = _GREETING_WITHIN_S) -> None:
        """Connect to the server's socket and map its memory.

        Raises:
            QsuperError: nobody listens at *path*, or what it says is not ivshmem's protocol.
            TimedOutError: it says nothing.
        """
        self._peers: dict[int, list[int]] = {}
        self._rung: deque[int] = deque()
        self._buffer = b""
        self._descriptors: list[int] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._epoll = select.epoll()
        self._listening: dict[int, int] = {}
        try:
            self._socket.settimeout(timeout_s)
            self._socket.connect(path)
            self.number, self.memory = self._greeting()
            while not self._is_complete():
                self._take_message()
            self._socket.setblocking(False)  # noqa: FBT003 - as socket names it
            self._epoll.register(self._socket, select.EPOLLIN)
        except BaseException as error:
            self.close()
            if isinstance(error, TimeoutError):
                raise TimedOutError(f"{path}: no greeting within {timeout_s:g} s") from error
            if isinstance(error, OSError):
                raise QsuperError(f"{path}: {error.strerror or error}") from error
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    number: int
    """Our own."""
    memory: mmap.mmap
    """All of it, readable and writable."""

    @property
    def peers(self) -> dict[int, int]:
        """How many vectors each peer has, by number; us included."""
        return {number: len(eventfds) for number, eventfds in self._peers.items()}

    def fileno(self) -> int:
        """Give a descriptor that is readable when `wait(0)` has something to do."""
        return self._epoll.fileno()

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Wait until one of our vectors is rung, and give it; None after *timeout_s*.

        Signals coalesce: a vector that is rung twice before we look is given once.

        Raises:
            QsuperError: the server has hung up.
        """
        until_s = None if timeout_s is None else time.monotonic() + timeout_s
        while not self._rung:
            left_s = None if until_s is None else max(0.0, until_s - time.monotonic())
            ready = self._epoll.poll(left_s)
            for descriptor, _ in ready:
                if descriptor == self._socket.fileno():
                    self._listen()
                else:
                    self._take(descriptor)
            if not ready and timeout_s is not None:
                return None
        return self._rung.popleft()

    def ring(self, peer: int, vector: int) -> None:
        """Ring a peer.

        Raises:
            QsuperError: there is no such peer, or it has no such vector.
        """
        with contextlib.suppress(BlockingIOError):
            self._listen()
        eventfds = self._peers.get(peer, [])
        if not 0 <= vector < len(eventfds):
            raise QsuperError(f"there is no peer {peer} with a vector {vector}")
        with contextlib.suppress(BlockingIOError):  # it has not looked since the last time
            os.eventfd_write(eventfds[vector], 1)

    def close(self) -> None:
        """Hang up. What was taken from `memory` before stays valid no longer."""
        self._epoll.close()
        self._socket.close()
        for eventfds in self._peers.values():
            for descriptor in eventfds:
                os.close(descriptor)
        self._peers.clear()
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors.clear()
        if hasattr(self, "memory") and not self.memory.closed:
            with contextlib.suppress(BufferError):
                self.memory.close()

    def _greeting(self) -> tuple[int, mmap.mmap]:
        version, number = self._message(), self._message()
        if version[0] != VERSION:
            raise QsuperError(
                f"it speaks version {version[0]} of ivshmem's protocol, not {VERSION}"
            )
        mark, descriptor = self._message()
        if mark != MEMORY or descriptor is None:
            raise QsuperError("it sends no memory")
        try:
            return number[0], mmap.mmap(descriptor, 0)
        finally:
            os.close(descriptor)

    def _is_complete(self) -> bool:
        """Tell whether we know all: we come last, with as many vectors as anybody."""
        vectors = self.peers
        return vectors.get(self.number, 0) >= max(vectors.values(), default=1)

    def _listen(self) -> None:
        """Take what the server says, as far as it has said it."""
        while True:
            try:
                self._take_message()
            except BlockingIOError:
                return

    def _take_message(self) -> None:
        number, descriptor = self._message()
        if descriptor is None:
            for eventfd in self._peers.pop(number, []):
                os.close(eventfd)
            return
        eventfds = self._peers.setdefault(number, [])
        if number == self.number:
            self._listening[descriptor] = len(eventfds)
            self._epoll.register(descriptor, select.EPOLLIN)
        eventfds.append(descriptor)

    def _message(self) -> tuple[int, int | None]:
        """Read one message; a descriptor comes with the first byte of its message."""
        while len(self._buffer) < MESSAGE.size:
            wanted = MESSAGE.size - len(self._buffer)
            flags = socket.MSG_CMSG_CLOEXEC
            chunk, received, _, _ = socket.recv_fds(self._socket, wanted, 1, flags)
            self._descriptors += received
            if not chunk:
                raise QsuperError("the ivshmem server has hung up")
            self._buffer += chunk
        (value,) = MESSAGE.unpack(self._buffer)
        self._buffer = b""
        return value, self._descriptors.pop(0) if self._descriptors else None

    def _take(self, descriptor: int) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(descriptor)
            self._rung.append(self._listening[descriptor])
