"""`<iothreads>` and `<iothreadids>`: the threads that serve disks."""

from collections.abc import Iterator
from typing import Final, Self

from msgspec import Struct

from qsuper.options import Option, Value
from qsuper.translate.node import Node

_MAX_THREADS: Final = 0x7FFFFFFF
_MOST: Final = 4096  # as many objects as anyone could want; bounds what a file makes us write


class Iothread(Struct, frozen=True, kw_only=True):
    """One thread; what is None is QEMU's default."""

    number: int
    pool_min: int | None = None
    pool_max: int | None = None
    poll_max_ns: int | None = None
    poll_grow: int | None = None
    poll_shrink: int | None = None


class Iothreads(Struct, frozen=True, kw_only=True):
    """The I/O threads, in the order of the command line."""

    threads: tuple[Iothread, ...] = ()
    main_pool_min: int | None = None
    """Pool of QEMU's main loop: `<defaultiothread>`."""
    main_pool_max: int | None = None

    @property
    def ids(self) -> frozenset[int]:
        """The numbers that disks and controllers may name."""
        return frozenset(thread.number for thread in self.threads)

    @classmethod
    def parse(cls, node: Node) -> Self:
        """Read `<iothreads>`, `<iothreadids>` and `<defaultiothread>` of `<domain>`.

        Ids that the file leaves out are the lowest free ones, from 1.

        Raises:
            ConfigError: a number out of range, an id given twice.
        """
        count = node.child("iothreads")
        total = count.integer_text(low=0, high=_MOST) if count is not None else 0
        threads = _explicit(node)
        taken = {thread.number for thread in threads}
        free = (number for number in range(1, _MAX_THREADS) if number not in taken)
        missing = max(0, total - len(threads))
        threads += [
            Iothread(number=number) for number, _ in zip(free, range(missing), strict=False)
        ]
        main = node.child("defaultiothread")
        if main is not None:
            _check_pool(main)
        return cls(
            threads=tuple(threads),
            main_pool_min=main.integer("thread_pool_min", low=0) if main is not None else None,
            main_pool_max=main.integer("thread_pool_max", low=0) if main is not None else None,
        )

    def options(self) -> Iterator[Option]:
        """Give `-object main-loop` if it is tuned, and one `-object iothread` each."""
        if not (self.main_pool_min is None and self.main_pool_max is None):
            yield Option.json(
                "object",
                {
                    "qom-type": "main-loop",
                    "id": "main-loop",
                    "thread-pool-min": self.main_pool_min,
                    "thread-pool-max": self.main_pool_max,
                },
            )
        for thread in self.threads:
            props: dict[str, Value] = {
                "qom-type": "iothread",
                "id": f"iothread{thread.number}",
                "thread-pool-min": thread.pool_min,
                "thread-pool-max": thread.pool_max,
                "poll-max-ns": thread.poll_max_ns,
                "poll-grow": thread.poll_grow,
                "poll-shrink": thread.poll_shrink,
            }
            yield Option.json("object", props)


def _check_pool(found: Node) -> None:
    """Check how many threads there may be for an I/O thread, or for the main loop.

    Raises:
        ConfigError: that makes no sense.
    """
    least, most = found.integer("thread_pool_min", low=0), found.integer("thread_pool_max", low=0)
    if most == 0:
        raise found.error("thread_pool_max='0' leaves no thread", hint="1 at least")
    if least is not None and most is None:
        raise found.error("thread_pool_min= needs thread_pool_max=", hint="add it")
    if least is not None and most is not None and least > most:
        raise found.error(f"thread_pool_min='{least}' is more than thread_pool_max='{most}'")


def _explicit(node: Node) -> list[Iothread]:
    parent = node.child("iothreadids")
    threads: list[Iothread] = []
    for found in parent.children("iothread") if parent is not None else ():
        number = found.required_integer("id", low=1, high=_MAX_THREADS)
        if any(thread.number == number for thread in threads):
            raise found.error(f"id='{number}' is given twice", hint="each I/O thread has its own")
        poll = found.child("poll")
        _check_pool(found)
        threads.append(
            Iothread(
                number=number,
                pool_min=found.integer("thread_pool_min", low=0, high=_MAX_THREADS),
                pool_max=found.integer("thread_pool_max", low=0, high=_MAX_THREADS),
                poll_max_ns=poll.integer("max", low=0) if poll is not None else None,
                poll_grow=poll.integer("grow", low=0) if poll is not None else None,
                poll_shrink=poll.integer("shrink", low=0) if poll is not None else None,
            )
        )
    return threads
