"""`qsuper signal`.

Import budget: that of `control.client`.
"""

import argparse
from typing import Final

from qsuper.cli import text
from qsuper.control import client

_VECTOR_MAX: Final = 2047


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `signal`."""
    parser.add_argument("name", metavar="NAME", help="a domain with a doorbell")
    parser.add_argument(
        "vector", type=_vector, metavar="VECTOR", help="which of its vectors to ring, from 0"
    )
    parser.add_argument(
        "--shmem", metavar="NAME", help="by which <shmem>, where the domain has several"
    )
    text.add_format(parser)


def run(args: argparse.Namespace) -> int:
    """Ring the domain."""
    arguments: dict[str, client.Json] = {"domain": args.name, "vector": args.vector}
    if args.shmem:
        arguments["shmem"] = args.shmem
    with client.connect(args.name) as supervisor:
        answer = supervisor.execute("signal", arguments)
    if args.format == "json":
        print(text.document({"domain": args.name, **answer}))
    else:
        print(f"Domain '{args.name}' rung by vector {args.vector} of shmem '{answer['shmem']}'")
    return 0


def _vector(word: str) -> int:
    try:
        number = int(word)
    except ValueError:
        number = -1
    if not 0 <= number <= _VECTOR_MAX:
        raise argparse.ArgumentTypeError(f"'{word}' is no vector: 0 to {_VECTOR_MAX}")
    return number
