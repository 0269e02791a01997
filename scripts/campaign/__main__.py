"""Run the campaign and print a summary; the status is 1 where an invariant did not hold.

Each round does something at random to one of three groups of real QEMUs: starts, stops, verbs,
kills of supervisors, members and commands, also in the middle of verbs. After each it checks that
`qsuper list` says what /proc and QMP say, that no domain runs twice, that what should run ticks and
what should be suspended does not, and that nothing is left of what has ended.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from scripts.campaign.lab import Lab
from scripts.campaign.rounds import Campaign, ViolationError


def main() -> int:
    """Run the rounds asked for, or up to the first violation."""
    parser = argparse.ArgumentParser(prog="scripts/chaos", description=__doc__)
    parser.add_argument("--rounds", type=int, default=500, help="how many (500)")
    parser.add_argument("--seed", type=int, default=None, help="for the same actions once more")
    parser.add_argument("--verbose", action="store_true", help="say what each round does")
    options = parser.parse_args()
    seed = int(time.time()) if options.seed is None else options.seed
    scratch = tempfile.TemporaryDirectory(prefix="qsuper-chaos-", dir="/var/tmp")
    with scratch as path:
        lab = Lab(Path(path))
        try:
            return _run(Campaign(lab, seed), options.rounds, seed, verbose=options.verbose)
        finally:
            lab.close()


def _run(campaign: Campaign, rounds: int, seed: int, *, verbose: bool) -> int:
    began_s = time.monotonic()
    number, failure = 0, ""
    for number in range(1, rounds + 1):
        try:
            what = campaign.round()
        except ViolationError as error:
            failure = str(error)
            break
        if verbose:
            print(f"{number:5} {time.monotonic() - began_s:7.1f} s  {what}", flush=True)
    for action, count in sorted(campaign.counts.items()):
        print(f"{count:6}  {action}")
    took_s = time.monotonic() - began_s
    print(f"{number} rounds in {took_s:.0f} s, seed {seed}: {1 if failure else 0} violations")
    if failure:
        print(f"round {number}: {failure}", file=sys.stderr)
    return 1 if failure else 0


if __name__ == "__main__":
    sys.exit(main())
