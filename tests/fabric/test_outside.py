"""Clients from outside: what they are told, and what they cannot do to anybody."""

import os
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest
import trio

from qsuper.errors import QsuperError, TimedOutError
from qsuper.fabric.client import Client
from qsuper.fabric.outside import CLIENTS_MAX, Outside, flushed
from qsuper.fabric.protocol import MESSAGE
from qsuper.fabric.signals import Bell, Rate
from tests.support.doorbells import SIZE, VECTORS, Bench, bench

T = TypeVar("T")


class Place:
    """A server with members "a" (2) and "b" (3), no QEMUs, that serves outside clients."""

    def __init__(self, it: Bench, outside: Outside, path: str) -> None:
        self.server, self.box, self.outside, self.path = it.server, it.box, outside, path

    async def client(self) -> Client:
        return await _blocking(Client, self.path)


async def _blocking(call: Callable[..., T], *arguments: object) -> T:
    with trio.fail_after(30):
        return await trio.to_thread.run_sync(partial(call, *arguments))


@asynccontextmanager
async def serving(directory: Path) -> AsyncGenerator[Place]:
    path = str(directory / "mailbox.ivshmem")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(64)
    with bench("a", "b") as it:
        outside = Outside(it.server, listener)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(outside.run)
            yield Place(it, outside, path)
            nursery.cancel_scope.cancel()


async def settled(place: Place, count: int) -> None:
    """Wait until so many clients are there."""
    with trio.fail_after(30):
        while len(place.outside.numbers) != count:
            await trio.lowlevel.checkpoint()


async def test_a_client_maps_memory_and_rings(tmp_path: Path) -> None:
    async with serving(tmp_path) as place:
        with await place.client() as client:
            assert client.number == 256
            assert client.peers == {1: VECTORS, 2: VECTORS, 3: VECTORS, 256: VECTORS}
            assert len(client.memory) == SIZE
            client.memory[SIZE - 4 :] = b"here"
            assert place.box.memory[SIZE - 4 :] == b"here"
            client.ring(2, 3)
            assert os.eventfd_read(place.server.peers[1].eventfds[3]) == 1
            with pytest.raises(QsuperError, match="no peer 2 with a vector 4"):
                client.ring(2, 4)
            with pytest.raises(QsuperError, match="no peer 9"):
                client.ring(9, 0)


async def test_what_we_are_rung_with_reaches_all_clients(tmp_path: Path) -> None:
    async with serving(tmp_path) as place:
        with await place.client() as one, await place.client() as two:
            bell = Bell([place.server])
            os.eventfd_write(place.server.own.eventfds[2], 3)
            with trio.fail_after(30):
                (rung,) = await bell.rung()
            assert (rung.share, rung.vector, rung.times) == ("mailbox", 2, 3)
            place.outside.pass_on(rung.vector)
            for client in (one, two):
                assert await _blocking(client.wait, 30.0) == 2
                assert client.wait(0) is None
            bell.close()


async def test_clients_come_and_go_with_fresh_numbers(tmp_path: Path) -> None:
    async with serving(tmp_path) as place:
        with await place.client() as one:
            before = len(os.listdir("/proc/self/fd"))
            for number in range(257, 277):
                with await place.client() as two:
                    assert two.number == number
                    await trio.lowlevel.wait_readable(one.fileno())
                    assert one.wait(0) is None
                    assert number in one.peers
                    one.ring(number, 1)
                    assert await _blocking(two.wait, 30.0) == 1
                await settled(place, 1)
                await trio.lowlevel.wait_readable(one.fileno())
                assert one.wait(0) is None
                assert number not in one.peers
            assert len(os.listdir("/proc/self/fd")) == before


async def test_in_trio(tmp_path: Path) -> None:
    async with serving(tmp_path) as place:
        with await place.client() as client:
            place.outside.pass_on(1)
            with trio.fail_after(30):
                await trio.lowlevel.wait_readable(client.fileno())
            assert client.wait(0) == 1


async def raw(place: Place) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(0)
    client.connect(place.path)
    return client


@pytest.mark.parametrize("said", [b"x", MESSAGE.pack(0)[:5], b"flood" * 10000])
async def test_who_says_something_is_hung_up_on(tmp_path: Path, said: bytes) -> None:
    async with serving(tmp_path) as place:
        with await place.client() as good, await raw(place) as bad:
            await settled(place, 2)
            bad.send(said)
            await settled(place, 1)
            place.outside.pass_on(0)
            assert await _blocking(good.wait, 30.0) == 0


async def test_descriptors_that_a_client_sends_are_dropped(tmp_path: Path) -> None:
    async with serving(tmp_path) as place:
        before = len(os.listdir("/proc/self/fd"))
        read, write = os.pipe()
        with await raw(place) as bad:
            await settled(place, 1)
            socket.send_fds(bad, [MESSAGE.pack(7)], [write] * 50)
            os.close(write)
            await settled(place, 0)
        assert os.read(read, 1) == b""  # nobody holds the other end any more
        os.close(read)
        assert len(os.listdir("/proc/self/fd")) == before


async def test_who_does_not_listen_holds_up_nobody(tmp_path: Path) -> None:
    """One never reads; so many come and go that what it is to be told does not fit."""
    async with serving(tmp_path) as place:
        with await raw(place) as deaf:
            await settled(place, 1)
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
            for _ in range(300):
                with await place.client() as client:
                    client.ring(2, 0)
                await settled(place, 1)
            assert 256 in place.outside.numbers


async def test_a_crowd_is_limited(tmp_path: Path) -> None:
    async with serving(tmp_path) as place:
        crowd: list[socket.socket] = []
        for _ in range(CLIENTS_MAX):
            crowd.append(await raw(place))
            await settled(place, len(crowd))
        with pytest.raises(QsuperError, match="hung up"):
            await place.client()
        for each in crowd:
            each.close()
        await settled(place, 0)
        with await place.client() as client:
            assert client.peers.keys() == {1, 2, 3, client.number}


async def test_a_replacement_is_told_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where that does not fit into a socket at once."""
    monkeypatch.setattr("qsuper.fabric.protocol._SEND_BUFFER_BYTES", 1)
    names = [f"m{number}" for number in range(20)]
    with bench(*names) as it:
        it.server.attach("m0").close()
        with it.server.attach("m0") as theirs:
            conversation = it.server.unsent("m0")
            assert conversation is not None
            theirs.settimeout(30)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(flushed, conversation)
                for _ in range(3 + (1 + len(names)) * VECTORS):
                    content, received, _, _ = await _blocking(socket.recv_fds, theirs, 8, 1)
                    assert len(content) == 8
                    for descriptor in received:
                        os.close(descriptor)
            assert it.server.unsent("m0") is None


def test_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(QsuperError, match="No such file"):
        Client(str(tmp_path / "nothing"))


def test_a_server_that_says_nothing(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "dumb"))
        listener.listen()
        with pytest.raises(TimedOutError, match="no greeting"):
            Client(str(tmp_path / "dumb"), timeout_s=0.01)


def test_a_flood_is_told_in_few_lines() -> None:
    now = [0.0]
    rate = Rate(lambda: now[0])
    assert [rate.told(1) for _ in range(60)] == [1] * 50 + [0] * 10
    now[0] = 0.1
    assert rate.told(1) == 11
