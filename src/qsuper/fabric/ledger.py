"""What is written down of a group's memory and eventfds, for a successor to know them again.

A memory is known by its inode, an eventfd by the id that the kernel shows in fdinfo. Another can
get the same only when nobody has the first one open any more, and a QEMU keeps what it was given
until it ends: so these tell the truth about every QEMU that lives.

Import budget: the standard library and msgspec; QEMUs are spawned before trio is loaded.
"""

import os
from collections.abc import Iterable
from typing import Final, NamedTuple, Self, TypeAlias

import msgspec
from msgspec import Struct

from qsuper.fabric.protocol import MEMORY

EVENTFD: Final = "anon_inode:[eventfd]"
"""What a link in /proc/PID/fd to one says."""
_UNKNOWN: Final = -1
_ID: Final = "eventfd-id:"


class Piece(NamedTuple):
    """One of the things that members share, each a descriptor."""

    share: str
    number: int
    """The peer's whose eventfd it is; `MEMORY`, as in the protocol, for the memory itself."""
    vector: int = 0


class MemoryId(NamedTuple):
    """A memory, told apart from all others that exist with it."""

    device: int
    inode: int
    size_bytes: int

    @classmethod
    def of(cls, status: os.stat_result) -> Self:
        return cls(status.st_dev, status.st_ino, status.st_size)

    def is_same(self, status: os.stat_result) -> bool:
        """Tell whether that is the same one, whatever its size has become."""
        return (self.device, self.inode) == (status.st_dev, status.st_ino)


Identity: TypeAlias = MemoryId | int
"""A memory's, or an eventfd's id."""


class Ledger(Struct, frozen=True, kw_only=True):
    """The identities of all pieces."""

    memory: dict[str, MemoryId]
    """By name."""
    eventfds: dict[str, dict[int, tuple[int, ...]]]
    """By name of the memory, number of the peer, vector."""

    def identity(self, piece: Piece) -> Identity | None:
        """Give a piece's; None where none is written down."""
        if piece.number == MEMORY:
            return self.memory.get(piece.share)
        ids = self.eventfds.get(piece.share, {}).get(piece.number, ())
        return ids[piece.vector] if piece.vector < len(ids) else None

    def merged(self, newer: "Ledger") -> "Ledger":
        """Give this with what *newer* says of the same memories and of others."""
        return Ledger(
            memory=self.memory | newer.memory,
            eventfds=self.eventfds | newer.eventfds,
        )


NOTHING: Final = Ledger(memory={}, eventfds={})


def dumps(ledger: Ledger) -> str:
    """Write a ledger as JSON."""
    return msgspec.json.encode(ledger).decode()


def loads(text: bytes) -> Ledger:
    """Read what `dumps` wrote.

    Raises:
        ValueError: *text* is something else.
    """
    try:
        return msgspec.json.decode(text, type=Ledger)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"it is damaged: {error}") from error


def identity_of(descriptor: int) -> Identity | None:
    """Give the identity of an eventfd or memory that we have."""
    if os.readlink(f"/proc/self/fd/{descriptor}") == EVENTFD:
        return eventfd_id(f"/proc/self/fdinfo/{descriptor}")
    return MemoryId.of(os.fstat(descriptor))


def eventfd_ids(descriptors: Iterable[int]) -> tuple[int, ...]:
    """Give the ids of eventfds that we have; -1, which is nobody's, where the kernel shows none."""
    ids = (eventfd_id(f"/proc/self/fdinfo/{descriptor}") for descriptor in descriptors)
    return tuple(_UNKNOWN if each is None else each for each in ids)


def eventfd_id(path: str) -> int | None:
    """Read an eventfd's id from its file in fdinfo; None where the kernel shows none.

    Source: proc_pid_fdinfo(5); Linux 5.2 and later.
    """
    with open(path, encoding="ascii") as file:
        for line in file:
            if line.startswith(_ID):
                return int(line.removeprefix(_ID))
    return None
