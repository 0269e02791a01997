"""Fixtures and options for all tests."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


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
