"""What signals ask of one member: done one after the other, in the order of the signals.

Signals coalesce, so what is asked for twice before it is begun is done once; who floods us gets it
done so often a second, and the queue stays short.
"""

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

import trio

from qsuper.fabric.signals import Rate

_QUEUE_MAX: Final = 16
"""Of more that differ, the oldest are forgotten: the last one decides."""


class Order(NamedTuple):
    """One thing to do."""

    what: str
    seen_s: float
    """When the signal was seen, seconds since the epoch."""


class Orders:
    """The orders for one member."""

    def __init__(self, perform: Callable[[Order], Awaitable[None]]) -> None:
        """Take what does them."""
        self._perform = perform
        self._queue: deque[Order] = deque(maxlen=_QUEUE_MAX)
        self._present: Order | None = None
        self._given = trio.Event()
        self._rate = Rate(trio.current_time)

    def __contains__(self, what: str) -> bool:
        """Tell whether it is being done, or is to be."""
        return any(each.what == what for each in (*self._queue, self._present) if each)

    def give(self, order: Order) -> None:
        """Have something done; does not wait."""
        if not self._queue or self._queue[-1].what != order.what:
            self._queue.append(order)
            self._given.set()

    async def run(self) -> None:
        """Do them until cancelled."""
        while True:
            await self._given.wait()
            await trio.sleep(self._rate.due_s())
            self._rate.told(1)
            self._present = self._queue.popleft()
            if not self._queue:
                self._given = trio.Event()
            await self._perform(self._present)
            self._present = None
