"""Commands that only talk to a running supervisor load little, and so start fast."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {
    "asyncio", "ctypes", "dataclasses", "inspect", "logging", "lxml", "pathlib", "psutil", "qemu",
    "shutil", "subprocess", "tempfile", "trio",
}  # fmt: skip
CODE = """
import sys
from qsuper.cli.main import main
before = set(sys.modules)
main(sys.argv[1:])
print(*sys.modules)
"""


@pytest.mark.parametrize(
    "words",
    [
        ["list"],
        ["list", "--format", "json"],
        ["suspend", "ghost"],
        ["resume", "ghost"],
        ["destroy", "ghost"],
        ["down", "--all"],
        ["info", "ghost"],
        ["qmp", "ghost", "query-status"],
        ["console", "ghost"],
        ["events", "ghost"],
        ["logs", "ghost"],
        ["up", "-d", "--wait", "ghost.xml"],
    ],
    ids=" ".join,
)
def test_imports_nothing_heavy(words: list[str], rundir: Path) -> None:
    """Counting modules is exact, where a stopwatch is not."""
    loaded = _loaded(words)

    assert "qsuper.cli.main" in loaded
    assert HEAVY & loaded == set()


@pytest.mark.parametrize("verb", ["list", "suspend", "resume", "shutdown", "reset", "destroy"])
def test_loads_little_to_steer(verb: str, rundir: Path) -> None:
    """What is typed again and again, or run from scripts, does without `typing` and the like."""
    words = [verb] if verb == "list" else [verb, "ghost"]

    assert {"linecache", "msgspec", "traceback", "typing"} & _loaded(words) == set()


def _loaded(words: list[str]) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-S", "-c", CODE, *words],  # -S: what site loads is not ours
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2] / "src")},
    )
    return set(done.stdout.split())
