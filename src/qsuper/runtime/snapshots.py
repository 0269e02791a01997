"""Disks that go back to what they held when their domain was saved. Needs no trio.

qemu-img does it, before QEMU starts: QEMU itself goes back to a snapshot only with a state that
stands in it.
"""

import shutil

from qsuper.errors import UnavailableError
from qsuper.plan import SavedState
from qsuper.runtime import errand
from qsuper.runtime.log import Log


def bring_back(saved: SavedState, log: Log, directory: str) -> None:
    """Give the disks their content; no QEMU may use them.

    Args:
        saved: What was saved.
        log: Gets what qemu-img says.
        directory: Where it runs.

    Raises:
        UnavailableError: there is no qemu-img.
        EmulatorError: it fails, in its own words.
    """
    if not saved.disks:
        return
    if (program := shutil.which("qemu-img")) is None:
        raise UnavailableError("qemu-img is not here (apt install qemu-utils)")
    for disk in saved.disks:
        argv = (program, "snapshot", "-q", "-a", saved.snapshot, disk)
        errand.run(argv, log, directory=directory)
