"""A lab for each test, where domains are started; nothing may be left of any."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.lab import Lab
from tests.support.seen import Boots


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the emulators have said, for all tests."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def boot(tmp_path: Path, cache: Path) -> Iterator[Boots]:
    """Give what starts a domain; the test fails if something of it outlives the test."""
    lab = Lab(tmp_path, cache)
    try:
        yield Boots(lab)
        lab.assert_nothing_left()
    finally:
        lab.close()
