"""Clients from outside that do all they can; the group's guests go on ringing each other."""

import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TypeAlias

import pytest

from qsuper.fabric.client import Client
from qsuper.fabric.protocol import MESSAGE
from tests.support.fabric import (
    is_event,
    joined,
    load,
    restarting,
    wait_event,
    wait_greetings,
    wait_signals,
    with_rules,
)
from tests.support.supervised import (
    PATIENCE_S,
    Supervisor,
    events,
    leftovers,
    readable,
    supervised,
)

pytestmark = [pytest.mark.qemu, pytest.mark.usefixtures("rundir")]

DEPENDENCY = "mailbox-dependency"
FULL = (1 << 64) - 2
"""The most that an eventfd holds."""

Fault: TypeAlias = Callable[[str], AbstractContextManager[object]]


def raw(path: str) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(PATIENCE_S)
    client.connect(path)
    return client


def eventfds(client: Client, peer: int) -> list[int]:
    # What the client would not do by itself.
    return client._peers[peer]  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]


@contextmanager
def process(script: str, *words: str) -> Generator[None]:
    """Run a program for as long as the fault shall last; it says when it has begun."""
    head = "import os, socket, sys\nfrom qsuper.fabric.client import Client\n"
    argv = [sys.executable, "-c", head + script, *words]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as running:
        try:
            assert running.stdout
            readable(running.stdout.fileno())
            yield
        finally:
            running.kill()


def floods_the_socket(path: str) -> AbstractContextManager[object]:
    """Again and again, since it is hung up on each time."""
    return process(
        """
print("begun", flush=True)
while True:
    client = socket.socket(socket.AF_UNIX)
    client.connect(sys.argv[1])
    try:
        while True:
            client.sendall(b"flood" * 10000)
    except OSError:
        client.close()
""",
        path,
    )


def _flood(path: str, peer: int) -> AbstractContextManager[object]:
    return process(
        """
with Client(sys.argv[1]) as client:
    print("begun", flush=True)
    while True:
        for eventfd in client._peers[int(sys.argv[2])]:
            try:
                os.eventfd_write(eventfd, 1)
            except BlockingIOError:
                pass
""",
        path,
        str(peer),
    )


def floods_the_supervisor(path: str) -> AbstractContextManager[object]:
    return _flood(path, 1)


def floods_a_dead_vector(path: str) -> AbstractContextManager[object]:
    return _flood(path, 3)


@contextmanager
def fills_and_blocks(path: str) -> Generator[None]:
    """Whoever reads or writes an eventfd would wait for ever: the flag is everybody's."""
    with Client(path) as client:
        for peer in (1, 2, 3):
            for eventfd in eventfds(client, peer):
                fcntl.fcntl(eventfd, fcntl.F_SETFL, os.O_RDWR)
        for eventfd in eventfds(client, 1):
            os.eventfd_write(eventfd, FULL)
        yield


@contextmanager
def stalls(path: str) -> Generator[None]:
    """It takes the greeting, or not even that, and reads no more while others come and go."""
    with raw(path) as client, raw(path) as deaf:
        client.recv(8)
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        for _ in range(50):
            with Client(path):
                pass
        yield


@contextmanager
def hangs_up_in_the_greeting(path: str) -> Generator[None]:
    for length in range(100):
        with raw(path) as client:
            if length:
                client.recv(length)  # in the middle of a message, most often
    yield


@contextmanager
def sends_descriptors(path: str) -> Generator[None]:
    """As many as the kernel takes in one message, all of one pipe, whose other end tells."""
    for _ in range(20):
        end, sent = os.pipe()
        with raw(path) as client:
            with contextlib.suppress(OSError):  # it may have been hung up on already
                for _ in range(5):
                    socket.send_fds(client, [MESSAGE.pack(7)], [sent] * 200)
            os.close(sent)
            readable(end)
            assert os.read(end, 1) == b""
            os.close(end)
    yield


FAULTS = (
    floods_the_socket,
    floods_the_supervisor,
    floods_a_dead_vector,
    fills_and_blocks,
    stalls,
    hangs_up_in_the_greeting,
    sends_descriptors,
)


def counts(supervisor: Supervisor) -> dict[str, int]:
    """Give how many descriptors everybody has once the clients are gone, and who asks alone."""
    deadline_s = time.monotonic() + PATIENCE_S
    with supervisor.connect() as ask:
        while True:
            info = ask.execute("info", {"domain": "mailbox"}, timeout_s=PATIENCE_S)
            rows = ask.execute("list", timeout_s=PATIENCE_S)["domains"]
            pids = {row["name"]: row["pid"] for row in rows} | {"": supervisor.process.pid}
            found = {name: len(os.listdir(f"/proc/{pid}/fd")) for name, pid in pids.items()}
            if not info["doorbells"][0]["clients"] and len(_connections(supervisor)) == 1:
                return found
            assert time.monotonic() < deadline_s, info["doorbells"]


def _connections(supervisor: Supervisor) -> list[str]:
    """Give the supervisor's connections by its control socket."""
    inodes = {
        os.readlink(entry.path).removeprefix("socket:[").removesuffix("]")
        for entry in os.scandir(f"/proc/{supervisor.process.pid}/fd")
        if os.path.lexists(entry.path)
    }
    lines = Path("/proc/net/unix").read_text().splitlines()
    connected = (line.split() for line in lines if line.endswith("/control.sock"))
    return [fields[6] for fields in connected if fields[5] == "03" and fields[6] in inodes]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_nobody_else_is_hurt(tmp_path: Path, fault: Fault) -> None:
    """Meanwhile and after it: doorbells, verbs, the memory, another client, a kill -9."""
    with supervised(load(tmp_path, "mailbox", restarting)) as supervisor:
        wait_signals("mailbox", 3)
        before = counts(supervisor)
        (bell,) = supervisor.ask("info", domain="mailbox")["doorbells"]
        with Client(bell["socket"]) as client:
            client.memory[4096:8192] = b"kept" * 1024
            with fault(bell["socket"]):
                wait_signals("mailbox", 3)
                supervisor.ask("signal", domain="mailbox", vector=1)
                os.kill(supervisor.pid(DEPENDENCY), signal.SIGKILL)
                wait_greetings(2)
                wait_signals("mailbox", 3)
                assert supervisor.ask("restart", domain=DEPENDENCY)
                wait_greetings(3)
            wait_signals("mailbox", 3)
            assert client.memory[4096:8192] == b"kept" * 1024
            assert client.peers.keys() >= {1, 2, 3, client.number}
        assert counts(supervisor) == before
        with joined(supervisor, "mailbox") as another:
            while another.wait(0) is not None:
                pass
            another.ring(1, 2)
            assert another.wait(PATIENCE_S) == 2
        assert not [each for each in events("mailbox") if each["event"] in ("STOP", "RESET")]
        answer = supervisor.ask("suspend", domain="mailbox")
        assert answer["domains"] == {"mailbox": "paused", DEPENDENCY: "paused"}
        supervisor.ask("destroy", domain="mailbox")
        assert supervisor.wait_ended() == 0
    assert leftovers() == []


@pytest.mark.parametrize("verb", ["suspend", "reset", "restart", "destroy"])
def test_a_flood_of_a_verb(tmp_path: Path, verb: str) -> None:
    """It is done so often a second, and the supervisor answers all the time."""
    rules = (
        f"<q:signal shmem='mailbox' vector='1' verb='{verb}'/>"
        "<q:signal shmem='mailbox' vector='2' verb='resume'/>"
    )
    with supervised(load(tmp_path, "mailbox", with_rules(rules))) as supervisor:
        wait_signals("mailbox", 3)
        memory = resident_mib(supervisor)
        (bell,) = supervisor.ask("info", domain="mailbox")["doorbells"]
        began_s = time.monotonic()
        with floods_the_supervisor(bell["socket"]):
            wait_event("mailbox", is_event("SIGNAL"))
            flooded_s = time.monotonic()
            while time.monotonic() - flooded_s < 3:
                assert supervisor.state("mailbox") == "running"
        took_s = time.monotonic() - began_s
        done = sum(
            each["event"] in ("RESET", "GROUP_SUSPENDED")
            or each["detail"].get("state") == "prelaunch"
            for name in ("mailbox", DEPENDENCY)
            for each in events(name)
        )
        assert done <= 60 + 50 * took_s  # a burst of 50, and 50 a second
        assert resident_mib(supervisor) - memory < 10
        if verb == "destroy":
            assert supervisor.row(DEPENDENCY)["pid"] is None
        else:
            with joined(supervisor, "mailbox") as client:
                client.ring(1, 2)  # what is left of the flood is done before
            wait_signals("mailbox", 3)
        supervisor.ask("destroy", domain="mailbox")
        assert supervisor.wait_ended() == 0
    assert leftovers() == []


def resident_mib(supervisor: Supervisor) -> float:
    pages = int(Path(f"/proc/{supervisor.process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / (1 << 20)
