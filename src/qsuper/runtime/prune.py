"""What dead supervisors, or a power cut, have left in the runtime directory.

A directory is removed only with its lock in our hand and no QEMU at work in it; a socket only when
nobody has it open. A group whose QEMUs live is left for a successor.
"""

import errno
import os
import re
import socket
import stat
from collections.abc import Iterator
from typing import Final, NamedTuple

from qsuper import paths, planfile
from qsuper.fabric.layout import host_files, remove
from qsuper.options import UnixListener
from qsuper.plan import GroupPlan
from qsuper.runtime import rundir
from qsuper.runtime.adoption import belongs
from qsuper.runtime.rundir import Rundir
from qsuper.runtime.survivors import end_helpers, survivor

_HASHED: Final = re.compile(r"[0-9a-f]{16}\.sock")
"""A socket whose own path was too long."""


class Pruned(NamedTuple):
    """What became of the runtime directory."""

    removed: list[str]
    """Paths."""
    orphans: list[str]
    """Groups whose QEMUs live without a supervisor."""


def prune() -> Pruned:
    """Remove what nothing alive needs.

    Raises:
        QsuperError: the runtime directory is not ours alone.
    """
    root = paths.check_private(paths.runtime_dir())
    done = Pruned([], [])
    for path in _entries(os.path.join(root, "groups")):
        _prune_group(path, done)
    for path in _entries(os.path.join(root, "domains")):
        _prune_domain(path, done)
    for path in _entries(root):
        if _HASHED.fullmatch(os.path.basename(path)) and _is_dead_socket(path):
            os.unlink(path)
            done.removed.append(path)
    return done


def _entries(path: str) -> list[str]:
    return sorted(os.path.join(path, name) for name in os.listdir(path)) if _is_dir(path) else []


def _is_dir(path: str) -> bool:
    return os.path.isdir(path) and not os.path.islink(path)


def _prune_group(path: str, done: Pruned) -> None:
    if not _is_dir(path) or (place := Rundir.take(path)) is None:
        return
    domains = [each for each in _domains() if belongs(each, path)]
    if any(map(survivor, domains)):
        done.orphans.append(os.path.basename(path))
        place.abandon()
        return
    for domain in domains:
        _remove_domain(domain, done)
    if plan := _plan(place):
        files = [file for file in _files(plan) if os.path.lexists(file)]
        done.removed.extend(files)
        remove(files)
    place.release()
    done.removed.append(path)


def _prune_domain(path: str, done: Pruned) -> None:
    """Remove a domain's directory, unless its group may want to know what became of it."""
    if _is_dir(path) and not os.path.isdir(os.path.join(path, rundir.GROUP)):
        _remove_domain(path, done)


def _remove_domain(path: str, done: Pruned) -> None:
    if (place := Rundir.take(path)) is None:
        return
    if survivor(path) is None:
        end_helpers(path)
        place.release()
        done.removed.append(path)
    place.abandon()


def _domains() -> list[str]:
    return _entries(os.path.join(paths.runtime_dir(), "domains"))


def _plan(place: Rundir) -> GroupPlan | None:
    try:
        with open(place.file(rundir.PLAN), "rb") as file:
            return planfile.loads(file.read())
    except (OSError, ValueError):  # nothing was made by what cannot be read
        return None


def _files(plan: GroupPlan) -> Iterator[str]:
    """Give what was made for the members outside the runtime directory."""
    yield from host_files(plan)
    resources = [each for member in plan.members for each in member.plan.resources()]
    sockets = [each.path for each in resources if isinstance(each, UnixListener)]
    yield from (path for path in sockets if path and _is_dead_socket(path))


def _is_dead_socket(path: str) -> bool:
    """Tell whether nobody has that socket: not even one who is about to listen."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode) or path in _bound():
            return False
    except OSError:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # noqa: FBT003 - as socket names it
        return probe.connect_ex(path) == errno.ECONNREFUSED


def _bound() -> set[str]:
    """Give the paths that sockets of this network namespace are bound to."""
    with open("/proc/net/unix", encoding="utf-8", errors="surrogateescape") as file:
        return {line.rstrip("\n").split(" ", 7)[-1] for line in file}
