"""`qsuper suspend`, `resume`, `shutdown`, `reset`, `reboot`, `restart`, `destroy` and `down`.

Import budget: that of `control.client`.
"""

from __future__ import annotations

from qsuper.cli import text
from qsuper.cli.main import report
from qsuper.cli.numbers import seconds
from qsuper.control import client
from qsuper.errors import QsuperError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping
    from typing import Final, TypeAlias

    from qsuper.control.client import Connection, Json

    Answer: TypeAlias = Json | QsuperError

_END_TIMEOUT_S: Final = 60.0
"""For `quit`, SIGTERM and SIGKILL, each with its deadline, on a busy machine."""
_DOWN_TIMEOUT_S: Final = 60.0
_RESTART_TIMEOUT_S: Final = 120.0
"""For the end of the old QEMU and the start of the new one, which has 60 s (`up --timeout`)."""


class _Verb:
    def __init__(
        self,
        done: str,
        *,
        timeout_s: float = client.REPLY_TIMEOUT_S,
        stopped: Callable[[str, int], None] | None = None,
        ends: bool = False,
        grouped: bool = False,
    ) -> None:
        self.done = done
        """What is said of the domain, as virsh would."""
        self.timeout_s = timeout_s
        self.stopped = stopped
        self.ends = ends
        """The domains are gone when it is done."""
        self.grouped = grouped
        """Takes `--group`."""


_VERBS: Final = {
    "suspend": _Verb("suspended"),
    "resume": _Verb("resumed", stopped=client.wake),
    "shutdown": _Verb("is being shut down"),
    "reset": _Verb("was reset", grouped=True),
    "reboot": _Verb("is being rebooted", grouped=True),
    "restart": _Verb("was restarted", timeout_s=_RESTART_TIMEOUT_S, grouped=True),
    "destroy": _Verb("destroyed", timeout_s=_END_TIMEOUT_S, ends=True),
    "down": _Verb("shut down", timeout_s=_END_TIMEOUT_S, ends=True),
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the verb that *parser* is for."""
    name = parser.get_default("verb")
    verb = _VERBS[name]
    parser.add_argument("names", nargs="*" if verb.ends else "+", metavar="NAME", help="a domain")
    if verb.ends:
        parser.add_argument("--all", action="store_true", help="every group there is")
    if verb.grouped:
        parser.add_argument(
            "--group", action="store_true", help="the dependencies of NAME too, if it has any"
        )
    if name == "down":
        parser.add_argument(
            "--timeout",
            type=seconds,
            default=_DOWN_TIMEOUT_S,
            metavar="SECONDS",
            help="how long the guests may take before they are destroyed (default: %(default)g)",
        )
    text.add_format(parser)


def run(args: argparse.Namespace) -> int:
    """Do the verb to all domains named, at once; one failure does not spare the others."""
    verb = _VERBS[args.verb]
    answers = _perform(args, verb, _names(args, verb))
    ended = {
        name
        for answer in answers.values()
        if verb.ends and not isinstance(answer, QsuperError)
        for name in answer["domains"]
    }
    failed = {name for name, answer in answers.items() if isinstance(answer, QsuperError)}
    if failed and verb.ends and args.all:
        ended |= failed - {row["name"] for row in _running()[0]}
    # `destroy a b`, with b a dependency of a: b may be gone before its turn comes. So may whatever
    # `--all` found: a successor of a supervisor that died ends what should have ended.
    answers = {name: answer for name, answer in answers.items() if name not in failed & ended}
    if args.format == "json":
        print(text.document({"verb": args.verb, "results": [*map(_result, answers.items())]}))
    status = 0
    for name, answer in answers.items():
        if isinstance(answer, QsuperError):
            report(str(answer))
            status = status or answer.exit_status
        elif args.format == "plain":
            print(f"Domain '{name}' {verb.done}{_aside(args.verb, name, answer)}")
            _warn(args, answer)
    return status


def _names(args: argparse.Namespace, verb: _Verb) -> list[str]:
    named = list(dict.fromkeys(args.names))
    if not verb.ends or not args.all:
        if not named:
            raise UsageError(f"name a domain, or say --all (see qsuper {args.verb} --help)")
        return named
    if named:
        raise UsageError("name domains or say --all, not both")
    running, errors = _running()
    for error in errors:
        report(str(error))
    led = {row["group"] for row in running if row["role"] == "primary"}
    # Where a supervisor died, its primary may have died as well.
    return [r["name"] for r in running if r["role"] == "primary" or r["group"] not in led]


def _running() -> tuple[list[Json], list[QsuperError]]:
    """Give the rows of what runs, and what went wrong with groups that gave none."""
    from qsuper.cli.list import runs, survey  # noqa: PLC0415 - only --all asks

    rows, errors = survey()
    return [row for row in rows if runs(row)], errors


def _perform(args: argparse.Namespace, verb: _Verb, names: list[str]) -> dict[str, Answer]:
    """Send the verb for every name before waiting for any answer."""
    timeout_s = verb.timeout_s
    arguments: dict[str, Json] = {}
    if args.verb == "down":
        arguments["timeout"] = args.timeout
        timeout_s += 2 * args.timeout  # for the domain, and then for its dependencies
    if verb.grouped and args.group:
        arguments["group"] = True
    answers: dict[str, Answer] = {}
    sent: dict[str, Connection] = {}
    for name in names:
        try:
            sent[name] = client.connect(name, verb.stopped)
            sent[name].send(args.verb, {"domain": name, **arguments})
        except QsuperError as error:
            answers[name] = error
    for name in sent.keys() - answers.keys():
        try:
            answers[name] = sent[name].receive(timeout_s)
        except QsuperError as error:
            answers[name] = error
    for connection in sent.values():
        connection.close()
    return {name: answers[name] for name in names}


def _result(answer: tuple[str, Answer]) -> Mapping[str, Json]:
    name, content = answer
    if isinstance(content, QsuperError):
        return {"domain": name, "error": str(content), "exit-status": content.exit_status}
    return {"domain": name, **content}


def _aside(verb: str, name: str, answer: Json) -> str:
    parts: list[str] = []
    if others := [other for other in answer["domains"] if other != name]:
        parts.append(f"with {', '.join(others)}")
    if (skew_us := answer.get("skew_us")) is not None:
        parts.append(f"{'stop' if verb == 'suspend' else 'resume'} skew {skew_us:.0f} us")
    return f" ({'; '.join(parts)})" if parts else ""


def _warn(args: argparse.Namespace, answer: Json) -> None:
    if spared := answer.get("spared"):
        report(f"spared, since another primary needs it: {', '.join(spared)}")
    if destroyed := answer.get("destroyed"):
        report(f"destroyed, after {args.timeout:g} s: {', '.join(destroyed)}")
