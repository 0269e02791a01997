"""`qsuper adopt`.

Import budget: that of `control.client`.
"""

import argparse
import os

from qsuper import paths
from qsuper.cli import text
from qsuper.cli.main import report
from qsuper.control import client
from qsuper.control.adopt import adopt_aloud
from qsuper.control.client import Json
from qsuper.errors import QsuperError


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `adopt`."""
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="a domain (default: all whose supervisors died)",
    )
    text.add_format(parser)


def run(args: argparse.Namespace) -> int:
    """Give every group without a supervisor a successor; one failure does not spare the others."""
    status = 0
    results: list[Json] = []
    for group in _groups(args.names):
        try:
            results.append(_adopted(group))
        except QsuperError as error:
            report(str(error))
            status = status or error.exit_status
    unknown = [name for name in args.names if _group(name) is None]
    for name in unknown:
        report(f"no such domain: {name}")
    if args.format == "json":
        print(text.document({"groups": results}))
    else:
        for result in results:
            print(_said(result))
    return status or (QsuperError.exit_status if unknown else 0)


def _groups(names: list[str]) -> list[str]:
    if not names:
        return [group for group in client.groups() if client.supervisor(group) is None]
    found = [_group(name) for name in names]
    return list(dict.fromkeys(group for group in found if group is not None))


def _group(name: str) -> str | None:
    """Give the group of a domain, or the group of that name."""
    if not client.is_name(name):
        return None
    try:
        return os.path.basename(os.readlink(os.path.join(paths.domain_dir(name), "group")))
    except OSError:
        return name if os.path.isdir(paths.group_dir(name)) else None


def _adopted(group: str) -> Json:
    if supervisor := client.supervisor(group):
        return {"group": group, "pid": supervisor, "adopted": False, "domains": [], "fate": ""}
    found = adopt_aloud(group)
    return {
        "group": group,
        "pid": found.pid or client.supervisor(group),
        "adopted": found.pid is not None,
        "domains": list(found.domains),
        "fate": found.fate,
    }


def _said(result: Json) -> str:
    group, pid = result["group"], result["pid"]
    if result["fate"]:
        return f"Group '{group}' is gone: {result['fate']}"
    if pid is None:
        return f"Group '{group}' is gone"
    if not result["adopted"]:
        return f"Group '{group}' has a supervisor (pid {pid})"
    names = ", ".join(result["domains"]) or "no domain that lives"
    return f"Group '{group}' adopted by pid {pid}: {names}"
