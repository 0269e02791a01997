"""systemd's readiness protocol, sd_notify(3)."""

import contextlib
import os
import socket


def notify(*lines: str) -> None:
    """Tell systemd, where it started us, how we are: `READY=1`, `STATUS=...`, `STOPPING=1`."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    name = "\0" + address[1:] if address[0] == "@" else address
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client, contextlib.suppress(OSError):
        client.sendto("\n".join(lines).encode(), name)
