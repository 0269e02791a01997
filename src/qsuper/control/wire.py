"""The control protocol: QMP's wire format, as data.

Source: QEMU docs/interop/qmp-spec. Each message is a JSON object on a line. Beyond QMP, `error` has
`exit-status`, and an event's `data` has the `domain`.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, cast

from qsuper import __version__
from qsuper.errors import QsuperError, UsageError

Json = Any  # a message's content

LINE_MAX_BYTES: Final = 1 << 20

_VERSION: Final = (0, 0, 0)  # QEMU's place for a version of QEMU; ours stands in `package`
_DEEPEST: Final = 256
_MARK: Final = re.compile(rb"\\.|[\"{}\[\]\n]", re.DOTALL)
_GENERIC: Final = "GenericError"
_NOT_FOUND: Final = "CommandNotFound"


class Request(NamedTuple):
    """A command that a client sent."""

    command: str
    arguments: Mapping[str, Json]
    tag: Mapping[str, Json]
    """The `id` to answer with, where the client gave one."""


class Splitter:
    """Cuts what a client sends into messages.

    QMP needs no newline behind a message: it ends with its last brace. One that never gets so far
    ends with a newline in a string, or behind too many brackets.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._at = 0  # up to here it is known
        self._depth = 0
        self._in_string = False
        self._too_deep = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """Give the messages that are complete with *chunk*, without empty ones.

        Raises:
            MalformedError: a message is longer than 1 MiB.
        """
        self._buffer += chunk
        found: list[bytes] = []
        while (match := _MARK.search(self._buffer, self._at)) is not None:
            self._at = match.end()
            if self._ends(match.group()):
                found.append(bytes(self._buffer[: self._at]).strip())
                del self._buffer[: self._at]
                self._at, self._depth = 0, 0
                self._in_string = self._too_deep = False
        # A backslash may be waiting for what it escapes.
        self._at = max(self._at, len(self._buffer) - 1)
        if len(self._buffer) > LINE_MAX_BYTES:
            raise MalformedError(f"a message of over {LINE_MAX_BYTES} bytes")
        return [message for message in found if message]

    def _ends(self, mark: bytes) -> bool:
        """Take a mark; tell whether a message ends with it."""
        if mark == b"\n":
            return self._in_string or self._too_deep or self._depth == 0
        if self._too_deep:
            return False
        if self._in_string:
            self._in_string = mark != b'"'
        elif mark == b'"':
            self._in_string = True
        elif mark in b"{[":
            self._depth += 1
            self._too_deep = self._depth > _DEEPEST
        elif mark in b"}]":
            self._depth -= 1
            return self._depth <= 0
        return False


class MalformedError(UsageError):
    """What the client sent is no command."""

    def __init__(self, message: str, tag: Mapping[str, Json] | None = None) -> None:
        super().__init__(message)
        self.tag = tag or {}


class CommandNotFoundError(UsageError):
    """There is no such command, or not yet."""


def greeting() -> bytes:
    """Give what a server says first."""
    major, minor, micro = _VERSION
    version = {"major": major, "minor": minor, "micro": micro}
    content: Json = {
        "version": {"qemu": version, "package": f"qsuper {__version__}"},
        "capabilities": [],
    }
    return _line({"QMP": content})


def parse(line: bytes) -> Request:
    """Read a command.

    Raises:
        MalformedError: it is none.
    """
    try:
        message: Json = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise MalformedError(f"not JSON: {error}") from error
    if not isinstance(message, dict):
        raise MalformedError("not a JSON object")
    content = cast("dict[str, Json]", message)
    tag = {"id": content["id"]} if "id" in content else {}
    command, arguments = content.get("execute"), content.get("arguments", {})
    if not isinstance(command, str):
        raise MalformedError("'execute' is missing, or no string", tag)
    if not isinstance(arguments, dict):
        raise MalformedError("'arguments' is no object", tag)
    if unknown := content.keys() - {"execute", "arguments", "id"}:
        raise MalformedError(f"unknown member {min(unknown)!r}", tag)
    return Request(command, cast("dict[str, Json]", arguments), tag)


def answer(value: Json, tag: Mapping[str, Json]) -> bytes:
    """Give a command's answer."""
    return _line({"return": value, **tag})


def refusal(error: QsuperError, tag: Mapping[str, Json]) -> bytes:
    """Give a command's error."""
    kind = _NOT_FOUND if isinstance(error, CommandNotFoundError) else _GENERIC
    content = {"class": kind, "desc": str(error), "exit-status": error.exit_status}
    return _line({"error": content, **tag})


def event(name: str, domain: str, data: Mapping[str, Json], at_s: float) -> bytes:
    """Give an event; *at_s* in seconds since the epoch."""
    seconds = int(at_s)
    timestamp = {"seconds": seconds, "microseconds": int((at_s - seconds) * 1_000_000)}
    return _line({"event": name, "data": {"domain": domain, **data}, "timestamp": timestamp})


def _line(message: Json) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode() + b"\r\n"
