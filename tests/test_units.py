"""Quantities."""

import pytest

from qsuper.units import to_bytes


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (1, "KiB", 1024),
        (1, "k", 1024),
        (1, "KB", 1000),
        (3, "MiB", 3 << 20),
        (3, "m", 3 << 20),
        (2, "GB", 2_000_000_000),
        (1, "TiB", 1 << 40),
        (7, "b", 7),
        (7, "bytes", 7),
        (1, "PiB", 1 << 50),
        (1, "EiB", 1 << 60),
    ],
)
def test_units(value: int, unit: str, expected: int) -> None:
    assert to_bytes(value, unit) == expected


@pytest.mark.parametrize(("value", "unit"), [(-1, "KiB"), (1, "parsec"), (1, "")])
def test_nonsense_is_refused(value: int, unit: str) -> None:
    with pytest.raises(ValueError, match=r"negative|unknown unit"):
        to_bytes(value, unit)
