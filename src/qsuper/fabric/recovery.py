"""A dead supervisor's memory and eventfds, found again in the members that live.

A QEMU has the memories that its plan names, and of each peer's eventfds as many as its own device
has vectors; it keeps them until it ends. So each piece is in a member that lives and should have
it; or nobody has it any more, and it can be made anew, for nobody could tell the difference.

Import budget: that of `foreign` and `group`.
"""

import contextlib
import errno
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from qsuper.fabric import foreign
from qsuper.fabric.foreign import Holder
from qsuper.fabric.group import Found
from qsuper.fabric.layout import all_shared, held
from qsuper.fabric.ledger import Identity, Ledger, Piece
from qsuper.fabric.protocol import MEMORY
from qsuper.plan import GroupPlan

_FORBIDDEN: Final = (
    "its descriptors may not be taken (see kernel.yama.ptrace_scope; CAP_SYS_PTRACE may always)"
)


class Notes(NamedTuple):
    """What the dead supervisor wrote down."""

    ledger: Ledger
    problem: str = ""
    """Why that is not all."""


def find(plan: GroupPlan, notes: Notes, holders: Sequence[Holder]) -> Found:
    """Take what there still is of a dead supervisor's fabric.

    What is neither found nor lost nobody has any more.

    Args:
        plan: The group's.
        notes: What to look for.
        holders: The members' processes, whether they live or not.
    """
    search = _Search(notes)
    search.look_on_host(plan)
    pieces = held(plan)
    for holder in holders:
        if holder.is_alive:
            search.look_into(holder, pieces[holder.name])
    lost: dict[str, str] = {}
    for holder in holders:
        lacking = pieces[holder.name] - search.found.keys()
        if lacking and holder.is_alive:
            for piece in sorted(lacking):  # the memory first
                lost.setdefault(piece.share, search.said(piece))
    search.give_up(lost)
    return Found(search.found, lost, notes.ledger)


class _Search:
    """What was found, and why the rest was not."""

    def __init__(self, notes: Notes) -> None:
        self.found: dict[Piece, int] = {}
        self._ledger = notes.ledger
        self._reason = notes.problem or "it is not in the file that tells of it"
        self._reasons: dict[Piece, str] = {}

    def look_on_host(self, plan: GroupPlan) -> None:
        """Take the memories that are files, where those are the same still."""
        for share in {each.share for each in all_shared(plan) if each.on_host}:
            piece = Piece(share, MEMORY)
            if (identity := self._ledger.identity(piece)) is not None:
                with contextlib.suppress(OSError):
                    self.found[piece] = foreign.opened_file(share, identity)

    def look_into(self, holder: Holder, pieces: Iterable[Piece]) -> None:
        """Take what a process has of those that are still lacking."""
        wanted = {
            piece: identity
            for piece in pieces
            if piece not in self.found and (identity := self._ledger.identity(piece)) is not None
        }
        if not wanted:
            return
        try:
            numbers = holder.descriptors()
        except OSError as error:
            self._reasons |= dict.fromkeys(wanted, _why(holder, error))
        else:
            self._take(holder, wanted, numbers)

    def _take(
        self, holder: Holder, wanted: Mapping[Piece, Identity], numbers: Mapping[Identity, int]
    ) -> None:
        for piece, identity in wanted.items():
            if identity not in numbers:
                self._reasons[piece] = _why(holder)
                continue
            try:
                self.found[piece] = holder.take(numbers[identity], identity)
            except OSError as error:
                self._reasons[piece] = _why(holder, error)

    def said(self, piece: Piece) -> str:
        """Give what is to be said of a piece that was not found."""
        reason = self._reasons.get(piece, self._reason)
        return (
            f"shmem {piece.share!r} was lost with the supervisor that had made it: {reason}"
            " (who has it goes on with it; the group's next start makes it anew)"
        )

    def give_up(self, lost: Mapping[str, str]) -> None:
        """Close the eventfds of doorbells that are not whole; their memory is of use."""
        for piece in [each for each in self.found if each.share in lost]:
            if piece.number != MEMORY:
                os.close(self.found.pop(piece))


def _why(holder: Holder, error: OSError | None = None) -> str:
    if error is None:
        reason = "it does not have what was noted"
    elif error.errno in (errno.EPERM, errno.EACCES):
        reason = _FORBIDDEN
    else:
        reason = os.strerror(error.errno or 0)
    return f"{holder.name} (pid {holder.pid}): {reason}"
