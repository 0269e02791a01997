"""Whole domains beside their command lines; `pytest --regenerate` rewrites those."""

from pathlib import Path

import pytest

from qsuper.translate.node import parse_xml
from qsuper.translate.passes import translate
from qsuper.translate.site import HostData
from tests.support.emulators import emulator

DOMAINS = sorted((Path(__file__).parents[1] / "domains").glob("*.xml"))


def command_line(path: Path) -> str:
    """Give the command line, one option a line."""
    root = parse_xml(path.read_bytes(), path.name, "/vm")
    kind = root.required_child("os").required_child("type")
    caps = emulator(kind.get("arch") or "x86_64")
    plan = translate(root, caps, HostData(machine_id="m")).plan
    return "".join(" ".join(option.argv()) + "\n" for option in plan.options)


@pytest.mark.parametrize("path", DOMAINS, ids=lambda path: path.stem)
def test_command_line(path: Path, regenerate: bool) -> None:
    """The domain gives the command line that stands beside it."""
    actual, expected = command_line(path), path.with_suffix(".args")
    if regenerate:
        expected.write_text(actual)
    assert actual == expected.read_text()
