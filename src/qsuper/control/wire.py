"""The control protocol: QMP's wire format, as data.

Source: QEMU docs/interop/qmp-spec. Each message is a JSON object on a line. Beyond QMP, `error` has
`exit-status`, and an event's `data` has the `domain`.
"""

import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, cast

from qsuper import __version__
from qsuper.errors import QsuperError, UsageError

Json = Any  # a message's content

LINE_MAX_BYTES: Final = 1 << 20

_VERSION: Final = (0, 0, 0)  # QEMU's place for a version of QEMU; ours stands in `package`
_GENERIC: Final = "GenericError"
_NOT_FOUND: Final = "CommandNotFound"


class Request(NamedTuple):
    """A command that a client sent."""

    command: str
    arguments: Mapping[str, Json]
    tag: Mapping[str, Json]
    """The `id` to answer with, where the client gave one."""


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
