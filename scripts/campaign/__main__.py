"""Run the campaign and print a summary; the status is 1 where an invariant did not hold.

Each round does something at random to one of three groups of real QEMUs: starts, stops, verbs,
kills of supervisors, members and commands, also in the middle of verbs. After each it checks that
`qsuper list` says what /proc and QMP say, that no domain runs twice, that what should run ticks and
what should be suspended does not, and that nothing is left of what has ended.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import Final

from scripts.campaign.lab import Lab
from scripts.campaign.rounds import Campaign, ViolationError

_SHOWN: Final = 15
"""How many rounds before a violation are told."""


def main() -> int:
    """Run the rounds asked for, or up to the first violation."""
    parser = argparse.ArgumentParser(prog="scripts/chaos", description=__doc__)
    parser.add_argument("--rounds", type=int, default=500, help="how many (500)")
    parser.add_argument("--seed", type=int, default=None, help="for the same actions once more")
    parser.add_argument("--verbose", action="store_true", help="say what each round does")
    options = parser.parse_args()
    seed = int(time.time()) if options.seed is None else options.seed
    scratch = Path(tempfile.mkdtemp(prefix="qsuper-chaos-", dir="/var/tmp"))
    status = 1
    lab = Lab(scratch)
    try:
        status = _run(Campaign(lab, seed), options.rounds, seed, verbose=options.verbose)
    finally:
        if status:
            shutil.copytree(lab.run_dir, scratch / "run-then", ignore=_ignore_sockets)
            print(f"the logs are kept: {scratch}", file=sys.stderr)
        lab.close()
        if not status:
            shutil.rmtree(scratch)
    return status


def _ignore_sockets(directory: str, names: list[str]) -> list[str]:
    """Name what has no content to copy."""
    return [name for name in names if (Path(directory) / name).is_socket()]


def _run(campaign: Campaign, rounds: int, seed: int, *, verbose: bool) -> int:
    began_s = time.monotonic()
    number, failure = 0, ""
    last: deque[str] = deque(maxlen=_SHOWN)
    for number in range(1, rounds + 1):
        try:
            what = campaign.round()
        except ViolationError as error:
            failure = str(error)
            break
        last.append(f"{number:5} {time.monotonic() - began_s:7.1f} s  {what}")
        if verbose:
            print(last[-1], flush=True)
    for action, count in sorted(campaign.counts.items()):
        print(f"{count:6}  {action}")
    took_s = time.monotonic() - began_s
    print(f"{number} rounds in {took_s:.0f} s, seed {seed}: {1 if failure else 0} violations")
    if failure:
        print(*last, f"round {number}: {failure}", sep="\n", file=sys.stderr)
    return 1 if failure else 0


if __name__ == "__main__":
    sys.exit(main())
