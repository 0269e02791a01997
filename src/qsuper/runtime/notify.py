"""systemd's service protocol: sd_notify(3), sd_watchdog_enabled(3).

The variables that systemd sets for it are the supervisor's alone: see `runtime.process`.
"""

import contextlib
import os
import socket
from typing import Final

import trio

_PINGS: Final = 3  # in the time that systemd allows
_GREETING_BYTES: Final = 256


def notify(*lines: str) -> None:
    """Tell systemd, where it started us, how we are: `READY=1`, `STATUS=...`, `STOPPING=1`."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    name = "\0" + address[1:] if address[0] == "@" else address
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client, contextlib.suppress(OSError):
        client.setblocking(False)  # noqa: FBT003 - as socket names it
        client.sendto("\n".join(lines).encode(), name)


def watchdog_s() -> float | None:
    """Give the time within which systemd wants to hear of us; None where it does not."""
    try:
        usec = int(os.environ["WATCHDOG_USEC"])
        pid = int(os.environ.get("WATCHDOG_PID") or os.getpid())
    except (KeyError, ValueError):
        return None
    return usec / 1_000_000 if usec > 0 and pid == os.getpid() else None


async def ping_watchdog(control: str) -> None:
    """Send WATCHDOG=1 as long as the supervisor can serve a client; return where nobody asks.

    That this task runs shows that the loop turns; that the control socket greets, that a command
    would be heard. A supervisor that is stuck falls silent, and systemd replaces it.

    Args:
        control: The path of the control socket, short enough for a socket.
    """
    if (within_s := watchdog_s()) is None:
        return
    pause_s = within_s / _PINGS
    while True:
        with trio.move_on_after(pause_s):
            if await _greets(control):
                notify("WATCHDOG=1")
        await trio.sleep(pause_s)


async def _greets(control: str) -> bool:
    try:
        async with await trio.open_unix_socket(control) as client:
            return bool(await client.receive_some(_GREETING_BYTES))
    except (OSError, trio.BrokenResourceError):
        return False
