"""`qsuper doctor`."""

import argparse

from qsuper.cli import text
from qsuper.errors import QsuperError
from qsuper.host.health import Finding, Health, findings


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `doctor`."""
    text.add_format(parser)


def run(args: argparse.Namespace) -> int:
    """Show what the host has and lacks; fail where something is broken."""
    found = list(findings())
    is_sound = all(each.health is not Health.BROKEN for each in found)
    if args.format == "json":
        print(text.document({"sound": is_sound, "findings": [_row(each) for each in found]}))
    else:
        rows = [(each.check, each.health.value, _words(each)) for each in found]
        print(text.table(("Check", "Health", "Found"), rows))
    return 0 if is_sound else QsuperError.exit_status


def _row(finding: Finding) -> dict[str, str]:
    return {
        "check": finding.check,
        "health": finding.health.value,
        "found": finding.found,
        "mend": finding.mend,
    }


def _words(finding: Finding) -> str:
    return finding.found + (f" ({finding.mend})" if finding.mend else "")
