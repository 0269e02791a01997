"""`qsuper list`.

Import budget: that of `control.client`.
"""

from __future__ import annotations

import sys

from qsuper.cli import text
from qsuper.cli.main import report
from qsuper.control import client
from qsuper.errors import QsuperError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from typing import Final

    from qsuper.control.client import Json

_HEADER: Final = ("Name", "State", "Group", "Role", "PID")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `list`."""
    parser.add_argument(
        "--all", action="store_true", help="members that have ended, too, while their group lives"
    )
    parser.add_argument("--names", action="store_true", help="only the names, one a line")
    text.add_format(parser)


def run(args: argparse.Namespace) -> int:
    """Show the domains of all groups; a group that can't be asked does not hide the others."""
    rows, errors = survey()
    if not args.all:
        rows = [row for row in rows if runs(row)]
    if args.format == "json":
        print(text.document({"domains": rows}))
    elif args.names:
        for row in rows:
            print(row["name"])
    elif rows or sys.stdout.isatty():
        cells = [
            (row["name"], row["state"], row["group"], row["role"], str(row["pid"] or "-"))
            for row in rows
        ]
        print(text.table(_HEADER, cells))
    for error in errors:
        report(str(error))
    return QsuperError.exit_status if errors else 0


def survey() -> tuple[list[Json], list[QsuperError]]:
    """Ask every group; give the rows, and what went wrong with groups that gave none.

    Where a supervisor does not answer, says so on stderr and finds the rows without it.
    """
    rows: list[Json] = []
    errors: list[QsuperError] = []
    for group in client.groups():
        try:
            rows += _members(group)
        except QsuperError as error:
            errors.append(error)
    return rows, errors


def runs(row: Json) -> bool:
    """Tell whether a domain runs, in the sense of `virsh list` without `--all`."""
    return bool(row["state"] != "shut off")


def _members(group: str) -> list[Json]:
    try:
        with client.connect_group(group) as supervisor:
            if not client.is_stopped(supervisor.peer):
                found: list[Json] = supervisor.execute("list")["domains"]
                return found
        reason = "supervisor stopped"
    except OSError:
        reason = "supervisor starting or ending" if client.supervisor(group) else "supervisor died"
    except QsuperError as error:
        report(str(error))
        reason = "supervisor hangs"
    from qsuper.control import remains  # noqa: PLC0415 - seldom needed

    rows = remains.rows(group, reason)
    if rows and reason == "supervisor died":
        report(f"group {group}: its supervisor died; its QEMUs live on (qsuper adopt {group})")
    return rows
