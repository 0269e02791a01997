"""Plain text and JSON for the verbs' answers.

Import budget: json.
"""

from __future__ import annotations

import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any, TypeAlias

    Json: TypeAlias = Any
else:
    Json = object  # what imports it needs it for annotations alone


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Lay out rows in aligned columns, two blanks apart, with no blanks at the ends."""
    lines = [header, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def pairs(values: Mapping[str, str]) -> str:
    """Lay out `key: value` lines with the values aligned."""
    width = max((len(key) for key in values), default=0) + 1
    return "\n".join(f"{key + ':':{width}}  {value}".rstrip() for key, value in values.items())


def document(content: Mapping[str, object]) -> str:
    """Write an answer for programs: one JSON document with the version of its form."""
    return json.dumps({"version": 1, **content}, indent=2)


def add_format(parser: argparse.ArgumentParser, *more: str) -> None:
    """Add `--format`, with `plain`, `json` and *more*."""
    parser.add_argument(
        "--format",
        choices=("plain", "json", *more),
        default="plain",
        help="plain text (default), or JSON for programs",
    )
