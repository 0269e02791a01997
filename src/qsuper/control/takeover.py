"""`up --adopt`: become the successor of a supervisor that died, instead of failing.

This process stays what it is to systemd: the successor takes its place by exec.
"""

import os
import sys

from qsuper import paths
from qsuper.control import client, remains
from qsuper.control.adopt import adopt
from qsuper.runtime import rundir


def take_over(group: str, report_fd: int | None) -> None:
    """Go on as the successor, where members of the group run without a supervisor.

    Returns where none do, and where another supervisor has them. A start that was cut off is
    rolled back first.

    Args:
        group: The group's name.
        report_fd: Where the successor reports, as `successor.main` says; None where nobody waits.

    Raises:
        QsuperError: what is there cannot be read.
    """
    directory = paths.group_dir(group)
    if not os.path.isdir(directory) or client.supervisor(group) is not None:
        return
    is_cut_off = os.path.exists(os.path.join(directory, rundir.STARTING))
    if is_cut_off or not remains.rows(group, ""):
        adopt(group)
        return
    number = os.open(os.devnull, os.O_WRONLY) if report_fd is None else report_fd
    os.set_inheritable(number, True)  # noqa: FBT003 - as os names it
    argv = [sys.executable, "-P", "-m", "qsuper.control.successor", group, str(number)]
    os.execv(sys.executable, argv)  # noqa: S606 - no shell is what is wanted
