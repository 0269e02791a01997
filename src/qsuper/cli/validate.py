"""`qsuper validate`."""

import argparse
from collections.abc import Callable
from typing import TypeVar

from qsuper.cli import text
from qsuper.cli.loading import add_elsewhere, add_files, settings, warning
from qsuper.cli.main import report
from qsuper.errors import ConfigError, QsuperError
from qsuper.host.load import Settings, load_domain, load_found
from qsuper.host.members import find_members
from qsuper.host.schema import DEFAULT_PATH, libvirt_notices
from qsuper.location import Notice

T = TypeVar("T")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `validate`."""
    add_files(parser)
    add_elsewhere(parser)
    parser.add_argument(
        "--schema",
        metavar="FILE",
        default=DEFAULT_PATH,
        help="libvirt's schema, of which warnings come; '' for none (%(default)s, if it is there)",
    )
    text.add_format(parser)


def run(args: argparse.Namespace) -> int:
    """Check each file, with the dependencies that it names, and say all that is wrong."""
    shared = settings(args)
    results = [_Check(shared, args.schema).result(path) for path in args.files]
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


class _Check:
    """Goes on after an error, to find what else there is."""

    def __init__(self, shared: Settings, schema: str) -> None:
        self._shared = shared
        self._schema = schema
        self._errors: dict[str, None] = {}
        self._notices: dict[Notice, None] = {}
        self._status = 0

    def result(self, path: str) -> dict[str, text.Json]:
        found = self._tried(lambda: find_members([path]))
        notices = self._tried(
            (lambda: load_found(found, self._shared).notices)
            if found is not None
            else (lambda: load_domain(path, self._shared).notices)  # then judge the file alone
        )
        self._notices |= dict.fromkeys(notices or ())
        for member in found or ():
            self._notices |= dict.fromkeys(libvirt_notices(member.file, self._schema))
        wrong = {error.partition(": ")[0] for error in self._errors}
        return {
            "file": path,
            "valid": not self._errors,
            "errors": list(self._errors),
            "warnings": [
                warning(notice)
                for notice in self._notices
                if str(notice.at) not in wrong  # an error says it better
            ],
            "exit-status": self._status,
        }

    def _tried(self, work: Callable[[], T]) -> T | None:
        try:
            return work()
        except QsuperError as error:
            self._errors |= dict.fromkeys(str(error).splitlines())
            self._status = self._status or error.exit_status
            return None
