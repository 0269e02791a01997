"""Which I/O thread serves which queues: `<iothreads>` in the `<driver>` of a disk or a controller.

Source: libvirt `formatdomain.rst`, "Hard drives, floppy disks, CDROMs".
"""

from collections.abc import Iterator
from typing import Self

from msgspec import Struct

from qsuper.options import Value
from qsuper.translate.node import Node


class VqMapping(Struct, frozen=True):
    """Threads with the queues that they serve; without queues QEMU deals them round-robin."""

    rows: tuple[tuple[int, tuple[int, ...]], ...] = ()

    @classmethod
    def parse(cls, driver: Node) -> Self:
        """Read `<iothreads>` of `<driver>`."""
        found = driver.child("iothreads")
        rows = found.children("iothread") if found is not None else ()
        return cls(tuple(_row(row) for row in rows))

    @property
    def threads(self) -> list[int]:
        """The I/O threads that it names."""
        return [thread for thread, _ in self.rows]

    @property
    def value(self) -> Value:
        """Give the value of `iothread-vq-mapping`."""
        rows: list[Value] = [
            {"iothread": f"iothread{thread}", "vqs": list(queues) or None}
            for thread, queues in self.rows
        ]
        return rows or None

    def misfits(self, queues: int | None) -> Iterator[str]:
        """Give what is wrong with the dealing of a device's *queues*."""
        if len(set(self.threads)) != len(self.threads):
            yield "an I/O thread is named twice"
        served = [queue for _, mine in self.rows for queue in mine]
        if not served:
            return
        if not all(mine for _, mine in self.rows):
            yield "either all I/O threads have their queues listed, or none has"
        if len(set(served)) != len(served):
            yield "a queue has two I/O threads"
        if queues is None:
            yield "<queue> needs queues="
            return
        for queue in sorted(set(served) ^ set(range(queues))):
            state = "has no I/O thread" if queue < queues else "does not exist"
            yield f"queue {queue} {state}"


def _row(node: Node) -> tuple[int, tuple[int, ...]]:
    queues = (queue.required_integer("id", low=0) for queue in node.children("queue"))
    return node.required_integer("id", low=1), tuple(queues)
