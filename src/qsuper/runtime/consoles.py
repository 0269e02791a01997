"""What the members print on their consoles, on our standard output: one line each, with a prefix.

QEMU writes the log files itself; we follow them by inotify. A reader slower than the guests slows
down nothing but this.
"""

import os
import sys
from collections.abc import Iterable, Iterator
from typing import Final

import trio

from qsuper.runtime.inotify import Inotify
from qsuper.runtime.tail import Tail

_COLOURS: Final = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)


class Consoles:
    """The console logs of all members."""

    def __init__(self, tails: Iterable[Tail]) -> None:
        """Take open log files; `close` closes them.

        Raises:
            OSError: there are too many inotify instances or watches.
        """
        self._inotify = Inotify()
        self._tails = {self._inotify.watch(tail.path): tail for tail in tails}
        names = {tail.name: None for tail in self._tails.values()}
        self._prefixes = dict(zip(names, _prefixes(names), strict=True))

    def close(self) -> None:
        self._inotify.close()
        for tail in self._tails.values():
            tail.close()

    async def follow(self) -> None:
        """Print until cancelled, or until nobody reads any more."""
        while True:
            await trio.lowlevel.wait_readable(self._inotify.fileno())
            ready = [self._tails[number] for number in self._inotify.read()]
            while ready:  # a chunk of each in turn: none keeps the others waiting
                ready = [tail for tail in ready if await self._print(tail)]

    async def finish(self) -> None:
        """Print what is left, once all members have ended."""
        for tail in self._tails.values():
            while await self._print(tail):
                pass
            await self._write(tail, tail.last())

    async def _print(self, tail: Tail) -> bool:
        lines = tail.lines()
        if lines is None:
            return False
        await self._write(tail, lines)
        return True

    async def _write(self, tail: Tail, lines: list[bytes]) -> None:
        if not lines:
            return
        prefix = self._prefixes[tail.name]
        text = b"".join(prefix + line + b"\n" for line in lines)
        # In a thread: a terminal stopped by Ctrl-S stops that thread and nobody else.
        await trio.to_thread.run_sync(_write_all, text, abandon_on_cancel=True)


async def show(tails: Iterable[Tail], ended: trio.Event) -> None:
    """Print the consoles until all members have *ended* and everything is printed.

    Returns early when nobody reads our standard output any more.
    """
    consoles = Consoles(tails)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(consoles.follow)
            await ended.wait()
            nursery.cancel_scope.cancel()
        await consoles.finish()
    except* OSError:
        pass  # a broken pipe, or the terminal went away: the guests run on
    finally:
        consoles.close()


def _write_all(text: bytes) -> None:
    view = memoryview(text)
    while view:
        view = view[os.write(sys.stdout.fileno(), view) :]


def _prefixes(names: Iterable[str]) -> Iterator[bytes]:
    """Give each name's prefix, coloured on a terminal."""
    coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    for number, name in enumerate(names):
        text = f"{name} | "
        if coloured:
            text = f"\x1b[{_COLOURS[number % len(_COLOURS)]}m{text}\x1b[0m"
        yield text.encode()
