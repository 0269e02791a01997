"""The shared memory of a group: sealed memfds, or files in /dev/shm for programs outside.

Import budget: the standard library; QEMUs are spawned before trio is loaded.
"""

import contextlib
import fcntl
import os
from collections.abc import Mapping
from typing import Final

from qsuper.errors import QsuperError
from qsuper.fabric import image
from qsuper.fabric.ledger import MemoryId

HOST_DIR: Final = "/dev/shm"  # noqa: S108 - where shm_open(3) looks; made exclusively, mode 0600

# Nobody may resize it: to its users a truncation is a SIGBUS.
_SEALS: Final = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


class Shares:
    """The shared memory of a group, by name; it lives until closed, whoever maps it."""

    def __init__(self, contents: Mapping[str, str] | None = None) -> None:
        """Start without any; *contents*: files that some begin with the content of, by name."""
        self._contents = contents or {}
        self._memory: dict[str, int] = {}
        self._files: dict[str, MemoryId | None] = {}
        """By path: which file is ours to remove; None: whichever is there."""

    def __contains__(self, share: str) -> bool:
        return share in self._memory

    def __getitem__(self, share: str) -> int:
        return self._memory[share]

    def take(self, share: str, descriptor: int) -> None:
        """Take a memory that another process had made."""
        self._memory[share] = descriptor

    def leave(self, share: str, identity: MemoryId | None) -> None:
        """Let a memory's file be until the end, and remove it then.

        Args:
            share: Its name.
            identity: Of the file that is ours, where that is known.
        """
        self._files[os.path.join(HOST_DIR, share)] = identity

    def memory(self, share: str, size_bytes: int, *, on_host: bool = False) -> int:
        """Give the descriptor of a memory, made at the first call.

        Args:
            share: Its name.
            size_bytes: Its size, for ever.
            on_host: Make it as /dev/shm/*share*, for programs outside the group.

        Raises:
            QsuperError: it exists with another size, there is no memory, the file exists, or what
                it begins with cannot be read.
        """
        if share not in self._memory:
            self._memory[share] = (
                self._file(share, size_bytes) if on_host else _memfd(share, size_bytes)
            )
            if share in self._contents:
                image.fill(self._memory[share], self._contents[share])
        descriptor = self._memory[share]
        if (found := os.fstat(descriptor).st_size) != size_bytes:
            raise QsuperError(
                f"shared memory {share!r}: one member wants {size_bytes} bytes, another {found}"
            )
        return descriptor

    def write(self, share: str, path: str) -> None:
        """Copy a memory to a new file; errors as of `image.write`."""
        image.write(self._memory[share], path)

    @property
    def names(self) -> list[str]:
        """The memories that were made."""
        return list(self._memory)

    def close(self) -> None:
        """Give the memory back once no QEMU maps it; remove the files."""
        for descriptor in self._memory.values():
            os.close(descriptor)
        self._memory.clear()
        for path, identity in self._files.items():
            with contextlib.suppress(FileNotFoundError):
                if identity is None or identity.is_same(os.lstat(path)):
                    os.unlink(path)
        self._files.clear()

    def _file(self, share: str, size_bytes: int) -> int:
        path = os.path.join(HOST_DIR, share)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        try:
            descriptor = os.open(path, flags, 0o600)
        except FileExistsError:
            raise QsuperError(f"{path} exists already (remove it if nobody uses it)") from None
        except OSError as error:
            raise QsuperError(f"{path}: {error.strerror}") from error
        self._files[path] = MemoryId.of(os.fstat(descriptor))
        try:
            os.posix_fallocate(descriptor, 0, size_bytes)  # a full /dev/shm is a SIGBUS later
        except OSError as error:
            os.close(descriptor)
            raise QsuperError(f"{path}: {error.strerror}") from error
        return descriptor


def _memfd(share: str, size_bytes: int) -> int:
    try:
        descriptor = os.memfd_create(share, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    except (OSError, ValueError) as error:
        raise QsuperError(f"shared memory {share!r}: {error}") from error
    try:
        os.ftruncate(descriptor, size_bytes)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
    except OSError as error:
        os.close(descriptor)
        raise QsuperError(f"shared memory {share!r}: {error.strerror}") from error
    return descriptor
