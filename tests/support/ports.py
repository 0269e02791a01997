"""Places on this host where programs of a test meet."""

import socket
from pathlib import Path

from tests.support.supervised import PATIENCE_S


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """Give a port of 127.0.0.1 that nobody uses."""
    with socket.socket(socket.AF_INET, kind) as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def listening(path: Path) -> socket.socket:
    """Listen on a UNIX socket."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()
    server.settimeout(PATIENCE_S)
    return server
