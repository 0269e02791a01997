"""What runs of a group whose supervisor does not answer: it died, hangs or was stopped.

Taken from the group's plan, from /proc and from QEMU itself, so that `qsuper list` tells the truth.

Import budget: that of `control.client`.
"""

import contextlib
import json
import os
from typing import Final

from qsuper import paths
from qsuper.control.client import Connection, Json
from qsuper.errors import QsuperError
from qsuper.runtime.states import OF_RUN_STATE, State
from qsuper.runtime.survivors import RESTARTING, survivor

_QEMU_TIMEOUT_S: Final = 1.0


def rows(group: str, reason: str) -> list[Json]:
    """Give the `list` rows of the members whose QEMU lives, or is to be started again.

    Args:
        group: The group's name.
        reason: What to give as the reason of their states.

    Raises:
        QsuperError: the group's plan can't be read.
    """
    path = os.path.join(paths.group_dir(group), "plan.json")
    try:
        try:
            with open(path, encoding="utf-8") as file:
                members = json.load(file)["members"]
        except FileNotFoundError:  # the supervisor was killed before it started anything
            return []
        found = [
            _row(group, member["plan"], member["role"]["$enum"][1], reason) for member in members
        ]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise QsuperError(f"group {group}: {path}: {error}") from error
    return [row for row in found if row]


def _row(group: str, plan: Json, role: str, reason: str) -> Json:
    directory = paths.domain_dir(plan["name"])
    link = os.path.join(directory, "group")
    if not _is_same(link, paths.group_dir(group)):
        return None
    pid = survivor(directory)
    if pid is None and not os.path.lexists(os.path.join(directory, RESTARTING)):
        return None
    return {
        "name": plan["name"],
        "uuid": plan["uuid"],
        "state": State.CRASHED if pid is None else _state(directory),
        "reason": reason,
        "pid": pid,
        "group": group,
        "role": role,
        "since": os.stat(os.path.join(directory, "argv.json")).st_mtime,
    }


def _is_same(link: str, directory: str) -> bool:
    try:
        return os.path.samefile(link, directory)
    except FileNotFoundError:
        return False


def _state(directory: str) -> State:
    # monitor.sock serves one client, and may have one; qmp.sock is free if the supervisor died.
    for name in ("monitor.sock", "qmp.sock"):
        path = os.path.join(directory, name)
        with (
            contextlib.suppress(OSError, QsuperError, ValueError),
            Connection(path, "QEMU", timeout_s=_QEMU_TIMEOUT_S) as qemu,
        ):
            status = qemu.execute("query-status", timeout_s=_QEMU_TIMEOUT_S)["status"]
            return OF_RUN_STATE[status].state if status in OF_RUN_STATE else State.PAUSED
    return State.UNRESPONSIVE
