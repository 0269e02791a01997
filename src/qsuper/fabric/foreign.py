"""The descriptors of another process: which memories and eventfds it has, and taking them.

The kernel lets whoever may trace the process do so. Yama (kernel.yama.ptrace_scope) forbids to take
an eventfd where we are not the parent, and lets us open a memory all the same.

pidfd_getfd by ctypes, as inotify (docs/decisions/0003).

Import budget: the standard library.
"""

import contextlib
import ctypes
import errno
import os
import select
from typing import Final, NamedTuple

from qsuper.fabric.ledger import EVENTFD, Identity, MemoryId, eventfd_id, identity_of
from qsuper.fabric.memory import HOST_DIR

_PIDFD_GETFD: Final = 438  # on all architectures
_OPEN_FLAGS: Final = os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK  # should it be a pipe by now
_MEMORY: Final = ("/memfd:", f"{HOST_DIR}/")
"""How the links to memories begin; nothing else is looked at."""


class Holder(NamedTuple):
    """A process that may have what we look for."""

    name: str
    """The domain's."""
    pid: int
    pidfd: int

    @property
    def is_alive(self) -> bool:
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        return not poll.poll(0)

    def descriptors(self) -> dict[Identity, int]:
        """Give the numbers of its memories and eventfds.

        Raises:
            OSError: we may not look, or it has ended.
        """
        found: dict[Identity, int] = {}
        for number in map(int, os.listdir(f"/proc/{self.pid}/fd")):
            try:
                identity = self._identity(number)
            except FileNotFoundError:
                continue  # it was closed meanwhile
            if identity is not None:
                found[identity] = number
        return found

    def _identity(self, number: int) -> Identity | None:
        path = f"/proc/{self.pid}/fd/{number}"
        target = os.readlink(path)
        if target == EVENTFD:
            return eventfd_id(f"/proc/{self.pid}/fdinfo/{number}")
        return MemoryId.of(os.stat(path)) if target.startswith(_MEMORY) else None

    def take(self, number: int, identity: Identity) -> int:
        """Give a descriptor of our own for one of its.

        Raises:
            OSError: we may not, it has ended, or its descriptor is another by now.
        """
        if isinstance(identity, MemoryId):
            descriptor = os.open(f"/proc/{self.pid}/fd/{number}", _OPEN_FLAGS)
        else:
            descriptor = _pidfd_getfd(self.pidfd, number)
        return _checked(descriptor, identity)


def opened_file(share: str, identity: Identity) -> int:
    """Open a memory that is a file for programs outside.

    Raises:
        OSError: it is not there, or is another by now.
    """
    path = os.path.join(HOST_DIR, share)
    return _checked(os.open(path, _OPEN_FLAGS | os.O_NOFOLLOW), identity)


def _checked(descriptor: int, identity: Identity) -> int:
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, descriptor)
        if identity_of(descriptor) != identity:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        stack.pop_all()
    return descriptor


def _pidfd_getfd(pidfd: int, number: int) -> int:
    """Duplicate a process' descriptor into ours; it is closed on exec."""
    syscall = ctypes.CDLL(None, use_errno=True).syscall
    syscall.restype = ctypes.c_long
    descriptor: int = syscall(
        ctypes.c_long(_PIDFD_GETFD), ctypes.c_int(pidfd), ctypes.c_int(number), ctypes.c_uint(0)
    )
    if descriptor < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return descriptor
