"""`qsuper prune`."""

import argparse

from qsuper.cli import text
from qsuper.cli.main import report


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `prune`."""
    text.add_format(parser)


def run(args: argparse.Namespace) -> int:
    """Remove what dead supervisors left, and tell what that was."""
    from qsuper.runtime.prune import prune  # noqa: PLC0415 - not for --help

    done = prune()
    if args.format == "json":
        print(text.document({"removed": done.removed, "orphans": done.orphans}))
    else:
        for path in done.removed:
            print(f"removed {path}")
    for group in done.orphans:
        report(f"group {group}: its supervisor died, its QEMUs live on (qsuper adopt {group})")
    return 0
