"""The fabric of a group whose supervisor died, as its successor gets it (docs/decisions/0034)."""

from collections.abc import Sequence

from qsuper.errors import QsuperError
from qsuper.fabric import ledger, recovery
from qsuper.fabric.foreign import Holder
from qsuper.fabric.group import Fabric, Found
from qsuper.fabric.layout import all_shared
from qsuper.fabric.recovery import Notes
from qsuper.plan import GroupPlan
from qsuper.runtime import rundir
from qsuper.runtime.launch import Home, Launched
from qsuper.runtime.rundir import Rundir


def take_fabric(plan: GroupPlan, place: Rundir, members: Sequence[tuple[Home, Launched]]) -> Fabric:
    """Take over what the members share, from those that live.

    What cannot be had is in the fabric's `lost`. What is new is written down for the next
    successor.

    Args:
        plan: The group's.
        place: Its directory, locked by us.
        members: As of `adoption.take_members`.

    Raises:
        QsuperError: it cannot be written down.
    """
    notes = _notes(place)
    holders = [
        Holder(home.member.plan.name, launched.process.pid, launched.process.pidfd)
        for home, launched in members
    ]
    found = recovery.find(plan, notes, holders)
    try:
        fabric = Fabric(plan, found)
    except QsuperError as error:
        found.close()
        lost = {each.share: str(error) for each in all_shared(plan)}
        return Fabric(plan, Found({}, lost, notes.ledger))
    if (known := notes.ledger.merged(fabric.ledger())) != notes.ledger:
        place.write(rundir.FABRIC, ledger.dumps(known))
    return fabric


def _notes(place: Rundir) -> Notes:
    path = place.file(rundir.FABRIC)
    try:
        with open(path, "rb") as file:
            return Notes(ledger.loads(file.read()))
    except OSError as error:
        problem = f"{path}: {error.strerror}"
    except ValueError as error:
        problem = f"{path}: {error}"
    return Notes(ledger.NOTHING, problem)
