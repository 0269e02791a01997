"""The list of memory blocks in a state of QEMU's, as QEMU 7.2 and 10.0 write it."""

import struct
from pathlib import Path

import pytest

from qsuper.runtime import vmstate

BLOCKS = (
    ("pc.ram", 16 << 20, 0),
    ("0000:00:10.0/ivshmem.bar2", 4 << 20, 0xFE00_0000),
    ("0000:00:03.0/shmmem-shmem0", 1 << 20, 0xFD00_0000),
)


def state(blocks: tuple[tuple[str, int, int], ...], total: int | None = None) -> bytes:
    listed = b"".join(
        bytes([len(name)]) + name.encode() + struct.pack(">QQ", size, address)
        for name, size, address in blocks
    )
    total = sum(size for _, size, _ in blocks) if total is None else total
    head = b"QEVM" + struct.pack(">I", 3) + b"\x07" + struct.pack(">I", 6) + b"pc-7.2"
    section = b"\x01" + struct.pack(">I", 2) + b"\x03ram" + struct.pack(">II", 0, 4)
    return head + section + struct.pack(">Q", total | 4) + listed + b"\0" * 64


def unmapped(path: Path, content: bytes) -> bytes:
    path.write_bytes(content)
    with path.open("r+b") as file:
        vmstate.unmap(file.fileno(), lambda name: not name.endswith("ram"))
    return path.read_bytes()


def test_only_the_addresses_of_devices_are_changed(tmp_path: Path) -> None:
    wanted = tuple((name, size, 0) for name, size, _ in BLOCKS)
    assert unmapped(tmp_path / "state", state(BLOCKS)) == state(wanted)
    below = (("pc.ram", 16 << 20, 1 << 20), *BLOCKS[1:])
    assert unmapped(tmp_path / "state", state(below)) == state((below[0], *wanted[1:]))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"QEVM" + b"\0" * 100,
        state(BLOCKS, total=64 << 20),
        state(BLOCKS, total=17 << 20),
        state(BLOCKS)[:60],
        state(BLOCKS).replace(struct.pack(">Q", (21 << 20) | 4), struct.pack(">Q", 21 << 20)),
    ],
    ids=["empty", "no memory", "more", "less", "cut short", "no sizes"],
)
def test_what_is_not_known_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "state"
    with pytest.raises(ValueError, match="QEMU's state has"):
        unmapped(path, content)
    assert path.read_bytes() == content
