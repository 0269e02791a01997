"""What has to be mended in a state that QEMU wrote without shared memory.

With `x-ignore-shared` QEMU leaves shared memory out, says where each block of it is mapped, and
takes the state back only where that is so already. A PCI device's memory is not: it is mapped a
moment later, by that very state. In a QEMU that has just been started its address is 0, so that is
what we have the state say.

Source: QEMU docs/devel/migration: a stream has sections, of which "ram" is the first that is long;
it begins with the blocks: the length of the name (a byte), the name, the size and the address (big
endian, 8 bytes each), until the sizes make up the total that stands before them.
"""

import os
import struct
from collections.abc import Callable
from typing import Final

_RAM: Final = b"\x03ram" + struct.pack(">II", 0, 4)
"""The name of the section, its instance and its version."""
_LOOK_AT_BYTES: Final = 1 << 20
_NUMBER: Final = struct.Struct(">Q")
_FLAGS: Final = 0x3FF  # below the smallest page
_HAS_SIZES: Final = 0x04


def unmap(descriptor: int, is_unmapped: Callable[[str], bool]) -> None:
    """Have a state say that blocks are mapped nowhere yet.

    Args:
        descriptor: The state's file, for reading and writing.
        is_unmapped: Tells by a block's name whether it is one of those.

    Raises:
        ValueError: it is no state of the form that is known here; it was left as it is.
    """
    content = os.pread(descriptor, _LOOK_AT_BYTES, 0)
    try:
        found = _addresses(content)
    except (struct.error, IndexError) as error:
        raise ValueError("QEMU's state has no list of memory blocks") from error
    for name, at in found.items():
        if is_unmapped(name):
            os.pwrite(descriptor, _NUMBER.pack(0), at)


def _addresses(content: bytes) -> dict[str, int]:
    """Give where in the state each block's address stands."""
    if (at := content.find(_RAM)) < 0:
        raise ValueError("QEMU's state has no memory")
    at += len(_RAM)
    (left,) = _NUMBER.unpack_from(content, at)
    if left & _FLAGS != _HAS_SIZES:
        raise ValueError("QEMU's state has no list of memory blocks")
    left -= _HAS_SIZES
    at += _NUMBER.size
    found: dict[str, int] = {}
    while left > 0:
        length = content[at]
        name = content[at + 1 : at + 1 + length].decode(errors="replace")
        at += 1 + length
        (size,) = _NUMBER.unpack_from(content, at)
        found[name] = at + _NUMBER.size
        at += 2 * _NUMBER.size
        left -= size
    if left:
        raise ValueError("QEMU's state has a list of memory blocks that does not add up")
    return found
