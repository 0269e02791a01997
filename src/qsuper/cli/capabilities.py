"""`qsuper capabilities`."""

import argparse
import json
import os

from qsuper.cli.output import write
from qsuper.host import probe


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `capabilities`."""
    parser.add_argument(
        "emulator",
        nargs="?",
        default=os.uname().machine,
        metavar="EMULATOR|ARCH",
        help="a QEMU binary, or an architecture as in <type arch=> (default: this host's)",
    )
    parser.add_argument("--output", metavar="FILE", help="write there instead of to stdout")


def run(args: argparse.Namespace) -> int:
    """Ask the emulator, past the cache, and write its answers down."""
    word: str = args.emulator
    is_binary = "/" in word or word.startswith("qemu")
    emulator = probe.find_emulator(word) if is_binary else probe.default_emulator(word)
    transcript = probe.transcripts_of([emulator])[emulator]
    write(args.output, json.dumps(transcript, indent=1) + "\n")
    return 0
