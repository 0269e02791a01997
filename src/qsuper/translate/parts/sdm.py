"""The objects of QEMUs that share memory and signal each other by themselves.

An unmerged series of 2016 has them: `multi-socket-backend`, `memory-backend-shared` and the signal
distribution module (`sdm-*`). Where all members that share a memory have them, they take the place
of what the supervisor does for other QEMUs.
"""

from collections.abc import Iterator
from typing import Final

from qsuper.caps import Caps
from qsuper.options import AtLaunch, Option, Props
from qsuper.translate.site import SharedRam

_TYPES: Final = (
    "multi-socket-backend",
    "memory-backend-shared",
    "sdm-communication-socket",
    "virtio-sdm-device",
)
_BOOT: Final = "sdm-boot"


def is_native(caps: Caps) -> bool:
    """Tell whether an emulator has all of them."""
    return caps.has_type(*_TYPES)


def ram_options(ram: SharedRam, *, ram_id: str | None, size_bytes: int, is_master: bool) -> Props:
    """Give the props of the main memory's object."""
    return {
        "qom-type": "memory-backend-shared",
        "id": ram_id,
        "size": size_bytes,
        "mem-path": f"/dev/shm/{ram.name}",  # noqa: S108 - QEMU itself makes it there
        "socket": _socket(ram),
        "master": True if is_master else None,
    }


def socket_option(ram: SharedRam, *, is_master: bool) -> Option:
    """Give the socket by which master and slaves find each other, in the master's directory."""
    name = f"{ram.name}.multi"
    path = name if is_master else f"../{ram.owner}/{name}"
    return Option.json(
        "object",
        {
            "qom-type": "multi-socket-backend",
            "id": _socket(ram),
            "path": AtLaunch(shown=f"/run/qsuper/domains/{ram.owner}/{name}", live=path),
            "listen": True if is_master else None,
        },
    )


def signal_options(ram: SharedRam, *, ram_id: str | None, is_master: bool) -> Iterator[Option]:
    """Give the boot signal, and the device by which the master's guest sends it."""
    comm = f"sdm-{ram.name}"
    signal = {"qom-type": "sdm-signal-shboot", "id": _BOOT, "shm": ram_id}
    yield Option.json("object", signal)
    socket = {"qom-type": "sdm-communication-socket", "id": comm, "socket": _socket(ram)}
    yield Option.json("object", socket)
    # No JSON: an array's property is one whose name has an index.
    device: Props = {
        "driver": "virtio-sdm-device",
        "comm": comm,
        "master": True if is_master else None,
        "num-slaves": len(ram.windows) if is_master else None,
        "len-signals": 1,
        "signals[0]": _BOOT,
    }
    yield Option.keyed("device", device, implied="driver")


def _socket(ram: SharedRam) -> str:
    return f"socket-{ram.name}"
