"""A lab for each test; after each, nothing may be left of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.lab import Lab


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the emulators have said, for all tests."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def lab(tmp_path: Path, cache: Path) -> Iterator[Lab]:
    """Give a lab; the test fails if something of it outlives the test."""
    lab = Lab(tmp_path, cache)
    try:
        yield lab
        lab.assert_nothing_left()
    finally:
        lab.close()
