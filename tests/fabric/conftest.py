"""Fixtures for the tests of the fabric."""

from pathlib import Path

import pytest


@pytest.fixture
def rundir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An own RUNTIME and STATE, so that no test sees another's domains."""
    runtime = tmp_path / "run"
    monkeypatch.setenv("QSUPER_RUNTIME_DIR", str(runtime))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return runtime
