"""Looks after the log files while the group runs, so that none fills the disk.

Nothing is looked at before somebody writes, and then not at each write: a look is followed by a
pause, the shorter the faster the files grow. A guest that writes a line now and then costs a look
in 5 seconds, a silent one nothing.

While no supervisor lives, nobody cuts anything; its successor does at once. (The kernel's own
limit, RLIMIT_FSIZE, would hold for QEMU's disk images too.)
"""

import os
from collections.abc import Callable, Iterable
from typing import Final

import trio

from qsuper.plan import LogLimits
from qsuper.runtime.inotify import Inotify
from qsuper.runtime.rotation import rotate

_SHORTEST_S: Final = 0.02
_LONGEST_S: Final = 5.0
_GROWTH: Final = 4  # times as fast as before, until the next look
_SPARE_BYTES_PER_S: Final = 1 << 20
_FASTEST_BYTES_PER_S: Final = 2 << 30  # a burst as fast as that must not fill what is free


async def keep_small(
    paths: Iterable[str], limits: LogLimits, complain: Callable[[str], None]
) -> None:
    """Cut the files at *paths* whenever they are too long, until cancelled.

    Args:
        paths: Those that are not there are left out.
        limits: For each of them.
        complain: Told, once a file, what is wrong with one that cannot be cut.
    """
    if not limits.max_bytes:
        return
    try:
        inotify = Inotify()
    except OSError as error:
        complain(f"the logs are not kept small: inotify: {error.strerror}")
        return
    with inotify:
        keeper = _Keeper(limits, complain)
        files = [path for path in dict.fromkeys(paths) if _watched(path, inotify, complain)]
        while True:
            began_s = trio.current_time()
            pause_s = min([keeper.look(path) for path in files] or [_LONGEST_S])
            for path in keeper.taken():
                await trio.to_thread.run_sync(keeper.cut, path)
            await trio.sleep(max(_SHORTEST_S, began_s + pause_s - trio.current_time()))
            inotify.read()
            await trio.lowlevel.wait_readable(inotify.fileno())


def _watched(path: str, inotify: Inotify, complain: Callable[[str], None]) -> bool:
    try:
        inotify.watch(path)
    except FileNotFoundError:
        return False
    except OSError as error:
        complain(f"{path}: not kept small: inotify: {error.strerror}")
        return False
    return True


class _Keeper:
    """What is known of the files."""

    def __init__(self, limits: LogLimits, complain: Callable[[str], None]) -> None:
        self._limits = limits
        self._too_long: list[str] = []
        self._complain = complain
        self._seen: dict[str, tuple[float, int]] = {}
        self._hopeless: set[str] = set()

    def taken(self) -> list[str]:
        """Give what the looks since the last call found too long."""
        found, self._too_long = self._too_long, []
        return found

    def look(self, path: str) -> float:
        """Look at one file; give the seconds until it should be looked at again."""
        now_s = trio.current_time()
        try:
            size = os.stat(path).st_size
            disk = os.statvfs(path)
        except OSError:
            return _LONGEST_S  # somebody has removed it
        before_s, before = self._seen.get(path, (now_s, size))
        self._seen[path] = now_s, size
        room = self._limits.max_bytes - size
        if room < 0:
            self._too_long.append(path)
            return _LONGEST_S if path in self._hopeless else 0.0
        rate = max(0, size - before) / max(now_s - before_s, _SHORTEST_S)
        room += self._limits.max_bytes // 4  # so much over it does no harm
        free = disk.f_bavail * disk.f_frsize
        return min(
            _LONGEST_S,
            room / (_GROWTH * rate + _SPARE_BYTES_PER_S),
            free / _FASTEST_BYTES_PER_S,
        )

    def cut(self, path: str) -> None:
        """Cut a file that is too long; in a thread."""
        try:
            size = rotate(path, self._limits)
        except OSError as error:
            if path not in self._hopeless:
                self._complain(f"{path}: cannot be cut: {error.strerror}")
            self._hopeless.add(path)
            return
        self._hopeless.discard(path)
        self._seen[path] = self._seen[path][0], size
