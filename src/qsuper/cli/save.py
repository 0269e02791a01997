"""`qsuper save`.

Import budget: that of `control.client`.
"""

import argparse
import os
from typing import Final

from qsuper.cli import text
from qsuper.cli.main import report
from qsuper.control import client

_TIMEOUT_S: Final = 3600.0
"""For all memory to get to a slow disk."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `save`."""
    parser.add_argument("name", metavar="NAME", help="a primary")
    parser.add_argument("directory", metavar="DIR", help="is made; must not exist yet")
    text.add_format(parser)


def run(args: argparse.Namespace) -> int:
    """Save the group."""
    arguments = {"domain": args.name, "directory": os.path.abspath(args.directory)}
    with client.connect(args.name) as supervisor:
        answer = supervisor.execute("save", arguments, timeout_s=_TIMEOUT_S)
    for name, files in answer["left-out"].items():
        for file in files:
            report(f"warning: {name}: {file} is no qcow2: what it holds is not in the save")
    if args.format == "json":
        print(text.document(answer))
        return 0
    others = [name for name in answer["domains"] if name != args.name]
    aside = f" (with {', '.join(others)})" if others else ""
    print(f"Domain '{args.name}' saved to {args.directory}{aside}")
    return 0
