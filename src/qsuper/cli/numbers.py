"""Numbers on the command line, for argparse's `type=`.

Import budget: argparse.
"""

import argparse


def seconds(word: str) -> float:
    """Read a number of seconds; a fraction will do.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    try:
        value = float(word)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{word!r} is no number of seconds")
    return value


def count(word: str) -> int:
    """Read how many there are to be.

    Raises:
        argparse.ArgumentTypeError: it is no number, or negative.
    """
    if not (word.isascii() and word.isdigit()):
        raise argparse.ArgumentTypeError(f"{word!r} is no number")
    return int(word)
