"""Shared memory as a file: as long as the memory, with holes where nothing was ever written.

Import budget: the standard library; QEMUs are spawned before trio is loaded.
"""

import errno
import os
from collections.abc import Iterator

from qsuper.errors import QsuperError


def write(descriptor: int, path: str) -> None:
    """Copy a memory to a new file.

    Raises:
        OSError: there is such a file, or no space.
    """
    size_bytes = os.fstat(descriptor).st_size
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    target = os.open(path, flags, 0o600)
    try:
        os.ftruncate(target, size_bytes)
        _copy(descriptor, target, size_bytes)
    finally:
        os.close(target)


def fill(descriptor: int, path: str) -> None:
    """Give a new memory the content of a file.

    Raises:
        QsuperError: the file cannot be read, or has another size.
    """
    size_bytes = os.fstat(descriptor).st_size
    try:
        source = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise QsuperError(f"{path}: {error.strerror}") from error
    try:
        if (found := os.fstat(source).st_size) != size_bytes:
            raise QsuperError(f"{path}: {found} bytes; the memory has {size_bytes}")
        _copy(source, descriptor, size_bytes)
    except OSError as error:
        raise QsuperError(f"{path}: {error.strerror}") from error
    finally:
        os.close(source)


def _copy(source: int, target: int, size_bytes: int) -> None:
    for begin, end in _extents(source, size_bytes):
        at = os.lseek(target, begin, os.SEEK_SET)
        while at < end:
            if not (done := os.sendfile(target, source, at, end - at)):
                raise OSError(errno.EIO, "the file has become shorter")
            at += done


def _extents(descriptor: int, size_bytes: int) -> Iterator[tuple[int, int]]:
    """Give where there is data: begin and end, in bytes."""
    end = 0
    while end < size_bytes:
        try:
            begin = os.lseek(descriptor, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole
                return
            raise
        end = os.lseek(descriptor, begin, os.SEEK_HOLE)
        yield begin, end
