"""The shape of the source tree."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MOST_LINES = 400
MODULES = sorted(path for top in ("src", "tests", "scripts") for path in (ROOT / top).rglob("*.py"))


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_holds_one_thing(module: Path) -> None:
    """A file that grows past 400 lines holds two things: split it."""
    assert len(module.read_text().splitlines()) <= MOST_LINES


def test_type_information_is_shipped() -> None:
    assert (ROOT / "src" / "qsuper" / "py.typed").exists()
