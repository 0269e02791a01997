"""Fixtures for the tests of the command line."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from qsuper.cli.main import main
from qsuper.plan import Member
from tests.support.supervisors import Supervisor


@pytest.fixture
def rundir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An own RUNTIME, STATE, CACHE and CONFIG, so that no test sees another's domains."""
    runtime = tmp_path / "run"
    monkeypatch.setenv("QSUPER_RUNTIME_DIR", str(runtime))
    for name in ("STATE", "CACHE", "CONFIG"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name.lower()))
    return runtime


@pytest.fixture
def supervise(rundir: Path) -> Iterator[Callable[..., Supervisor]]:
    """Start a supervisor for the members given; all are ended with the test."""
    supervisors: list[Supervisor] = []

    def start(*members: Member) -> Supervisor:
        supervisors.append(Supervisor(*members))
        return supervisors[-1]

    yield start
    for supervisor in supervisors:
        supervisor.end()


@pytest.fixture
def qsuper(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run a command in this process; give its status, output and errors."""

    def run(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main(words)
        said = capsys.readouterr()
        return status, said.out, said.err

    return run
