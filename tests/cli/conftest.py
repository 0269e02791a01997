"""Fixtures for the tests of the command line."""

from pathlib import Path

import pytest


@pytest.fixture
def rundir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An own RUNTIME, STATE, CACHE and CONFIG, so that no test sees another's domains."""
    runtime = tmp_path / "run"
    monkeypatch.setenv("QSUPER_RUNTIME_DIR", str(runtime))
    for name in ("STATE", "CACHE", "CONFIG"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name.lower()))
    return runtime
