"""`qsuper info` and `qsuper domstate`.

Import budget: that of `control.client`.
"""

import argparse
import time
from typing import Final

from qsuper.cli import text
from qsuper.cli.main import report
from qsuper.control import client
from qsuper.control.client import Json
from qsuper.errors import QsuperError

_LABELS: Final = {
    "uuid": "UUID",
    "pid": "PID",
    "memory_bytes": "Memory",
    "cpu_s": "CPU time",
    "uptime_s": "Uptime",
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the verb that *parser* is for."""
    parser.add_argument("names", nargs="+", metavar="NAME", help="a domain")
    if parser.get_default("verb") == "domstate":
        parser.add_argument("--reason", action="store_true", help="say why, too")
    text.add_format(parser)


def run(args: argparse.Namespace) -> int:
    """Show what the supervisors know; an unknown domain does not keep it from the others."""
    status = 0
    found: list[Json] = []
    for name in args.names:
        try:
            with client.connect(name) as supervisor:
                found.append(supervisor.execute("info", {"domain": name}))
        except QsuperError as error:
            report(str(error))
            status = status or error.exit_status
    if args.format == "json":
        keys = None if args.verb == "info" else ("name", "state", "reason")
        rows = [{key: row[key] for key in keys or row} for row in found]
        print(text.document({"domains": rows}))
    elif args.verb == "domstate":
        for row in found:
            print(f"{row['state']} ({row['reason']})" if args.reason else row["state"])
    else:
        print("\n\n".join(text.pairs(_shown(row)) for row in found), end="\n" if found else "")
    return status


def _shown(row: dict[str, Json]) -> dict[str, str]:
    shown: dict[str, str] = {
        _LABELS.get(key, key.capitalize()): _text(key, value)
        for key, value in row.items()
        if key not in ("consoles", "doorbells", "helpers")
    }
    for console in row["consoles"]:
        shown[f"Console {console['alias']}"] = " ".join(
            console[key] for key in ("kind", "log") if console[key]
        )
    for helper, pid in row["helpers"].items():
        shown[f"Helper {helper}"] = "it has ended" if pid is None else f"pid {pid}"
    for bell in row["doorbells"]:
        shown[f"Shmem {bell['shmem']}"] = f"peer {bell['peer']}, clients at {bell['socket']}"
    return shown


def _text(key: str, value: Json) -> str:
    match key:
        case "since":
            return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(value))
        case "needs":
            return ", ".join(value) or "-"
        case "memory_bytes":
            return f"{value / 2**20:.1f} MiB"
        case "cpu_s" | "uptime_s":
            return f"{value:.1f} s"
        case _:
            return "-" if value in (None, "") else str(value)
