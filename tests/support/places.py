"""File systems with little room."""

import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small(path: Path, limit: str) -> Generator[Path]:
    """Make *path* a file system of its own, with *limit* as tmpfs takes it: `size=16k`."""
    path.mkdir(mode=0o700)
    mount = ["mount", "-t", "tmpfs", "-o", f"{limit},mode=0700", "qsuper-test", str(path)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        path.rmdir()
        pytest.skip("may not mount here")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)
        path.rmdir()
