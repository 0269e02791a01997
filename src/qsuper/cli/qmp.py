"""`qsuper qmp`.

Import budget: that of `control.client`.
"""

import argparse
import json
from typing import cast

from qsuper.control import client
from qsuper.control.client import Json
from qsuper.errors import UsageError

_TIMEOUT_S = 60.0  # some commands do their work before they return


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `qmp`."""
    parser.add_argument("name", metavar="NAME", help="a domain")
    parser.add_argument(
        "command",
        metavar="COMMAND",
        help="a QMP command's name, or a whole command as JSON",
    )
    parser.add_argument("arguments", nargs="?", metavar="ARGUMENTS", help="its arguments as JSON")


def run(args: argparse.Namespace) -> int:
    """Pass the command to QEMU and print what it returns, as JSON."""
    command = _command(args.command, args.arguments)
    with client.connect(args.name) as supervisor:
        arguments = {"domain": args.name, "command": command}
        answer = supervisor.execute("qmp", arguments, timeout_s=_TIMEOUT_S)
    print(json.dumps(answer, indent=2))
    return 0


def _command(word: str, arguments: str | None) -> Json:
    if not word.lstrip().startswith("{"):
        command: Json = {"execute": word}
        return command | {"arguments": _object(arguments)} if arguments is not None else command
    if arguments is not None:
        raise UsageError("the command is JSON already, and has its arguments inside")
    command = _object(word)
    if not isinstance(command.get("execute"), str):
        raise UsageError(f'not a QMP command, for want of "execute": {word}')
    return command


def _object(word: str) -> dict[str, object]:
    try:
        value = json.loads(word)
    except ValueError as error:
        raise UsageError(f"not JSON: {word}: {error}") from None
    if not isinstance(value, dict):
        raise UsageError(f"not a JSON object: {word}")
    return cast("dict[str, object]", value)
