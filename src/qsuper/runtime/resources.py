"""What QEMU inherits: each resource of a launch plan becomes a descriptor."""

import contextlib
import os
import stat
from collections.abc import Generator, Iterable, Mapping
from typing import Final, assert_never

from qsuper.errors import QsuperError, UnavailableError
from qsuper.fabric.group import Fabric
from qsuper.options import (
    Access,
    Doorbell,
    FreePort,
    HelperLink,
    OpenFile,
    Readiness,
    Resource,
    SharedMemory,
    Tap,
    UnixListener,
    VhostNet,
)
from qsuper.runtime import rundir
from qsuper.runtime.ports import keep_port
from qsuper.runtime.tap import open_tap

_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_NOCTTY | os.O_NONBLOCK
"""A FIFO that nobody reads is an error, and keeps no supervisor waiting."""
_OPEN_FLAGS: Final = {
    Access.READ: os.O_RDONLY,
    Access.WRITE: _NEW | os.O_TRUNC,
    Access.APPEND: _NEW | os.O_APPEND,
    Access.READ_WRITE: os.O_RDWR | os.O_CREAT,
    Access.DEVICE: os.O_RDWR,
}


class Directories:
    """Where a domain's relative paths lead."""

    def __init__(self, runtime: str, state: str) -> None:
        """Take the domain's runtime and state directories."""
        self.runtime = runtime
        self.state = state


class Inherited:
    """Open descriptors, their numbers by the names of resources, and the sockets made for them."""

    def __init__(self, directories: Directories, fabric: Fabric, member: str) -> None:
        """Start without any."""
        self.descriptors: list[int] = []
        """What QEMU is to inherit."""
        self.numbers: dict[str, int] = {}
        self.sockets: list[str] = []
        """Paths outside the domain's directory, to be removed when it has ended."""
        self.links: dict[str, int] = {}
        """Ends of connections with helpers, by name, until QEMU gets them."""
        self._directories = directories
        self._fabric = fabric
        self._member = member

    def open(self, resources: Iterable[Resource]) -> Mapping[str, int]:
        """Open all of them.

        Raises:
            QsuperError: one cannot be made. Those made before stay until `close`.
        """
        wanted = list(resources)
        queues = [tap.ifname for tap in wanted if isinstance(tap, Tap)]
        for resource in wanted:
            match resource:
                case UnixListener():
                    number = self._listener(resource)
                case OpenFile():
                    number = opened(os.path.join(self._directories.state, resource.path), resource)
                case SharedMemory():
                    number = os.dup(self._fabric.memory(resource))
                case Doorbell():
                    number = self._fabric.attach(self._member, resource).detach()
                case Tap():
                    multi_queue = queues.count(resource.ifname) > 1
                    number = open_tap(resource, multi_queue=multi_queue)
                case VhostNet():
                    number = _vhost_net()
                case FreePort():
                    kept = keep_port(resource)
                    self.descriptors.append(kept.descriptor)
                    self.numbers[resource.name] = kept.port
                    continue
                case HelperLink() | Readiness():
                    number = self.links.pop(resource.name)
                case _:
                    assert_never(resource)
            self.descriptors.append(number)
            self.numbers[resource.name] = number
        return self.numbers

    def close(self) -> None:
        """Close our ends, once QEMU has its own."""
        for number in (*self.descriptors, *self.links.values()):
            os.close(number)
        self.descriptors.clear()
        self.links.clear()

    def _listener(self, resource: UnixListener) -> int:
        path = resource.path or os.path.join(self._directories.runtime, f"{resource.name}.sock")
        listener = rundir.bind_listener(path)
        if os.path.dirname(path) != self._directories.runtime:
            self.sockets.append(path)
        return listener.detach()


@contextlib.contextmanager
def inherited(directories: Directories, fabric: Fabric, member: str) -> Generator[Inherited]:
    """Give a place for descriptors that are closed at the end; sockets go if it fails."""
    place = Inherited(directories, fabric, member)
    try:
        yield place
    except BaseException:
        for path in place.sockets:
            rundir.remove_socket(path)
        raise
    finally:
        place.close()


def opened(path: str, resource: OpenFile) -> int:
    """Open a file for a process to inherit.

    Raises:
        QsuperError: it cannot be opened, or is a directory.
    """
    try:
        descriptor = os.open(path, _OPEN_FLAGS[resource.access], 0o600)
    except OSError as error:
        raise QsuperError(f"{path}: {error.strerror}") from error
    if stat.S_ISDIR(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise QsuperError(f"{path}: is a directory")
    os.set_blocking(descriptor, True)
    return descriptor


def _vhost_net() -> int:
    try:
        return os.open("/dev/vhost-net", os.O_RDWR)
    except OSError as error:
        raise UnavailableError(f"/dev/vhost-net: {error.strerror}") from error
