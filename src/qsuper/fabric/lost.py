"""The fabric of a group whose supervisor died: the members that live go on with what they have.

Memory and doorbells live in the QEMUs, and guests go on ringing each other. What the supervisor
had of them is gone: nobody can be rung by it, and no member can be started with them again.
"""

import contextlib
import os
from collections.abc import Iterable
from typing import NoReturn

from qsuper.errors import QsuperError
from qsuper.fabric.group import Fabric
from qsuper.fabric.memory import HOST_DIR
from qsuper.options import Doorbell, SharedMemory
from qsuper.plan import GroupPlan


class LostFabric(Fabric):
    """Stands for the fabric that a predecessor had made."""

    def __init__(self, plan: GroupPlan) -> None:
        """Take the plan of the group."""
        super().__init__(GroupPlan(()))
        self._files = list(host_files(plan))

    def memory(self, resource: SharedMemory | Doorbell) -> int:
        """Refuse: another memory of that name would not be the one that the others have."""
        _refuse(resource)

    def attach(self, member: str, resource: Doorbell) -> NoReturn:
        """Refuse, likewise."""
        del member
        _refuse(resource)

    def close(self) -> None:
        """Remove the files that programs outside have used."""
        super().close()
        remove(getattr(self, "_files", ()))


def host_files(plan: GroupPlan) -> Iterable[str]:
    """Give the files that the members' memory is in; a plan on disk means that they were ours."""
    resources = [each for member in plan.members for each in member.plan.resources()]
    shares = {
        each.share
        for each in resources
        if isinstance(each, SharedMemory | Doorbell) and each.on_host
    }
    return sorted(os.path.join(HOST_DIR, share) for share in shares)


def remove(files: Iterable[str]) -> None:
    """Remove files where they are there."""
    for path in files:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def _refuse(resource: SharedMemory | Doorbell) -> NoReturn:
    raise QsuperError(f"shmem {resource.share!r} was lost with the supervisor that had made it")
