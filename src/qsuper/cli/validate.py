"""`qsuper validate`."""

import argparse

from qsuper.cli import text
from qsuper.cli.loading import add_elsewhere, add_files, settings, warning
from qsuper.cli.main import report
from qsuper.errors import ConfigError, QsuperError
from qsuper.host.load import Settings, load_group
from qsuper.location import Notice


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `validate`."""
    add_files(parser)
    add_elsewhere(parser)
    text.add_format(parser)


def run(args: argparse.Namespace) -> int:
    """Check each file, with the dependencies that it names, and say all that is wrong."""
    shared = settings(args)
    results = [_check(path, shared) for path in args.files]
    if args.format == "json":
        print(text.document({"files": results}))
    statuses = {result["exit-status"] for result in results}
    said: set[str] = set()  # two files may have the same dependency
    for result in results if args.format == "plain" else ():
        for problem in (*result["errors"], *result["warnings"]):
            if problem not in said:
                report(problem)
            said.add(problem)
        if not result["errors"]:
            print(f"{result['file']}: valid")
    return ConfigError.exit_status if ConfigError.exit_status in statuses else max(statuses)


def _check(path: str, shared: Settings) -> dict[str, text.Json]:
    errors: list[str] = []
    notices: tuple[Notice, ...] = ()
    status = 0
    try:
        notices = load_group([path], shared).notices
    except QsuperError as error:
        errors = str(error).splitlines()
        status = error.exit_status
    return {
        "file": path,
        "valid": not errors,
        "errors": errors,
        "warnings": [warning(notice) for notice in notices],
        "exit-status": status,
    }
