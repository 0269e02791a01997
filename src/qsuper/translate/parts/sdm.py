"""The objects of QEMUs that share memory and signal each other by themselves.

An unmerged series of 2016 has them: `multi-socket-backend`, `memory-backend-shared` and the signal
distribution module (`sdm-*`). Where all members that share a memory have them, they take the place
of what the supervisor does for other QEMUs.

They are written as in the series, `KEY=VALUE` and no JSON: `-object` takes JSON since QEMU 6.0
only, and an array's property by index (`signals[0]=`) cannot be said in it. Its bare `listen` and
`master` are `=on`, as every QEMU has understood it; later ones complain of the bare word.
"""

from collections.abc import Iterator
from typing import Final

from qsuper.caps import Caps
from qsuper.errors import ConfigError
from qsuper.options import AtLaunch, Handle, Option, Props
from qsuper.plan import Meeting
from qsuper.translate.node import Node
from qsuper.translate.site import SharedRam

_TYPES: Final = (
    "multi-socket-backend",
    "memory-backend-shared",
    "sdm-communication-socket",
    "virtio-sdm-device",
)
_BOOT: Final = "sdm-boot"
_GROUP: Final = "group"
"""The group's directory, seen from a domain's."""
_LONGEST_PATH: Final = 107  # sockaddr_un.sun_path, less its NUL


def is_native(caps: Caps) -> bool:
    """Tell whether an emulator has all of them."""
    return caps.has_type(*_TYPES)


def problems(node: Node, ram: SharedRam) -> Iterator[ConfigError]:
    """Give what is wrong with a memory that QEMUs share by themselves."""
    most = _LONGEST_PATH - len(f"{_GROUP}/{_file('')}")
    if len(ram.name.encode()) > most:
        yield node.error("the name is too long for a socket's", hint=f"{most} bytes at most")


def meeting(ram: SharedRam, *, is_master: bool) -> Meeting:
    """Give where slaves find the master, whose QEMU listens."""
    return Meeting(directory=_GROUP, prefix=_file(ram.name), is_host=is_master)


def ram_options(
    ram: SharedRam, path: Handle, *, ram_id: str | None, size_bytes: int, is_master: bool
) -> Iterator[Option]:
    """Give the socket by which master and slaves find each other, and the main memory."""
    name = _file(ram.name)
    socket: Props = {
        "qom-type": "multi-socket-backend",
        "id": _socket(ram),
        "path": AtLaunch(shown=f"/tmp/{name}", live=f"{_GROUP}/{name}"),  # noqa: S108 - to be pasted
        "listen": True if is_master else None,
    }
    yield Option.keyed("object", socket, implied="qom-type")
    memory: Props = {
        "qom-type": "memory-backend-shared",
        "id": ram_id,
        "size": size_bytes,
        "mem-path": path,
        "socket": _socket(ram),
        "master": True if is_master else None,
    }
    yield Option.keyed("object", memory, implied="qom-type")


def signal_options(
    ram: SharedRam, *, ram_id: str | None, slaves: int, is_master: bool
) -> Iterator[Option]:
    """Give the boot signal, and the device by which the master's guest sends it."""
    comm = f"sdm-{ram.name}"
    signal = {"qom-type": "sdm-signal-shboot", "id": _BOOT, "shm": ram_id}
    yield Option.keyed("object", signal, implied="qom-type")
    socket = {"qom-type": "sdm-communication-socket", "id": comm, "socket": _socket(ram)}
    yield Option.keyed("object", socket, implied="qom-type")
    device: Props = {
        "driver": "virtio-sdm-device",
        "comm": comm,
        "master": True if is_master else None,
        "num-slaves": slaves,
        "len-signals": 1,
        "signals[0]": _BOOT,
    }
    yield Option.keyed("device", device, implied="driver")


def _socket(ram: SharedRam) -> str:
    return f"socket-{ram.name}"


def _file(name: str) -> str:
    return f"{name}.multi"
