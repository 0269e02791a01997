"""The ivshmem server of a group's memory: numbers and eventfds that never change.

A stock QEMU corrupts its heap when a peer leaves and one with its number joins. So the group is
static: all numbers and eventfds are there before the first QEMU is, each QEMU finds all it will
ever be told in a socket that it inherits, and no join or leave is ever sent to it. A QEMU that
replaces another takes over its number and eventfds.

The supervisor is a peer itself: number 1. Clients from outside are served by `outside`.

Import budget: the standard library; QEMUs are spawned before trio is loaded.
"""

import contextlib
import itertools
import os
import socket
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Final, TypeAlias

from qsuper.errors import QsuperError
from qsuper.fabric.ledger import Piece
from qsuper.fabric.protocol import NUMBER_MAX, Conversation, Peer

SUPERVISOR: Final = 1
FIRST_MEMBER: Final = 2
_FIRST_OUTSIDE: Final = 256

Members: TypeAlias = Mapping[str, tuple[int, int]]
"""Number and vectors of each member that has a doorbell device, by name."""


class Server:
    """The server of one memory."""

    def __init__(
        self,
        share: str,
        memory: int,
        members: Members,
        found: MutableMapping[Piece, int] | None = None,
    ) -> None:
        """Make all eventfds that are not there yet.

        Args:
            share: The memory's name.
            memory: Its descriptor, which stays the caller's.
            members: Who has a doorbell.
            found: Those that are there; what becomes ours is taken out of it.

        Raises:
            QsuperError: there are no more descriptors.
        """
        self.share = share
        self.memory = memory
        vectors = vectors_of(members)
        self.vectors = vectors[SUPERVISOR]
        """The supervisor's own, and each outside client's."""
        self._members = dict(members)
        self._conversations: dict[str, Conversation] = {}
        self._peers: dict[int, Peer] = {}
        try:
            for number, count in vectors.items():
                pieces = [Piece(share, number, vector) for vector in range(count)]
                self._peers[number] = Peer(number, _completed(pieces, found or {}))
        except OSError as error:
            self.close()
            raise QsuperError(f"shmem {share!r}: eventfds: {error.strerror}") from error
        self._first_outside = max(_FIRST_OUTSIDE, max(self._peers) + 1)
        self._next_outside = self._first_outside

    @property
    def peers(self) -> tuple[Peer, ...]:
        """The supervisor and the members."""
        return tuple(self._peers.values())

    @property
    def own(self) -> Peer:
        """The supervisor."""
        return self._peers[SUPERVISOR]

    def has(self, member: str) -> bool:
        return member in self._members

    def attach(self, member: str, *, private: bool = False) -> socket.socket:
        """Give the socket that a member's QEMU inherits, with all it is told.

        Signals that its predecessor did not take are dropped.

        Args:
            member: Its name.
            private: It sees itself as 0; the others keep their numbers.

        Raises:
            QsuperError: there are no more descriptors.
        """
        try:
            return self._attach(member, private=private)
        except OSError as error:
            raise QsuperError(f"shmem {self.share!r}: {member}: {error.strerror}") from error

    def _attach(self, member: str, *, private: bool) -> socket.socket:
        own, vectors = self._members[member]
        drain(self._peers[own])
        ours, theirs = socket.socketpair()
        conversation = Conversation(ours)
        if predecessor := self._conversations.pop(member, None):
            predecessor.close()
        self._conversations[member] = conversation
        conversation.open(0 if private else own, self.memory)
        for peer in self._peers.values():
            number = 0 if private and peer.number == own else peer.number
            # QEMU complains of more vectors than its device has.
            conversation.join(Peer(number, peer.eventfds[:vectors]))
        return theirs

    def unsent(self, member: str) -> Conversation | None:
        """Give the conversation with a member's QEMU, if it has more to say than fits at once."""
        conversation = self._conversations.get(member)
        return conversation if conversation and conversation.waiting else None

    def ring(self, member: str, vector: int) -> None:
        """Ring a member from outside.

        Raises:
            QsuperError: it has no such vector.
        """
        if member not in self._members:
            raise QsuperError(f"domain {member!r} has no doorbell on shmem {self.share!r}")
        number, vectors = self._members[member]
        if not 0 <= vector < vectors:
            raise QsuperError(
                f"domain {member!r} has no vector {vector} on shmem {self.share!r}"
                f" (it has 0 to {vectors - 1})"
            )
        ring(self._peers[number], vector)

    def fresh_number(self, taken: frozenset[int]) -> int:
        """Give a number that no outside client had for as long as possible.

        Raises:
            QsuperError: all are taken.
        """
        later = range(self._next_outside, NUMBER_MAX + 1)
        earlier = range(self._first_outside, self._next_outside)
        for number in itertools.chain(later, earlier):
            if number not in taken:
                self._next_outside = number + 1
                return number
        raise QsuperError("there are no more peer numbers")

    def close(self) -> None:
        """Hang up on all, and close the eventfds; the QEMUs keep theirs."""
        for conversation in self._conversations.values():
            conversation.close()
        self._conversations.clear()
        for peer in self._peers.values():
            close(peer)
        self._peers.clear()


def vectors_of(members: Members) -> dict[int, int]:
    """Give how many vectors each peer has, by number: the supervisor as many as anybody."""
    most = max((vectors for _, vectors in members.values()), default=1)
    return {SUPERVISOR: most, **dict(members.values())}


def _completed(pieces: Sequence[Piece], found: MutableMapping[Piece, int]) -> tuple[int, ...]:
    """Give the eventfds that were found, taken out of there, and new ones for the others."""
    fresh = iter(eventfds(sum(piece not in found for piece in pieces)))
    return tuple(found.pop(piece) if piece in found else next(fresh) for piece in pieces)


def eventfds(count: int) -> tuple[int, ...]:
    """Make *count* eventfds.

    Raises:
        OSError: there are no more descriptors; none is left over.
    """
    made: list[int] = []
    try:
        for _ in range(count):
            made.append(os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC))  # noqa: PERF401 - see except
    except OSError:
        for descriptor in made:
            os.close(descriptor)
        raise
    return tuple(made)


def ring(peer: Peer, vector: int) -> None:
    """Ring; a peer that has been rung and has not looked is as good as rung again."""
    with contextlib.suppress(BlockingIOError):
        os.eventfd_write(_unblocked(peer.eventfds[vector]), 1)


def taken(descriptor: int) -> int:
    """Take what an eventfd was rung; 0 where it was not, or another was faster."""
    try:
        return os.eventfd_read(_unblocked(descriptor))
    except BlockingIOError:
        return 0


def _unblocked(descriptor: int) -> int:
    """Give an eventfd that nobody waits for: any client can have changed that for all of us."""
    os.set_blocking(descriptor, False)
    return descriptor


def pending(peer: Peer) -> list[int]:
    """Give the vectors that are rung and that nobody has taken; they stay so."""
    found: list[int] = []
    for vector, descriptor in enumerate(peer.eventfds):
        if times := taken(descriptor):
            with contextlib.suppress(BlockingIOError):  # it has been rung again
                os.eventfd_write(descriptor, times)
            found.append(vector)
    return found


def drain(peer: Peer) -> None:
    """Drop the signals that nobody has taken."""
    for descriptor in peer.eventfds:
        taken(descriptor)


def close(peer: Peer) -> None:
    """Close a peer's eventfds."""
    for descriptor in peer.eventfds:
        os.close(descriptor)
