"""The doorbells of a running group: what guests ring the supervisor with, and whom it rings.

A signal from a guest boots a member that waits for it, or is a verb on a member, and is passed on
to the clients from outside. What guests ring each other with never comes here.
"""

import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import partial
from typing import Any, Final

import trio

from qsuper.errors import QsuperError, UsageError
from qsuper.fabric.group import Counter, Fabric
from qsuper.fabric.ivshmem import SUPERVISOR, Server
from qsuper.fabric.layout import peer_numbers, shared
from qsuper.fabric.outside import Outside
from qsuper.fabric.signals import Bell, Rate, Rung
from qsuper.options import Doorbell
from qsuper.plan import OnSignal, Vector
from qsuper.runtime.group import Group
from qsuper.runtime.guest import Guest
from qsuper.runtime.helping import Emit
from qsuper.runtime.orders import Order, Orders

Json = Any  # an answer of the control protocol

_BOOT: Final = "boot"


class Doorbells:
    """The doorbells of one group."""

    def __init__(
        self, group: Group, fabric: Fabric, counters: Mapping[str, Counter], emit: Emit
    ) -> None:
        """Take the group and its fabric.

        Args:
            group: Whose members are rung.
            fabric: What they share.
            counters: Where outside clients come in, by the name of the memory.
            emit: Takes events.
        """
        self._group = group
        self._servers = fabric.servers
        self._lost = fabric.lost
        self._paths = {share: counter.path for share, counter in counters.items()}
        self._outside = {
            share: Outside(fabric.servers[share], counter.listener)
            for share, counter in counters.items()
        }
        self._emit = emit
        self._numbers = peer_numbers(group.plan)
        self._rates: dict[tuple[str, int], Rate] = {}
        self._verbs: Mapping[OnSignal, Callable[[str], Awaitable[object]]] = {
            OnSignal.SUSPEND: group.suspend,
            OnSignal.RESUME: group.resume,
            OnSignal.RESET: group.reset,
            OnSignal.RESTART: group.restart,
            OnSignal.SHUTDOWN: group.shutdown,
            OnSignal.DESTROY: group.destroy,
        }
        self._orders = {
            guest.name: Orders(partial(self._obey, guest))
            for guest in group.guests.values()
            if guest.plan.boot or guest.plan.signals
        }
        self._being_destroyed: set[str] = set()

    async def run(self) -> None:
        """Obey signals and serve outside clients until cancelled."""
        if not self._servers:
            return
        bell = Bell(self._servers.values(), self._group.steering.free)
        try:
            async with trio.open_nursery() as nursery:
                for outside in self._outside.values():
                    nursery.start_soon(outside.run)
                for orders in self._orders.values():
                    nursery.start_soon(orders.run)
                await self._group.started.wait()
                while True:
                    for rung in await bell.rung():
                        self._take(rung, nursery)
        finally:
            bell.close()

    def _take(self, rung: Rung, nursery: trio.Nursery) -> None:
        seen_s = time.time()
        vector = Vector(share=rung.share, number=rung.vector)
        done: dict[str, str] = {}
        for guest in self._group.live:
            for what in self._wanted(guest, vector):
                done[guest.name] = what
                if what is OnSignal.DESTROY:  # whatever else is being done
                    nursery.start_soon(self._destroy, guest.name)
                else:
                    self._orders[guest.name].give(Order(what, seen_s))
        self._outside[rung.share].pass_on(rung.vector)
        rate = self._rates.setdefault((rung.share, rung.vector), Rate(trio.current_time))
        if times := rate.told(rung.times):
            detail = {"shmem": rung.share, "vector": rung.vector, "times": times, "to": SUPERVISOR}
            self._emit("SIGNAL", self._group.name, {**detail, "domains": list(done), "verbs": done})

    def _wanted(self, guest: Guest, vector: Vector) -> Iterator[str]:
        """Give what a vector asks of a member."""
        if guest.plan.boot == vector and (
            guest.waits or OnSignal.RESTART in self._orders[guest.name]  # then it will wait
        ):
            yield _BOOT
        for rule in guest.plan.signals:
            if rule.vector == vector:
                yield rule.verb

    async def _obey(self, guest: Guest, order: Order) -> None:
        await self._group.steering.free()
        if order.what == _BOOT:
            await self._boot(guest, order.seen_s)
        else:
            await self._perform(guest.name, OnSignal(order.what))

    async def _destroy(self, name: str) -> None:
        if name not in self._being_destroyed:
            self._being_destroyed.add(name)
            await self._perform(name, OnSignal.DESTROY)
            self._being_destroyed.discard(name)

    async def _boot(self, guest: Guest, seen_s: float) -> None:
        if not guest.waits:
            return
        try:
            with self._group.steering.verb():
                at_us = await self._group.boot(guest)
        except QsuperError as error:
            self._emit("SIGNAL_FAILED", guest.name, {"verb": _BOOT, "message": str(error)})
        else:
            delay_us = None if at_us is None else at_us - int(seen_s * 1_000_000)
            self._emit("BOOTED", guest.name, {"delay_us": delay_us})

    async def _perform(self, name: str, verb: OnSignal) -> None:
        try:
            with self._group.steering.verb():
                await self._verbs[verb](name)
        except QsuperError as error:
            self._emit("SIGNAL_FAILED", name, {"verb": verb, "message": str(error)})

    def ring(self, name: str, vector: int, share: str | None) -> Json:
        """Ring a member.

        Args:
            name: The member.
            vector: Which of its vectors.
            share: The memory whose doorbell; None: the one that the member has.

        Raises:
            QsuperError: it has no such doorbell, or no such vector.
            UsageError: it has several, and *share* is None.
        """
        server = self._server(name, share)
        server.ring(name, vector)
        number = self._numbers[name]
        detail = {"shmem": server.share, "vector": vector, "times": 1, "to": number}
        self._emit("SIGNAL", name, detail)
        return {"shmem": server.share, "vector": vector, "peer": number}

    def _server(self, name: str, share: str | None) -> Server:
        plan = self._group.guest(name).plan
        if share is None:
            mine = [each.share for each in shared(plan) if isinstance(each, Doorbell)]
            if not mine:
                raise QsuperError(f"domain {name!r} has no doorbell")
            if len(mine) > 1:
                raise UsageError(f"which shmem? {name!r} has {', '.join(mine)}")
            (share,) = mine
        if share in self._lost:
            raise QsuperError(self._lost[share])
        if share not in self._servers:
            raise QsuperError(f"no shmem {share!r} with doorbells in group {self._group.name!r}")
        return self._servers[share]

    def of(self, name: str) -> list[dict[str, Json]]:
        """Give what `info` says of a member's doorbells."""
        return [
            {
                "shmem": share,
                "peer": self._numbers[name],
                "socket": self._paths[share],
                "clients": self._outside[share].numbers,
            }
            for share, server in self._servers.items()
            if server.has(name)
        ]
