"""TCP ports for servers of QEMU's that take no socket from outside, such as SPICE's.

A port is free if it can be bound. QEMU binds it only later: until then, and as long as it lives, it
is kept by an abstract UNIX socket that is named for the port and that QEMU inherits. Like the port
itself that belongs to the network namespace, and it goes with the process, however that ends.
"""

import errno
import socket
from typing import Final, NamedTuple

from qsuper.errors import QsuperError
from qsuper.options import FreePort

_LAST: Final = 0xFFFF
_TAKEN: Final = frozenset({errno.EADDRINUSE, errno.EACCES})


class KeptPort(NamedTuple):
    """A port, and the descriptor that keeps it."""

    port: int
    descriptor: int


def keep_port(wanted: FreePort) -> KeptPort:
    """Find the first port that is free, and keep it.

    Raises:
        QsuperError: there is none, or the address is not this host's.
    """
    try:
        family, _, _, _, place = socket.getaddrinfo(
            wanted.address, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        for port in range(wanted.first, _LAST + 1):
            with socket.socket(socket.AF_UNIX) as keeper, socket.socket(family) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as QEMU does
                is_kept = _bound(keeper, f"\0qsuper-port-{port}")
                if is_kept and _bound(probe, (place[0], port, *place[2:])):
                    return KeptPort(port, keeper.detach())
    except OSError as error:
        raise QsuperError(f"{wanted.address}: {error.strerror}") from error
    raise QsuperError(f"{wanted.address}: no port from {wanted.first} on is free")


def _bound(listener: socket.socket, address: str | tuple[object, ...]) -> bool:
    try:
        listener.bind(address)
    except OSError as error:
        if error.errno not in _TAKEN:
            raise
        return False
    return True
