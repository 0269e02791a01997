"""The group's monitor: `stop` and `cont` to all members at once, and how far apart they came.

Ready-made bytes are written to all sockets in one loop; only then are the answers read. QEMU says
in its STOP and RESUME events when it stopped or went on: the skew is the last less the first.
A member that does not answer delays nobody.
"""

import contextlib
import json
import math
import socket
from collections.abc import Callable, Generator, Mapping
from itertools import count
from typing import Any, Final, NamedTuple, cast

import trio

from qsuper.errors import QsuperError, TimedOutError
from qsuper.runtime.verbs import QMP_COMMAND, QMP_EVENT, Verb

ANSWER_WITHIN_S: Final = 2.0
_AT_ONCE_S: Final = 0.1
EXECUTE_WITHIN_S: Final = 5.0
_CHUNK_BYTES: Final = 65536

Json = Any  # whatever QEMU says


class Answer(NamedTuple):
    """What one member did."""

    at_us: int | None = None
    """When it stopped or went on, microseconds since the epoch; None: it did so before."""
    error: str = ""
    """Why QEMU refused."""


class Waiting:
    """One wait for one member's answer."""

    def __init__(self, event: str) -> None:
        """Start to wait for an answer, and for the event before it; empty for none."""
        self.event = event
        self.answered = trio.Event()
        self.at_us: int | None = None
        self.error = ""


class Command:
    """One command's wait for its answer."""

    event = ""

    def __init__(self) -> None:
        """Start to wait."""
        self.answered = trio.Event()
        self.at_us: int | None = None
        self.error = ""
        self.value: Json = None


class Link:
    """A member's `sync.sock`. Run `follow` all the time, so that QEMU never piles up events."""

    def __init__(self, connection: socket.socket) -> None:
        """Take a connected socket."""
        connection.setblocking(False)  # noqa: FBT003 - as socket names it
        self._connection = connection
        self._buffer = bytearray()
        self._waiting: dict[int, Waiting | Command] = {}
        self._listeners: list[tuple[str, trio.MemorySendChannel[Json]]] = []
        self._is_over = False
        self.late: Callable[[], None] | None = None
        """Called when an answer comes that nobody waits for any more."""

    async def handshake(self) -> None:
        """Wait for the greeting and leave negotiation.

        Raises:
            EOFError: QEMU hung up.
        """
        await self._message()  # the greeting
        try:
            self._connection.send(b'{"execute":"qmp_capabilities"}\n')
        except OSError as error:
            raise EOFError from error
        while "return" not in await self._message():
            pass

    def send(self, line: bytes, number: int, waiting: Waiting) -> None:
        """Write ready-made bytes. Where QEMU takes no more of them, no answer comes."""
        self._waiting[number] = waiting
        try:
            self._connection.send(line)
        except BlockingIOError:
            del self._waiting[number]
        except OSError:
            self._hang_up()

    async def execute(
        self,
        command: str,
        arguments: Mapping[str, Json] | None = None,
        descriptor: int | None = None,
    ) -> Json:
        """Run another command, with a descriptor for QEMU if it wants one; give what it returns.

        Raises:
            QsuperError: QEMU refuses, or has ended.
            TimedOutError: it does not answer.
        """
        number, waiting = next(_numbers), Command()
        message = {"execute": command, "arguments": arguments or {}, "id": number}
        self._waiting[number] = waiting
        try:
            if descriptor is not None:
                socket.send_fds(self._connection, [b" "], [descriptor])
            self._connection.send(json.dumps(message).encode() + b"\n")
        except OSError as error:
            self.forget(number)
            raise QsuperError(f"{command}: {error.strerror}") from error
        with trio.move_on_after(EXECUTE_WITHIN_S):
            await waiting.answered.wait()
        self.forget(number)
        if not waiting.answered.is_set():
            raise TimedOutError(f"{command}: no answer within {EXECUTE_WITHIN_S:g} s")
        if waiting.error:
            raise QsuperError(f"{command}: {waiting.error}")
        return waiting.value

    @contextlib.contextmanager
    def listening(self, event: str) -> Generator[trio.MemoryReceiveChannel[Json]]:
        """Give the data of each *event* from now on; the channel ends when QEMU hangs up."""
        send, receive = trio.open_memory_channel[Json](math.inf)
        listener = (event, send)
        self._listeners.append(listener)
        if self._is_over:
            send.close()
        try:
            with receive:
                yield receive
        finally:
            self._listeners.remove(listener)
            send.close()

    def forget(self, number: int) -> None:
        """Wait no more."""
        self._waiting.pop(number, None)

    async def follow(self) -> None:
        """Read answers and events until QEMU hangs up."""
        while True:
            try:
                message = await self._message()
            except EOFError:
                self._hang_up()
                return
            if "event" in message:
                self._take_event(message)
            elif waiting := self._waiting.pop(message.get("id", -1), None):
                waiting.error = message.get("error", {}).get("desc", "")
                if isinstance(waiting, Command):
                    waiting.value = message.get("return")
                waiting.answered.set()
            elif self.late:
                self.late()

    def close(self) -> None:
        """Hang up; who still waits is told that QEMU has ended."""
        self._hang_up()
        self._connection.close()

    def _hang_up(self) -> None:
        self._is_over = True
        for _, channel in self._listeners:
            channel.close()
        for waiting in self._waiting.values():
            waiting.error = "QEMU has ended"
            waiting.answered.set()
        self._waiting.clear()

    def _take_event(self, message: Json) -> None:
        """An event of a command precedes its answer; the oldest command is the one at work."""
        for event, channel in self._listeners:
            if event == message["event"]:
                channel.send_nowait(message.get("data", {}))
        for waiting in self._waiting.values():
            if waiting.event == message["event"]:
                at = message["timestamp"]
                waiting.at_us = at["seconds"] * 1_000_000 + at["microseconds"]
                return

    async def _message(self) -> Json:
        while True:
            line, newline, rest = self._buffer.partition(b"\n")
            if newline:
                self._buffer = rest
                return _parsed(line)
            try:
                chunk = self._connection.recv(_CHUNK_BYTES)
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self._connection)
                continue
            except OSError as error:
                raise EOFError from error
            if not chunk:
                raise EOFError
            self._buffer += chunk


def _parsed(line: bytearray) -> Json:
    with contextlib.suppress(ValueError):
        if isinstance(message := json.loads(line), dict):
            return cast("Json", message)
    raise EOFError("sync.sock is answered by somebody who does not speak QMP")


_numbers = count(1)


async def signal_all(
    links: Mapping[str, Link], verb: Verb, calm: Callable[[], None] = lambda: None
) -> dict[str, Answer | None]:
    """Suspend or resume all at once.

    Args:
        links: Their monitors.
        verb: Which of the two.
        calm: Called when all have answered, or should have.

    Returns:
        What each did, by name; None for one that did not answer within 2 s.
    """
    number = next(_numbers)
    line = b'{"execute":"%s","id":%d}\n' % (QMP_COMMAND[verb].encode(), number)
    waits = {name: Waiting(QMP_EVENT[verb]) for name in links}
    for name, link in links.items():
        link.send(line, number, waits[name])
    for within_s in (_AT_ONCE_S, ANSWER_WITHIN_S - _AT_ONCE_S):
        with trio.move_on_after(within_s):
            for waiting in waits.values():
                await waiting.answered.wait()
        calm()
    for link in links.values():
        link.forget(number)
    return {
        name: Answer(waiting.at_us, waiting.error) if waiting.answered.is_set() else None
        for name, waiting in waits.items()
    }


async def answers(link: Link) -> bool:
    """Tell whether a QEMU answers within 2 s; a later answer is told by `Link.late`."""
    number, waiting = next(_numbers), Waiting("")
    link.send(b'{"execute":"query-status","id":%d}\n' % number, number, waiting)
    with trio.move_on_after(ANSWER_WITHIN_S):
        await waiting.answered.wait()
    link.forget(number)
    return waiting.answered.is_set()


def skew_us(answers: Mapping[str, Answer | None]) -> int | None:
    """Give the time between the first and the last member that changed; None for fewer than two."""
    times = [answer.at_us for answer in answers.values() if answer and answer.at_us is not None]
    return max(times) - min(times) if len(times) > 1 else None
