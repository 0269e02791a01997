"""Waiting for files to grow, by Linux' inotify.

glibc's calls by ctypes: the packages that wrap them are unmaintained or bring their own event
loop, and three calls are all there is (docs/decisions/0003).
"""

import ctypes
import os
import struct
from collections.abc import Iterator
from typing import Final, Self

IN_MODIFY: Final = 0x2
IN_CREATE: Final = 0x100
IN_MOVED_TO: Final = 0x80

_EVENT: Final = struct.Struct("iIII")  # wd, mask, cookie, length of the name
_BUFFER_BYTES: Final = 65536


class Inotify:
    """An inotify instance. Wait until `fileno` is readable, then `read`; close it at the end."""

    def __init__(self) -> None:
        """Start without watches.

        Raises:
            OSError: too many instances.
        """
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._checked(self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def fileno(self) -> int:
        return self._fd

    def watch(self, path: str, mask: int = IN_MODIFY) -> int:
        """Watch a file or directory; give the number that `read` will tell.

        Raises:
            OSError: it is not there, or there are too many watches.
        """
        return self._checked(self._libc.inotify_add_watch(self._fd, os.fsencode(path), mask))

    def read(self) -> set[int]:
        """Give the watches for which something happened; none when nothing did."""
        try:
            return set(self._numbers(os.read(self._fd, _BUFFER_BYTES)))
        except BlockingIOError:
            return set()

    def close(self) -> None:
        """Give the instance back; its watches go with it."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    @staticmethod
    def _numbers(events: bytes) -> Iterator[int]:
        offset = 0
        while offset < len(events):
            number, _, _, length = _EVENT.unpack_from(events, offset)
            offset += _EVENT.size + length
            yield number

    @staticmethod
    def _checked(result: int) -> int:
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return result
