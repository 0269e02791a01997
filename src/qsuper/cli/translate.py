"""`qsuper translate`: what `up` would run, as a person or a program can take it."""

import argparse
import json
import shlex
import sys
from collections.abc import Iterator

from msgspec.structs import replace

from qsuper.cli import text
from qsuper.cli.descriptors import Shown
from qsuper.cli.loading import add_elsewhere, add_files, settings, warn, warning
from qsuper.errors import QsuperError
from qsuper.host.load import Settings, load_domain, load_group
from qsuper.options import Option
from qsuper.plan import LaunchPlan, Member, Role


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `translate`."""
    add_files(parser)
    add_elsewhere(parser)
    parser.add_argument(
        "--full",
        action="store_true",
        help="with what only the supervisor adds: monitors, log files, the sandbox",
    )
    parser.add_argument(
        "--format",
        choices=("shell", "json", "jsonl"),
        default="shell",
        help="lines to paste (default), a JSON document, or a JSON line a file,"
        " without its dependencies",
    )


def run(args: argparse.Namespace) -> int:
    """Translate, without starting anything."""
    if args.format == "jsonl":
        return _lines(args)
    group, notices = load_group(args.files, _settings(args))
    if args.format == "shell":
        members = group.in_launch_order
        print("\n\n".join(_pasteable(member, args, len(members)) for member in members))
        warn(notices)
        return 0
    domains = [
        {
            "name": member.plan.name,
            "role": member.role,
            "file": member.source,
            "env": dict(member.plan.env),
            **_command(member.plan, args),
        }
        for member in group.members
    ]
    print(text.document({"domains": domains, "notices": [warning(notice) for notice in notices]}))
    return 0


def _settings(args: argparse.Namespace) -> Settings:
    return replace(settings(args), is_to_run=False)


def _lines(args: argparse.Namespace) -> int:
    """Answer for each file by itself; one that is wrong, or meets a bug, does not stop the rest."""
    status = 0
    shared = _settings(args)
    for path in args.files:
        answer: dict[str, object] = {"file": path}
        try:
            answer |= _answer(path, args, shared)
        except QsuperError as error:
            answer["error"] = str(error)
            status = status or error.exit_status
        except Exception as error:  # noqa: BLE001 - a bug met by one file; shown, and the status tells
            _print_traceback()
            answer["error"] = f"{path}: internal error: {error!r}"
            status = QsuperError.exit_status
        print(json.dumps(answer), flush=sys.stdout.isatty())
    return status


def _print_traceback() -> None:
    import traceback  # noqa: PLC0415 - 2 ms that a good file need not wait for

    traceback.print_exc()


def _answer(path: str, args: argparse.Namespace, shared: Settings) -> dict[str, object]:
    plan, notices = load_domain(path, shared)
    answer = _command(plan, args)
    return answer | {"notices": [warning(notice) for notice in notices]} if notices else answer


def _options(plan: LaunchPlan, args: argparse.Namespace) -> Iterator[Option]:
    if args.full:
        from qsuper.runtime.frame import framed  # noqa: PLC0415 - seldom asked for

        yield from framed(plan)
        return
    yield Option.keyed("name", {"guest": plan.name})
    yield from plan.options


def _command(plan: LaunchPlan, args: argparse.Namespace) -> dict[str, object]:
    """Give the words of the command, and the files that must be open for it, if any."""
    shown = Shown(tuple(_options(plan, args)))
    words = [word for option in shown.options() for word in option.argv()]
    command: dict[str, object] = {"argv": [plan.emulator, *words]}
    if rows := shown.rows():
        command["files"] = rows
    return command


def _pasteable(member: Member, args: argparse.Namespace, members: int) -> str:
    """Write a shell command, one option a line."""
    plan = member.plan
    lines = [f"{name}={shlex.quote(value)}" for name, value in plan.env.items()]
    lines.append(shlex.quote(plan.emulator))
    shown = Shown(tuple(_options(plan, args)))
    lines += (f"  {shlex.join(option.argv())}" for option in shown.options())
    lines += (f"  {word}" for word in shown.redirections())
    remarks = [f"# before: mkdir -m 700 {path}" for path in _directories(plan)]
    if shown.missing:
        remarks.append(f"# only `qsuper up` can make: {', '.join(shown.missing)}")
    if members > 1:
        remark = " (dependency)" if member.role is Role.DEPENDENCY else ""
        remarks.insert(0, f"# {plan.name}{remark}")
    return "\n".join((*remarks, " \\\n".join(lines)))


def _directories(plan: LaunchPlan) -> Iterator[str]:
    """Give the directories that `up` makes and that must be there for what is pasted."""
    for option in plan.options:
        if option.name == "machine-path":
            yield shlex.quote(option.argv()[1])
