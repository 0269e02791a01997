"""A supervisor is killed, and its successor has memory and doorbells again: on real guests."""

import os
from pathlib import Path

import pytest

from qsuper.control.adopt import adopt
from qsuper.errors import QsuperError
from qsuper.fabric.foreign import Holder
from qsuper.fabric.ivshmem import SUPERVISOR
from qsuper.fabric.ledger import Piece
from qsuper.host import saved
from qsuper.host.load import Settings, load_group
from tests.support.fabric import (
    ANSWER,
    CONFIGS,
    DEPENDENCY,
    PRIMARY,
    TICK,
    answers,
    both,
    by,
    is_event,
    joined,
    kill_member,
    ledger_of,
    load,
    private,
    restarting,
    ticking,
    wait_count,
    wait_event,
    wait_signals,
    with_rules,
    write,
)
from tests.support.orphans import finish, kill_current, kill_with, succeed
from tests.support.supervised import (
    PATIENCE_S,
    events,
    log,
    supervised,
    wait_log,
    wait_pid,
    wait_ticks,
)

pytestmark = [pytest.mark.qemu, pytest.mark.usefixtures("nothing_left")]


def taken(pid: int, piece: Piece) -> int:
    """Take one of a group's pieces from a QEMU."""
    identity = ledger_of().identity(piece)
    assert identity is not None
    pidfd = os.pidfd_open(pid)
    try:
        holder = Holder("", pid, pidfd)
        return holder.take(holder.descriptors()[identity], identity)
    finally:
        os.close(pidfd)


@both
def test_a_successor_rings_and_is_rung(tmp_path: Path, which: str) -> None:
    rules = "<q:signal shmem='mailbox' vector='1' verb='suspend'/>"
    with supervised(load(tmp_path, "mailbox", by(which, with_rules(rules)))) as supervisor:
        wait_log("mailbox", "signal 1\n")
        with joined(supervisor, "mailbox") as before:
            before.memory[4096:4100] = b"kept"

            assert succeed(supervisor).lost == ()

            with pytest.raises(QsuperError, match="hung up"):
                before.wait(PATIENCE_S)
        with joined(supervisor, "mailbox") as client:
            assert client.memory[4096:4100] == b"kept"
            assert client.peers == {SUPERVISOR: 4, PRIMARY: 4, DEPENDENCY: 4, client.number: 4}
            answers(supervisor, client, "mailbox-dependency", 4711)
            wait_signals("mailbox", 3)
            write(client, PRIMARY, TICK, SUPERVISOR << 16 | 1)
            assert client.wait(PATIENCE_S) == 1
            wait_event("mailbox-dependency", is_event("STOP"))
            write(client, PRIMARY, TICK, 0)
        assert supervisor.state("mailbox-dependency") == "paused"
        heard = [each["detail"] for each in events("mailbox") if each["event"] == "SIGNAL"]
        assert heard[0]["verbs"] == {"mailbox-dependency": "suspend"}
        finish(supervisor)


def test_what_was_rung_while_nobody_supervised(tmp_path: Path) -> None:
    """The dependency rings the supervisor whenever it is rung."""
    rules = "<q:signal shmem='mailbox' vector='1' verb='suspend'/>"
    with supervised(load(tmp_path, "mailbox", with_rules(rules))) as supervisor:
        wait_log("mailbox", "signal 1\n")
        with joined(supervisor, "mailbox") as client:
            kill_current(supervisor)
            write(client, DEPENDENCY, ANSWER, SUPERVISOR << 16 | 1)
            wait_signals("mailbox-dependency", 3)
            write(client, DEPENDENCY, ANSWER, PRIMARY << 16)
            wait_signals("mailbox", 1)

        adopt("mailbox")

        wait_event("mailbox-dependency", is_event("STOP"))
        (heard,) = (each["detail"] for each in events("mailbox") if each["event"] == "SIGNAL")
        assert heard["vector"] == 1
        assert heard["times"] >= 1
        assert heard["verbs"] == {"mailbox-dependency": "suspend"}
        finish(supervisor)


@pytest.mark.parametrize("when", ["meanwhile", "afterwards"])
def test_a_member_that_waits_boots_by_its_signal(tmp_path: Path, when: str) -> None:
    rules = "<q:boot shmem='mailbox' vector='1'/>"
    with supervised(load(tmp_path, "mailbox", with_rules(rules))) as supervisor:
        wait_log("mailbox", "mailbox 2\n")
        doorbell = taken(supervisor.pid("mailbox"), Piece("mailbox", SUPERVISOR, 1))
        kill_current(supervisor)
        if when == "meanwhile":
            os.eventfd_write(doorbell, 1)
        adopt("mailbox")
        if when == "afterwards":
            assert supervisor.state("mailbox-dependency") == "prelaunch"
            os.eventfd_write(doorbell, 1)
        os.close(doorbell)

        wait_log("mailbox-dependency", "mailbox 3\n")

        wait_event("mailbox-dependency", is_event("BOOTED"))
        assert supervisor.state("mailbox-dependency") == "running"
        finish(supervisor)


@both
def test_main_memory_and_a_guest_that_rings_for_its_dependency(tmp_path: Path, which: str) -> None:
    """The replacement runs what the primary's guest had copied for its predecessor."""
    with supervised(load(tmp_path, "amp-boot", by(which, restarting)), paused=True) as supervisor:
        assert succeed(supervisor).lost == ()
        supervisor.ask("resume", domain="amp-boot")
        wait_log("amp-boot", "firmware copied\n")
        wait_ticks("amp-boot-dependency", 3)
        assert succeed(supervisor).lost == ()
        kill_member(supervisor, "amp-boot-dependency")
        wait_count("amp-boot-dependency", "tick 0\n", 2)
        wait_ticks("amp-boot-dependency", 3)
        finish(supervisor)


@both
def test_who_crashed_is_replaced_by_each_successor(tmp_path: Path, which: str) -> None:
    """In the end no QEMU is left that the first supervisor had started."""
    with supervised(load(tmp_path, "mailbox", by(which, restarting))) as supervisor:
        wait_log("mailbox-dependency", "signal 1\n")
        with joined(supervisor, "mailbox") as client:
            client.memory[4096:4100] = b"kept"
        before = ledger_of()
        for name, peer, known in (
            ("mailbox-dependency", DEPENDENCY, 4711),
            ("mailbox", PRIMARY, 4712),
            ("mailbox-dependency", DEPENDENCY, 4713),
        ):
            assert succeed(supervisor).lost == ()
            count = log(name).read_text().count(f"mailbox {peer}\n")
            kill_member(supervisor, name)
            wait_count(name, f"mailbox {peer}\n", count + 1)
            with joined(supervisor, "mailbox") as client:
                assert client.memory[4096:4100] == b"kept"
                answers(supervisor, client, name, known)
            wait_signals("mailbox", 3)
            wait_signals("mailbox-dependency", 3)
        assert ledger_of() == before
        finish(supervisor)


def test_eventfds_that_nobody_has_any_more_are_made_anew(tmp_path: Path) -> None:
    """The dependency has 2 vectors: of each peer's 4 eventfds only the primary had the others."""

    def edit(text: str) -> str:
        text = restarting(text)
        is_dependency = "<name>mailbox-dependency</name>" in text
        return text.replace("vectors='4'", "vectors='2'") if is_dependency else text

    with supervised(load(tmp_path, "mailbox", edit)) as supervisor:
        wait_log("mailbox-dependency", "signal 1\n")
        before = ledger_of()
        kill_with(supervisor, "mailbox")

        assert adopt("mailbox").lost == ()

        wait_count("mailbox", "mailbox 2\n", 2)
        after = ledger_of()
        assert after.memory == before.memory
        for number, ids in before.eventfds["mailbox"].items():
            assert after.eventfds["mailbox"][number][:2] == ids[:2]
        for known in (4711, 4712):
            with joined(supervisor, "mailbox") as client:
                answers(supervisor, client, "mailbox", known)
            wait_signals("mailbox", 3)
            wait_signals("mailbox-dependency", 3)
            assert succeed(supervisor).lost == ()
        assert ledger_of() == after
        finish(supervisor)


def test_memory_that_nobody_has_any_more_is_made_anew(tmp_path: Path) -> None:
    text = restarting((CONFIGS / "cosim.xml").read_text())
    (tmp_path / "cosim.xml").write_text(text.replace("guests/", f"{CONFIGS}/guests/"))
    with supervised(load_group([str(tmp_path / "cosim.xml")], Settings()).group) as supervisor:
        wait_log("cosim", "mailbox 2\n")
        kill_with(supervisor, "cosim")

        assert adopt("cosim").lost == ()

        wait_count("cosim", "mailbox 2\n", 2)
        for known in (4711, 4712):
            with joined(supervisor, "cosim") as client:
                answers(supervisor, client, "cosim", known)
            assert succeed(supervisor).lost == ()
        finish(supervisor)


@pytest.mark.parametrize("who_dies", ["nobody", "all"])
def test_memory_for_programs_outside(tmp_path: Path, who_dies: str) -> None:
    """Its file is found by path; even where all members died."""
    share = f"box-of-test-{os.getpid()}"
    rules = f"<q:shmem name='{share}' path='host'/>"

    def edit(text: str) -> str:
        text = restarting(with_rules(rules)(text))
        return text.replace("shmem name='mailbox'", f"shmem name='{share}'")

    path = Path("/dev/shm") / share
    with supervised(load(tmp_path, "mailbox", edit)) as supervisor:
        wait_log("mailbox", "signal 1\n")
        with path.open("r+b") as file:
            file.seek(4096)
            file.write(b"kept")
        dead = ("mailbox", "mailbox-dependency") if who_dies == "all" else ()
        kill_with(supervisor, *dead)

        assert adopt("mailbox").lost == ()

        if dead:
            wait_count("mailbox", "mailbox 2\n", 2)
            wait_count("mailbox-dependency", "mailbox 3\n", 2)
        with joined(supervisor, "mailbox") as client:
            assert client.memory[4096:4100] == b"kept"
            answers(supervisor, client, "mailbox-dependency", 4711)
        finish(supervisor)
    assert not path.exists()


def test_a_group_is_saved_and_restored_after_adoption(tmp_path: Path) -> None:
    directory = tmp_path / "saved"
    with supervised(load(tmp_path, "mailbox", private)) as supervisor:
        wait_log("mailbox", "mailbox 0\n")
        successor = succeed(supervisor).pid
        with joined(supervisor, "mailbox") as client:
            ticking(client)
            wait_log("mailbox-dependency", "signal 1\n")
            client.memory[4096:4100] = b"kept"
        supervisor.ask("save", domain="mailbox", directory=str(directory))
        assert successor
        wait_pid(successor)
    with supervised(saved.load(str(directory))) as supervisor:
        assert succeed(supervisor).lost == ()
        with joined(supervisor, "mailbox") as client:
            assert client.memory[4096:4100] == b"kept"
        wait_signals("mailbox-dependency", 3)
        finish(supervisor)


def test_private_numbers_stay(tmp_path: Path) -> None:
    def edit(text: str) -> str:
        return restarting(private(text))

    with supervised(load(tmp_path, "mailbox", edit)) as supervisor:
        wait_log("mailbox-dependency", "mailbox 0\n")
        succeed(supervisor)
        kill_member(supervisor, "mailbox-dependency")
        wait_count("mailbox-dependency", "mailbox 0\n", 2)
        with joined(supervisor, "mailbox") as client:
            ticking(client)
        wait_signals("mailbox-dependency", 3)
        finish(supervisor)
