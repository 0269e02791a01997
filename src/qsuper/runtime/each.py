"""One thing done to several members at once."""

from collections.abc import Awaitable, Callable, Iterable

import trio

from qsuper.errors import QsuperError
from qsuper.runtime.guest import Guest


async def each(guests: Iterable[Guest], do: Callable[[Guest], Awaitable[None]]) -> None:
    """Do it to all at once; the first error is everybody's answer, once all are through."""
    errors: list[QsuperError] = []

    async def one(guest: Guest) -> None:
        try:
            await do(guest)
        except QsuperError as error:
            errors.append(error)

    async with trio.open_nursery() as nursery:
        for guest in guests:
            nursery.start_soon(one, guest)
    if errors:
        raise errors[0]
