"""`qsuper dumpxml`."""

import argparse

from qsuper.cli.loading import add_elsewhere, add_files, settings, warn
from qsuper.cli.main import report
from qsuper.errors import QsuperError
from qsuper.host.describe import describe_domain


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `dumpxml`."""
    add_files(parser)
    add_elsewhere(parser)


def run(args: argparse.Namespace) -> int:
    """Print each file's domain; one that is wrong does not stop the rest."""
    status = 0
    shared = settings(args)
    for path in args.files:
        try:
            described = describe_domain(path, shared)
        except QsuperError as error:
            report(str(error))
            status = status or error.exit_status
        else:
            print(described.xml, end="")
            warn(described.notices)
    return status
