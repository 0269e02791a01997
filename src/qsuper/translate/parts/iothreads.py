"""`<iothreads>` and `<iothreadids>`: the threads that serve disks."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from qsuper.options import Option
from qsuper.translate.node import Node


@dataclass(frozen=True, slots=True, kw_only=True)
class Iothreads:
    """The I/O threads, in the order of the command line."""

    ids: tuple[int, ...] = ()

    @classmethod
    def parse(cls, node: Node) -> Self:
        """Read `<iothreads>` and `<iothreadids>` of `<domain>`."""
        node.child("iothreads")
        return cls()

    def options(self) -> Iterator[Option]:
        """Give one `-object iothread` each."""
        for number in self.ids:
            yield Option.json("object", {"qom-type": "iothread", "id": f"iothread{number}"})
