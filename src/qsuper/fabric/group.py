"""All that the members of a group share: memory, and the servers of their doorbells.

Import budget: the standard library; QEMUs are spawned before trio is loaded.
"""

import os
import socket
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from qsuper.errors import QsuperError
from qsuper.fabric.ivshmem import Server, pending, ring
from qsuper.fabric.layout import Shared, all_shared, doorbells
from qsuper.fabric.ledger import NOTHING, Ledger, MemoryId, Piece, eventfd_ids
from qsuper.fabric.memory import Shares
from qsuper.fabric.protocol import MEMORY, Conversation
from qsuper.options import Doorbell
from qsuper.plan import GroupPlan, Vector


class Counter(NamedTuple):
    """Where clients from outside come in."""

    path: str
    listener: socket.socket


class Found(NamedTuple):
    """What a predecessor had made and a successor has found."""

    descriptors: dict[Piece, int]
    """A fabric takes what it uses out of it; the rest is the finder's."""
    lost: Mapping[str, str]
    """By name of a memory, why it or its doorbells were not found."""
    known: Ledger = NOTHING
    """What the predecessor wrote down."""

    def close(self) -> None:
        for descriptor in self.descriptors.values():
            os.close(descriptor)
        self.descriptors.clear()


class Fabric:
    """The fabric of one group; it lives until closed."""

    def __init__(self, plan: GroupPlan, found: Found | None = None) -> None:
        """Make what the members of *plan* share, all of it; `close` it whatever follows.

        Args:
            plan: The group's.
            found: What there is already. What was lost is not made again.

        Raises:
            QsuperError: two members want one memory in two sizes, or there is no more memory, or
                there are no more descriptors, or a saved memory cannot be read.
        """
        found = found or Found({}, {})
        self.servers: dict[str, Server] = {}
        """By the name of the memory."""
        self.lost = dict(found.lost)
        """What some of the members have and we have not: by name of the memory, why not."""
        self.shares = Shares(plan.memories)
        self._on_host = frozenset(each.share for each in all_shared(plan) if each.on_host)
        inherited = found.lost.keys() | {piece.share for piece in found.descriptors}
        try:
            self._make_memory(plan, found)
            self._make_servers(plan, found)
            self._ring_again(plan.rung)
        except BaseException:
            self.close()
            raise
        for share in self._on_host & inherited:
            self.shares.leave(share, found.known.memory.get(share))

    def _make_memory(self, plan: GroupPlan, found: Found) -> None:
        for resource in all_shared(plan):
            share = resource.share
            descriptor = found.descriptors.pop(Piece(share, MEMORY), None)
            if descriptor is not None:
                self.shares.take(share, descriptor)
            if share in self.shares or share not in self.lost:
                self.memory(resource)

    def _make_servers(self, plan: GroupPlan, found: Found) -> None:
        for share, members in doorbells(plan).items():
            if share not in self.lost:
                memory = self.shares[share]
                self.servers[share] = Server(share, memory, members, found.descriptors)

    def _ring_again(self, rung: Iterable[Vector]) -> None:
        for vector in rung:
            server = self.servers.get(vector.share)
            if server is None or vector.number >= server.vectors:
                raise QsuperError(f"shmem {vector.share!r} has no vector {vector.number}")
            ring(server.own, vector.number)

    def memory(self, resource: Shared) -> int:
        """Give the descriptor of a memory; it stays ours.

        Raises:
            QsuperError: it was lost; and as of `Shares.memory`.
        """
        share = resource.share
        if share in self.lost and share not in self.shares:
            raise QsuperError(self.lost[share])
        return self.shares.memory(share, resource.size_bytes, on_host=share in self._on_host)

    def check_memory(self) -> None:
        """Check that we have all memory.

        Raises:
            QsuperError: some was lost.
        """
        for share, why in self.lost.items():
            if share not in self.shares:
                raise QsuperError(why)

    def attach(self, member: str, resource: Doorbell) -> socket.socket:
        """Give the socket that the QEMU of *member* inherits.

        Raises:
            QsuperError: the doorbells were lost; and as of `Server.attach`.
        """
        if resource.share in self.lost:
            raise QsuperError(self.lost[resource.share])
        return self.servers[resource.share].attach(member, private=resource.is_private)

    def pending(self) -> tuple[Vector, ...]:
        """Give the supervisor's vectors that are rung, and leave them so."""
        return tuple(
            Vector(share=share, number=number)
            for share, server in self.servers.items()
            for number in pending(server.own)
        )

    def ledger(self) -> Ledger:
        """Give what a successor must know to find all this."""
        return Ledger(
            memory={
                share: MemoryId.of(os.fstat(self.shares[share])) for share in self.shares.names
            },
            eventfds={
                share: {peer.number: eventfd_ids(peer.eventfds) for peer in server.peers}
                for share, server in self.servers.items()
            },
        )

    def unsent(self, member: str) -> list[Conversation]:
        """Give the conversations with a member's QEMU that have more to say than fits at once."""
        found = (server.unsent(member) for server in self.servers.values())
        return [conversation for conversation in found if conversation]

    def close(self) -> None:
        """Give up memory and doorbells; a QEMU that lives keeps its own."""
        for server in self.servers.values():
            server.close()
        self.servers.clear()
        self.shares.close()
