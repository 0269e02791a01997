"""Run the benchmark and print its table.

Both sides take turns in one run, so that a noisy machine hurts them alike; figures are medians.
libvirt's column is empty where it is not installed or no libvirtd answers.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from scripts.benchmark.ends import ENDS
from scripts.benchmark.fabric import FABRIC
from scripts.benchmark.lab import Lab
from scripts.benchmark.rows import ROWS, Row

_HEAD: Final = ("row", "qsuper", "reference", "ratio", "budget", "")


def main() -> int:
    """Measure the rows asked for; 0 whether or not the budgets are met."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="turns a row (7)")
    parser.add_argument("--only", metavar="TEXT", default="", help="rows whose name has TEXT")
    parser.add_argument("--corpus", type=Path, help="a directory of domain XML for translation")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    options = parser.parse_args()
    chosen = {name: row for name, row in (ROWS | FABRIC | ENDS).items() if options.only in name}
    with tempfile.TemporaryDirectory(prefix="qsuper-bench-", dir="/var/tmp") as scratch:
        Path(scratch).chmod(0o755)  # libvirt's QEMU runs as another user
        with Lab(Path(scratch), options.rounds, options.corpus) as lab:
            results = list(_measure(chosen, lab, quiet=options.json))
    if options.json:
        print(json.dumps({"version": 1, "rounds": options.rounds, "rows": results}, indent=1))
    return 0


def _measure(
    chosen: dict[str, Callable[[Lab], Iterator[Row]]], lab: Lab, *, quiet: bool
) -> Iterator[dict[str, object]]:
    if not quiet:
        print(_line(_HEAD))
    for measure in chosen.values():
        for row in measure(lab):
            if not quiet:
                print(_line(row.cells()), flush=True)
            yield row.to_json()


def _line(cells: tuple[str, ...]) -> str:
    widths = (44, 12, 12, 7, 9, 6)
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


if __name__ == "__main__":
    sys.exit(main())
