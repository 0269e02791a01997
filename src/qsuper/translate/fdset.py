"""Files of the host by `-add-fd`: opened for QEMU, which finds them as `/dev/fdset/N`."""

import zlib
from collections.abc import Iterator
from typing import Final

from qsuper.options import Access, Handle, OpenFile, Option

_FIRST: Final = 1 << 16  # smaller ones are the supervisor's
_COUNT: Final = 1 << 30  # QEMU takes up to 1 << 31; wide, so that no two names get the same


def fdset_path(name: str) -> str:
    """Give the path by which QEMU finds the file that was opened as *name*."""
    return f"/dev/fdset/{_number(name)}"


def fdset_options(name: str, path: str, access: Access = Access.DEVICE) -> Iterator[Option]:
    """Give the option that hands over the file at *path*; *name* is unique in the domain."""
    device = OpenFile(name=name, path=path, access=access)
    handle = Handle(resource=device, shown=f"<{path}>")
    yield Option.keyed("add-fd", {"set": _number(name), "fd": handle, "opaque": name})


def _number(name: str) -> int:
    return _FIRST + zlib.crc32(name.encode()) % _COUNT
