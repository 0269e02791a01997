"""`scripts/demo` passes, also after a run that was killed."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SUCCESS = "qsuper demo: every check passed"

pytestmark = pytest.mark.qemu


@contextlib.contextmanager
def demo() -> Generator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, ROOT / "scripts" / "demo.py"], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


def test_demo_after_one_that_was_killed() -> None:
    with demo() as killed:
        assert killed.stdout
        while "counts on its serial port" not in killed.stdout.readline():
            assert killed.poll() is None
        os.kill(killed.pid, signal.SIGKILL)
    with demo() as process:
        output, _ = process.communicate(timeout=150)
    assert process.returncode == 0, output
    assert "ending what an earlier run left" in output
    assert output.splitlines()[-1] == SUCCESS
