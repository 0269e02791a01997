"""Fixtures and options for all tests."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.support.orphans import end_all

ROOT = Path(__file__).parent.parent


# A busy machine is no fault of what is tested.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--regenerate", action="store_true", help="rewrite the expected files")


@pytest.fixture
def regenerate(request: pytest.FixtureRequest) -> bool:
    """Whether to rewrite golden files instead of comparing with them."""
    return bool(request.config.getoption("--regenerate"))


@pytest.fixture(scope="session")
def corpus() -> Path:
    """The reference corpus beside the checkout, or where QSUPER_CORPUS says."""
    path = Path(os.environ.get("QSUPER_CORPUS", ROOT.parent / "shared" / "corpus"))
    if not path.is_dir():
        pytest.skip("no reference corpus here")
    return path


@pytest.fixture
def nothing_left(rundir: Path) -> Iterator[None]:
    """Nothing runs on that a test has left without a supervisor."""
    yield
    end_all(rundir)
