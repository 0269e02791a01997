"""A short run of the fault campaign."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.qemu
def test_twenty_rounds() -> None:
    """Supervisors, members and commands are killed, and every invariant holds."""
    done = subprocess.run(
        [sys.executable, "-m", "scripts.campaign", "--rounds", "20", "--verbose"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "20 rounds" in done.stdout
    assert "0 violations" in done.stdout
