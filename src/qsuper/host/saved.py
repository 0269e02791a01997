"""A saved group's directory, as `runtime.save` writes it."""

import os

from msgspec.structs import replace

from qsuper import paths, planfile
from qsuper.errors import QsuperError
from qsuper.plan import GroupPlan, Member
from qsuper.runtime import rundir


def load(directory: str) -> GroupPlan:
    """Give the plan of a saved group, to be started from its states.

    Raises:
        QsuperError: there is none in *directory*, or others than us can write to it.
    """
    directory = os.path.abspath(directory)
    paths.check_private(directory)
    path = os.path.join(directory, rundir.PLAN)
    try:
        with open(path, "rb") as file:
            plan = planfile.loads(file.read())
    except OSError as error:
        raise QsuperError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise QsuperError(f"{path}: {error}") from error
    return replace(
        plan,
        members=tuple(_placed(member, directory) for member in plan.members),
        memories={
            share: os.path.join(directory, os.path.basename(file))
            for share, file in plan.memories.items()
        },
    )


def _placed(member: Member, directory: str) -> Member:
    saved = member.plan.saved
    if saved is None:
        raise QsuperError(f"{directory}: {member.plan.name} has no state")
    path = os.path.join(directory, os.path.basename(saved.path))
    return replace(member, plan=replace(member.plan, saved=replace(saved, path=path)))
