"""Log files that are kept small while others write to them.

Whoever writes (QEMU, with O_APPEND) holds its descriptor and never learns of it. What is cut off
the front of FILE goes to FILE.1, that to FILE.2, ..., and the last one goes. Read one after the
other, the oldest first, the files give the text without a gap, though a line may begin in one and
end in the next.

Where the file system can take a piece off the front of a file (`FALLOC_FL_COLLAPSE_RANGE`: ext4,
XFS), nothing is ever lost. Elsewhere the file is copied and emptied; what is written between the
two, some microseconds, is lost.

FILE.base has how many bytes have been cut off in all, so that a reader knows where it is. Whoever
cuts holds FILE's lock (`flock`), and readers share it (`runtime.logreader`).
"""

import contextlib
import ctypes
import errno
import fcntl
import os
import select
from typing import Final

from qsuper.plan import LogLimits

_COLLAPSE: Final = 0x08  # FALLOC_FL_COLLAPSE_RANGE, fallocate(2)
_CANNOT_COLLAPSE: Final = frozenset({errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EPERM})
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_PATIENCE_BYTES: Final = 16 << 20  # so much over its limit while a reader keeps its lock
_TRIES: Final = 20
_TRY_S: Final = 0.001  # many times what a read takes
_COPY_BYTES: Final = 1 << 20
_FLAGS: Final = os.O_CLOEXEC | os.O_NOFOLLOW


def rotate(path: str, limits: LogLimits) -> int:
    """Cut a log file down to its limit if it is over it; give its size then.

    On a full disk, what is cut off is not kept.

    Raises:
        OSError: it cannot be opened or shortened.
    """
    descriptor = os.open(path, os.O_RDWR | _FLAGS)
    try:
        size = os.fstat(descriptor).st_size
        while size > limits.max_bytes and _cut(path, descriptor, limits):
            before, size = size, os.fstat(descriptor).st_size
            if size >= before:
                break  # it grows faster than it can be cut: at the next look again
        return size
    finally:
        os.close(descriptor)


def base_of(path: str) -> int:
    """Give how many bytes have been cut off a log file."""
    try:
        with open(f"{path}.base", "rb") as file:
            return int(file.read(32))
    except (OSError, ValueError):
        return 0


def _lock(descriptor: int, *, patiently: bool) -> bool:
    """Lock out the readers; one that was stopped while it read must not have the disk filled."""
    for _ in range(_TRIES):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        select.select((), (), (), _TRY_S)
    return not patiently


def _cut(path: str, descriptor: int, limits: LogLimits) -> bool:
    """Take one piece off the front; False where a reader is in the way."""
    found = os.fstat(descriptor)
    size, block = found.st_size, found.st_blksize
    piece = min(size, max(block, limits.max_bytes // block * block))
    is_kept = False
    if size > (limits.keep + 2) * max(piece, limits.max_bytes):  # written faster than looked at
        piece = (size - (limits.keep + 1) * limits.max_bytes) // block * block
    else:
        # What is not on the disk yet would be written there while nobody may write to the file.
        os.fdatasync(descriptor)
        is_kept = limits.keep > 0 and _copy(path, descriptor, 0, piece)
    if not _lock(descriptor, patiently=size <= limits.max_bytes + _PATIENCE_BYTES):
        return False
    try:
        if not (size > piece and _collapse(descriptor, piece)):
            size = os.fstat(descriptor).st_size
            start = piece if is_kept else max(0, size - limits.max_bytes)
            is_kept = limits.keep > 0 and _copy(path, descriptor, start, size, more=is_kept)
            os.ftruncate(descriptor, 0)
            piece = size
        _shift(path, limits, is_kept=is_kept)
        _note(path, piece)
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    return True


def _copy(path: str, descriptor: int, start: int, end: int, *, more: bool = False) -> bool:
    """Copy a part to FILE.new, or *more* to its end; False where the disk is full."""
    new = f"{path}.new"
    if not more:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(new)
    try:
        target = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_APPEND | _FLAGS, 0o600)
        try:
            while start < end:
                view = memoryview(os.pread(descriptor, min(_COPY_BYTES, end - start), start))
                start += len(view)
                while view:
                    view = view[os.write(target, view) :]
        finally:
            os.close(target)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(new)
        if error.errno not in _FULL:
            raise
        return False
    return True


def _shift(path: str, limits: LogLimits, *, is_kept: bool) -> None:
    """Make FILE.new FILE.1, FILE.1 FILE.2, ...

    Without a new one the old ones go: what stands in them does not join on to what follows.
    """
    with contextlib.suppress(FileNotFoundError):
        number = limits.keep if is_kept else 1
        while True:  # more of them where the limit was higher
            os.unlink(f"{path}.{number}")
            number += 1
    if is_kept:
        for number in range(limits.keep, 1, -1):
            with contextlib.suppress(FileNotFoundError):
                os.replace(f"{path}.{number - 1}", f"{path}.{number}")
        os.replace(f"{path}.new", f"{path}.1")


def _note(path: str, cut_bytes: int) -> None:
    """Add to what FILE.base says, in place: that needs no room on a full disk."""
    total = base_of(path) + cut_bytes
    with contextlib.suppress(OSError):
        descriptor = os.open(f"{path}.base", os.O_WRONLY | os.O_CREAT | _FLAGS, 0o600)
        try:
            os.pwrite(descriptor, b"%020d\n" % total, 0)
        finally:
            os.close(descriptor)


def _collapse(descriptor: int, length: int) -> bool:
    libc = ctypes.CDLL(None, use_errno=True)
    where = ctypes.c_int64(0)
    if libc.fallocate(descriptor, _COLLAPSE, where, ctypes.c_int64(length)) == 0:
        return True
    number = ctypes.get_errno()
    if number in _CANNOT_COLLAPSE or number in _FULL:
        return False
    raise OSError(number, os.strerror(number))
