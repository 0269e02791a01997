"""What the translation says of what it does not take: its own words, from its source."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_REFUSAL: Final = re.compile(
    r"not supported|there can't be|no longer supported|is only|only .* has"
)


def messages(directory: Path, method: str) -> Iterator[tuple[str, str]]:
    """Give the module and text of every message made by *method*, `error` or `notice`.

    What is filled in at run time stands as `...`.
    """
    for path in sorted(directory.rglob("*.py")):
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call) and _is(call, method) and call.args:
                text = _text(call.args[0])
                if text:
                    yield path.stem, text


def refusals(directory: Path) -> Iterator[tuple[str, str]]:
    """Give the errors that say that something is not supported."""
    for module, text in messages(directory, "error"):
        if _REFUSAL.search(text):
            yield module, text


def _is(call: ast.Call, method: str) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else ""
    names = call.func.id if isinstance(call.func, ast.Name) else ""
    return name in (method, f"_{method}") or (method == "error" and names == "ConfigError")


def _text(part: ast.expr) -> str:
    if isinstance(part, ast.Constant):
        return str(part.value)
    if isinstance(part, ast.JoinedStr):
        return "".join(_text(each) for each in part.values)
    return "..."
