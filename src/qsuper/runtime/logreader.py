"""Reading a log file that `runtime.rotation` keeps small, over all of its pieces.

A position counts all bytes ever written, so that it stays right whatever is cut off meanwhile.
Import budget: os and fcntl; `qsuper logs` loads this.
"""

import contextlib
import fcntl
import os
from collections.abc import Generator
from typing import Final

_CHUNK_BYTES: Final = 1 << 16


class LogReader:
    """A log file with what was cut off it and is still there."""

    def __init__(self, path: str) -> None:
        """Open it, at its end.

        Raises:
            OSError: it cannot be opened.
        """
        self.path = path
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.position = self.span()[1]
        """Of what is read next."""

    def fileno(self) -> int:
        return self._fd

    def close(self) -> None:
        os.close(self._fd)

    def span(self) -> tuple[int, int]:
        """Give the positions of the first byte that is still there, and behind the last one."""
        with self._locked():
            base = self._base()
            return base - sum(self._pieces()), base + os.fstat(self._fd).st_size

    def read(self, most_bytes: int = _CHUNK_BYTES) -> bytes:
        """Read on from `position`; nothing where there is no more yet.

        Who comes too late for what was cut off goes on with what is still there.
        """
        with self._locked():
            base = self._base()
            if self.position >= base:
                chunk = self._current(base, most_bytes)
            else:
                chunk = self._rotated(base, most_bytes)
        self.position += len(chunk)
        return chunk

    @contextlib.contextmanager
    def _locked(self) -> Generator[None]:
        fcntl.flock(self._fd, fcntl.LOCK_SH)
        try:
            yield
        finally:
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    def _current(self, base: int, most_bytes: int) -> bytes:
        if base + os.fstat(self._fd).st_size < self.position:
            self.position = base  # somebody has emptied it
        return os.pread(self._fd, most_bytes, self.position - base)

    def _rotated(self, base: int, most_bytes: int) -> bytes:
        end = base
        found: list[tuple[int, int, int]] = []
        for number, size in enumerate(self._pieces(), 1):
            found.append((end - size, end, number))
            end -= size
        for start, end, number in reversed(found):
            if self.position < end:
                self.position = max(self.position, start)
                with open(f"{self.path}.{number}", "rb") as file:
                    file.seek(self.position - start)
                    return file.read(min(most_bytes, end - self.position))
        self.position = base
        return self._current(base, most_bytes)

    def _pieces(self) -> list[int]:
        """Give the sizes of FILE.1, FILE.2, ..."""
        sizes: list[int] = []
        with contextlib.suppress(FileNotFoundError):
            while True:
                sizes.append(os.stat(f"{self.path}.{len(sizes) + 1}").st_size)
        return sizes

    def _base(self) -> int:
        try:
            with open(f"{self.path}.base", "rb") as file:
                return int(file.read(32))
        except (OSError, ValueError):
            return 0
