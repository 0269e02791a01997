"""Memory and eventfds found again in processes that live: real ones, which only sleep."""

import contextlib
import os
import subprocess
from collections.abc import Generator, Iterable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsuper.errors import QsuperError
from qsuper.fabric import ledger, recovery
from qsuper.fabric.foreign import Holder
from qsuper.fabric.group import Fabric, Found
from qsuper.fabric.ivshmem import SUPERVISOR
from qsuper.fabric.ledger import NOTHING, Ledger, MemoryId, Piece
from qsuper.fabric.protocol import MEMORY
from qsuper.fabric.recovery import Notes
from qsuper.options import Doorbell, Handle, Option, SharedMemory
from qsuper.plan import GroupPlan, LaunchPlan, Member, Role

SIZE = 1 << 20
SHARE = f"found-by-test-{os.getpid()}"
A, B = 2, 3  # their numbers


def plan(*, on_host: bool = False, **vectors: int | None) -> GroupPlan:
    """Give a primary and its dependencies, each with so many vectors; None: the memory alone."""
    names = list(vectors)

    def member(name: str, count: int | None) -> Member:
        resource = (
            SharedMemory(name="it", share=SHARE, size_bytes=SIZE, on_host=on_host)
            if count is None
            else Doorbell(name="it", share=SHARE, size_bytes=SIZE, vectors=count, on_host=on_host)
        )
        option = Option.json("object", {"fd": Handle(resource=resource, shown="")})
        return Member(
            plan=LaunchPlan(name=name, uuid="", arch="", emulator="", options=(option,)),
            role=Role.PRIMARY if name == names[0] else Role.DEPENDENCY,
            needs=tuple(names[1:]) if name == names[0] else (),
        )

    return GroupPlan(tuple(member(name, count) for name, count in vectors.items()))


class Sleepers:
    """Processes that have what the QEMUs of a plan's members would have."""

    def __init__(self, group: GroupPlan) -> None:
        fabric = Fabric(group)
        self.ledger = fabric.ledger()
        memory = fabric.memory(next(group.members[0].plan.resources()))  # type: ignore[arg-type]
        os.pwrite(memory, b"kept", 4096)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.holders: list[Holder] = []
        for member in group.members:
            (resource,) = member.plan.resources()
            vectors = resource.vectors if isinstance(resource, Doorbell) else 0
            peers = (peer for server in fabric.servers.values() for peer in server.peers)
            fds = [memory, *(fd for peer in peers for fd in peer.eventfds[:vectors])]
            self._start(member.plan.name, fds)
        for share in fabric.servers.values():
            os.eventfd_write(share.own.eventfds[0], 7)  # rung, and nobody has looked
        fabric.close()

    def _start(self, name: str, fds: Iterable[int]) -> None:
        process = subprocess.Popen(["sleep", "600"], pass_fds=tuple(fds))
        self.processes[name] = process
        self.holders.append(Holder(name, process.pid, os.pidfd_open(process.pid)))

    def end(self, name: str) -> None:
        self.processes[name].kill()
        self.processes[name].wait()

    def close(self) -> None:
        for name in self.processes:
            self.end(name)
        for holder in self.holders:
            os.close(holder.pidfd)


@contextlib.contextmanager
def sleeping(group: GroupPlan) -> Generator[Sleepers]:
    it = Sleepers(group)
    try:
        yield it
    finally:
        it.close()


@pytest.fixture(autouse=True)
def no_descriptor_is_left_over() -> Iterator[None]:
    before = len(os.listdir("/proc/self/fd"))
    yield
    assert len(os.listdir("/proc/self/fd")) == before


@contextlib.contextmanager
def recovered(group: GroupPlan, it: Sleepers, noted: Ledger | None = None) -> Generator[Fabric]:
    found = recovery.find(group, Notes(it.ledger if noted is None else noted), it.holders)
    fabric = Fabric(group, found)
    try:
        assert found.descriptors == {}
        yield fabric
    finally:
        fabric.close()


def content(fabric: Fabric) -> bytes:
    resource = SharedMemory(name="it", share=SHARE, size_bytes=SIZE)
    return os.pread(fabric.memory(resource), 4, 4096)


@pytest.mark.parametrize("dead", ["", "a", "b"])
def test_one_that_lives_is_enough(dead: str) -> None:
    group = plan(a=4, b=4)
    with sleeping(group) as it:
        if dead:
            it.end(dead)
        with recovered(group, it) as fabric:
            assert fabric.lost == {}
            assert fabric.ledger() == it.ledger
            assert content(fabric) == b"kept"
            own = fabric.servers[SHARE].own.eventfds
            assert os.eventfd_read(own[0]) == 7
            assert not any(map(os.get_inheritable, own))
            fabric.servers[SHARE].ring("b", 3)


def test_several_have_it_together() -> None:
    """B has 2 of each peer's vectors; who had the others has died."""
    group = plan(a=4, b=2, c=3)
    with sleeping(group) as it:
        it.end("a")
        with recovered(group, it) as fabric:
            assert fabric.lost == {}
            after = fabric.ledger()
        before = it.ledger.eventfds[SHARE]
        assert after.memory == it.ledger.memory
        known = {number: ids[:3] for number, ids in before.items()}
        assert {number: ids[:3] for number, ids in after.eventfds[SHARE].items()} == known
        fresh = {after.eventfds[SHARE][number][3] for number in (SUPERVISOR, A)}
        assert len(fresh) == 2
        assert not fresh & {each for ids in known.values() for each in ids}


def test_nobody_lives() -> None:
    group = plan(a=4, b=4)
    with sleeping(group) as it:
        it.end("a")
        it.end("b")
        with recovered(group, it) as fabric:
            assert fabric.lost == {}
            assert content(fabric) == bytes(4)
            fabric.servers[SHARE].ring("a", 3)


def test_memory_without_doorbells() -> None:
    group = plan(a=None, b=None)
    with sleeping(group) as it:
        it.end("b")
        with recovered(group, it) as fabric:
            assert fabric.lost == {}
            assert fabric.servers == {}
            assert content(fabric) == b"kept"


def test_doorbells_that_are_not_whole_are_lost_and_their_memory_is_not() -> None:
    group = plan(a=2, b=2)
    with sleeping(group) as it:
        ids = it.ledger.eventfds[SHARE]
        wrong = Ledger(memory=it.ledger.memory, eventfds={SHARE: {**ids, B: (ids[B][0], 1 << 40)}})
        with recovered(group, it, wrong) as fabric:
            assert f"b (pid {it.processes['b'].pid}): it does not have" in fabric.lost[SHARE]
            assert content(fabric) == b"kept"
            (resource,) = group.members[0].plan.resources()
            assert isinstance(resource, Doorbell)
            with pytest.raises(QsuperError, match="was lost"):
                fabric.attach("a", resource)


def test_a_memory_of_another_size_is_another() -> None:
    group = plan(a=2)
    with sleeping(group) as it:
        found = it.ledger.memory[SHARE]
        noted = found._replace(size_bytes=4096)
        wrong = Ledger(memory={SHARE: noted}, eventfds=it.ledger.eventfds)
        with recovered(group, it, wrong) as fabric:
            assert "does not have what was noted" in fabric.lost[SHARE]
            with pytest.raises(QsuperError, match="was lost"):
                content(fabric)


def test_nothing_was_written_down() -> None:
    group = plan(a=2, b=None)
    with sleeping(group) as it:
        notes = Notes(NOTHING, "/some/where/fabric.json: gone")
        fabric = Fabric(group, recovery.find(group, notes, it.holders))
        assert "/some/where/fabric.json: gone" in fabric.lost[SHARE]
        fabric.close()
        for name in ("a", "b"):  # what nobody has can be made
            it.end(name)
        fabric = Fabric(group, recovery.find(group, notes, it.holders))
        assert fabric.lost == {}
        fabric.close()


def test_a_file_is_found_by_its_path() -> None:
    path = f"/dev/shm/{SHARE}"
    group = plan(a=2, on_host=True)
    first = Fabric(group)
    noted = first.ledger()
    second = Fabric(group, recovery.find(group, Notes(noted), []))
    assert second.lost == {}
    assert second.ledger().memory == noted.memory
    second.close()
    assert not os.path.exists(path)
    first.close()


def test_anothers_file_is_neither_taken_nor_removed() -> None:
    path = f"/dev/shm/{SHARE}"
    group = plan(a=2, on_host=True)
    first = Fabric(group)
    noted = first.ledger()
    os.rename(path, f"{path}.aside")
    try:
        with open(path, "wb") as file:
            file.truncate(SIZE)
        with pytest.raises(QsuperError, match="exists already"):
            Fabric(group, recovery.find(group, Notes(noted), []))
        fabric = Fabric(group, Found({}, {SHARE: "somebody has it"}, noted))
        with pytest.raises(QsuperError, match="somebody has it"):
            content(fabric)
        fabric.close()
        first.close()
        assert os.path.exists(path)
    finally:
        os.unlink(path)
        os.unlink(f"{path}.aside")


def test_a_fabric_that_fails_leaves_the_file_of_its_predecessor() -> None:
    group = plan(a=2, on_host=True)
    first = Fabric(group)
    other = plan(b=2, on_host=True)
    (option,) = other.members[0].plan.options
    (handle,) = option.handles()
    assert isinstance(handle.resource, Doorbell)
    small = Doorbell(name="it", share=SHARE, size_bytes=4096, vectors=2, on_host=True)
    option = Option.json("object", {"fd": Handle(resource=small, shown="")})
    wrong = LaunchPlan(name="b", uuid="", arch="", emulator="", options=(option,))
    found = recovery.find(group, Notes(first.ledger()), [])
    with pytest.raises(QsuperError, match="wants 4096 bytes"):
        Fabric(GroupPlan((Member(plan=wrong, role=Role.PRIMARY),)), found)
    assert os.path.exists(f"/dev/shm/{SHARE}")
    first.close()
    assert not os.path.exists(f"/dev/shm/{SHARE}")


def test_what_a_process_has_become_is_not_taken() -> None:
    group = plan(a=2)
    with sleeping(group) as it:
        (holder,) = it.holders
        numbers = holder.descriptors()
        memory, (bell, other) = it.ledger.memory[SHARE], it.ledger.eventfds[SHARE][A]
        os.close(holder.take(numbers[memory], memory))
        for number, identity in (
            (numbers[bell], other),
            (numbers[memory], bell),
            (numbers[bell], MemoryId(0, 0, 0)),
            (0, bell),
            (1000, bell),
            (1000, memory),
        ):
            with pytest.raises(OSError, match=r"No such|Bad file descriptor"):
                holder.take(number, identity)
        it.end("a")
        assert not holder.is_alive
        for identity in (bell, memory):
            with pytest.raises(OSError, match="No such"):
                holder.take(numbers[identity], identity)
        with pytest.raises(OSError, match="No such"):
            holder.descriptors()


_NUMBERS = st.integers(0, (1 << 63) - 1)
_LEDGERS = st.builds(
    Ledger,
    memory=st.dictionaries(st.text(), st.builds(MemoryId, _NUMBERS, _NUMBERS, _NUMBERS)),
    eventfds=st.dictionaries(
        st.text(), st.dictionaries(st.integers(1, 65535), st.lists(_NUMBERS).map(tuple))
    ),
)


@given(_LEDGERS)
def test_what_is_written_is_read_again(it: Ledger) -> None:
    assert ledger.loads(ledger.dumps(it).encode()) == it


@given(st.binary())
def test_any_bytes_are_a_ledger_or_damaged(text: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert isinstance(ledger.loads(text), Ledger)


def test_pieces_that_nobody_wrote_down() -> None:
    it = Ledger(memory={}, eventfds={"m": {1: (5,)}})
    assert it.identity(Piece("m", 1, 0)) == 5
    for piece in (Piece("m", 1, 1), Piece("m", 2), Piece("n", 1), Piece("m", MEMORY)):
        assert it.identity(piece) is None
