"""What a group's plan says of its fabric: who shares what, and who has which number.

Import budget: the standard library; QEMUs are spawned before trio is loaded.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias

from qsuper.errors import QsuperError
from qsuper.fabric.ivshmem import FIRST_MEMBER, Members, vectors_of
from qsuper.fabric.ledger import Piece
from qsuper.fabric.memory import HOST_DIR
from qsuper.fabric.protocol import MEMORY
from qsuper.options import Doorbell, SharedMemory
from qsuper.plan import GroupPlan, LaunchPlan

Shared: TypeAlias = SharedMemory | Doorbell


def shared(plan: LaunchPlan) -> Iterator[Shared]:
    """Give what a member has of the fabric."""
    return (each for each in plan.resources() if isinstance(each, SharedMemory | Doorbell))


def all_shared(plan: GroupPlan) -> list[Shared]:
    """Give what all members have of it."""
    return [each for member in plan.members for each in shared(member.plan)]


def peer_numbers(plan: GroupPlan) -> dict[str, int]:
    """Give each member's number: the primary is 2, its dependencies follow in document order."""
    names = dict.fromkeys(
        name for member in plan.primaries for name in (member.plan.name, *member.needs)
    )
    return {name: number for number, name in enumerate(names, start=FIRST_MEMBER)}


def doorbells(plan: GroupPlan) -> dict[str, Members]:
    """Give who has a doorbell, by the name of the memory.

    Raises:
        QsuperError: a member has two on one memory.
    """
    numbers = peer_numbers(plan)
    found: dict[str, dict[str, tuple[int, int]]] = {}
    for member in plan.members:
        name = member.plan.name
        for resource in shared(member.plan):
            if not isinstance(resource, Doorbell):
                continue
            members = found.setdefault(resource.share, {})
            if name in members:
                raise QsuperError(f"{name}: two doorbells on shmem {resource.share!r}")
            members[name] = numbers[name], resource.vectors
    return dict(found)


def held(plan: GroupPlan) -> Mapping[str, frozenset[Piece]]:
    """Give what each member's QEMU has for as long as it lives."""
    servers = doorbells(plan)
    return {
        member.plan.name: frozenset(
            piece for resource in shared(member.plan) for piece in _pieces(resource, servers)
        )
        for member in plan.members
    }


def _pieces(resource: Shared, servers: Mapping[str, Members]) -> Iterator[Piece]:
    yield Piece(resource.share, MEMORY)
    if isinstance(resource, Doorbell):
        for number, vectors in vectors_of(servers[resource.share]).items():
            for vector in range(min(vectors, resource.vectors)):
                yield Piece(resource.share, number, vector)


def host_files(plan: GroupPlan) -> Iterable[str]:
    """Give the files that the members' memory is in; a plan on disk means that they were ours."""
    shares = {each.share for each in all_shared(plan) if each.on_host}
    return sorted(os.path.join(HOST_DIR, share) for share in shares)


def remove(files: Iterable[str]) -> None:
    """Remove files where they are there."""
    for path in files:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
