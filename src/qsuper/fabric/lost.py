"""The fabric of a group whose supervisor died: the members that live go on with what they have.

Memory and doorbells live in the QEMUs, and guests go on ringing each other. What the supervisor
had of them is gone: nobody can be rung by it, and no member can be started with them again.
"""

from typing import NoReturn

from qsuper.errors import QsuperError
from qsuper.fabric.group import Fabric
from qsuper.fabric.layout import Shared, host_files, remove
from qsuper.options import Doorbell
from qsuper.plan import GroupPlan


class LostFabric(Fabric):
    """Stands for the fabric that a predecessor had made."""

    def __init__(self, plan: GroupPlan) -> None:
        """Take the plan of the group."""
        super().__init__(GroupPlan(()))
        self._files = list(host_files(plan))

    def memory(self, resource: Shared) -> int:
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


def _refuse(resource: Shared) -> NoReturn:
    raise QsuperError(f"shmem {resource.share!r} was lost with the supervisor that had made it")
