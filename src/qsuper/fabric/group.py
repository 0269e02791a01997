"""All that the members of a group share: memory, and the servers of their doorbells.

Import budget: the standard library; QEMUs are spawned before trio is loaded.
"""

import socket
from collections.abc import Iterable
from typing import NamedTuple

from qsuper.errors import QsuperError
from qsuper.fabric.ivshmem import FIRST_MEMBER, Server, pending, ring
from qsuper.fabric.memory import Shares
from qsuper.options import Doorbell, SharedMemory
from qsuper.plan import GroupPlan, Vector


class Counter(NamedTuple):
    """Where clients from outside come in."""

    path: str
    listener: socket.socket


class Fabric:
    """The fabric of one group; it lives until closed."""

    def __init__(self, plan: GroupPlan) -> None:
        """Make what the members of *plan* share; `close` it whatever follows.

        Raises:
            QsuperError: two members want one memory in two sizes, or there is no more memory, or
                there are no more descriptors, or a saved memory cannot be read.
        """
        self.servers: dict[str, Server] = {}
        """By the name of the memory."""
        self.shares = Shares(plan.memories)
        resources = [each for member in plan.members for each in member.plan.resources()]
        self._on_host = frozenset(
            each.share
            for each in resources
            if isinstance(each, SharedMemory | Doorbell) and each.on_host
        )
        try:
            self._make_servers(plan)
            self._ring_again(plan.rung)
        except BaseException:
            self.close()
            raise

    def _make_servers(self, plan: GroupPlan) -> None:
        numbers = peer_numbers(plan)
        members: dict[str, dict[str, tuple[int, int]]] = {}
        memory: dict[str, int] = {}
        for member in plan.members:
            for resource in member.plan.resources():
                if not isinstance(resource, Doorbell):
                    continue
                name = member.plan.name
                mine = members.setdefault(resource.share, {})
                if name in mine:
                    raise QsuperError(f"{name}: two doorbells on shmem {resource.share!r}")
                mine[name] = numbers[name], resource.vectors
                memory[resource.share] = self.memory(resource)
        for share, peers in members.items():
            self.servers[share] = Server(share, memory[share], peers)

    def _ring_again(self, rung: Iterable[Vector]) -> None:
        for vector in rung:
            server = self.servers.get(vector.share)
            if server is None or vector.number >= server.vectors:
                raise QsuperError(f"shmem {vector.share!r} has no vector {vector.number}")
            ring(server.own, vector.number)

    def memory(self, resource: SharedMemory | Doorbell) -> int:
        """Give the descriptor of a memory; it stays ours. Errors as of `Shares.memory`."""
        share = resource.share
        return self.shares.memory(share, resource.size_bytes, on_host=share in self._on_host)

    def attach(self, member: str, resource: Doorbell) -> socket.socket:
        """Give the socket that the QEMU of *member* inherits; errors as of `Server.attach`."""
        return self.servers[resource.share].attach(member, private=resource.is_private)

    def pending(self) -> tuple[Vector, ...]:
        """Give the supervisor's vectors that are rung, and leave them so."""
        return tuple(
            Vector(share=share, number=number)
            for share, server in self.servers.items()
            for number in pending(server.own)
        )

    def close(self) -> None:
        """Give up memory and doorbells; a QEMU that lives keeps its own."""
        for server in self.servers.values():
            server.close()
        self.servers.clear()
        self.shares.close()


def peer_numbers(plan: GroupPlan) -> dict[str, int]:
    """Give each member's number: the primary is 2, its dependencies follow in document order."""
    names = dict.fromkeys(
        name for member in plan.primaries for name in (member.plan.name, *member.needs)
    )
    return {name: number for number, name in enumerate(names, start=FIRST_MEMBER)}
