"""The content of a domain's disks at the moment of a save, kept as snapshots inside qcow2 files.

`snapshots` brings them back.
"""

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from qsuper.runtime.guest import Guest

Json = Any  # whatever QEMU says

_WITHIN_S: Final = 60.0
_FORMAT: Final = "qcow2"


class Disks(NamedTuple):
    """What a domain can write to."""

    snapshotted: dict[str, str]
    """Files that can keep their content in themselves, by their node-names."""
    others: tuple[str, ...]
    """Files that can't."""


async def writable(guest: Guest) -> Disks:
    """Ask QEMU for the disks that the guest can write to.

    Raises:
        QsuperError: it does not answer.
    """
    snapshotted: dict[str, str] = {}
    others: list[str] = []
    for block in await guest.command("query-block"):
        medium: Json = block.get("inserted")
        # The firmware's flash is part of the machine's state.
        if medium is None or medium["ro"] or "flash" in block.get("qdev", ""):
            continue
        if medium["drv"] == _FORMAT and medium.get("node-name"):
            snapshotted[medium["node-name"]] = medium["file"]
        else:
            others.append(medium["file"])
    return Disks(snapshotted, tuple(others))


async def keep(guest: Guest, nodes: Iterable[str], snapshot: str) -> None:
    """Take a snapshot of all, or of none; errors as of `Guest.command`."""
    actions = [
        {"type": "blockdev-snapshot-internal-sync", "data": {"device": node, "name": snapshot}}
        for node in nodes
    ]
    if actions:
        await guest.command("transaction", {"actions": actions}, within_s=_WITHIN_S)


async def drop(guest: Guest, nodes: Iterable[str], snapshot: str) -> None:
    """Remove a snapshot from all; errors as of `Guest.command`."""
    for node in nodes:
        arguments = {"device": node, "name": snapshot}
        command = "blockdev-snapshot-delete-internal-sync"
        await guest.command(command, arguments, within_s=_WITHIN_S)
