"""Members that are replaced: on the same memory, number and eventfds, while the others run on."""

import os
import re
import signal
import struct
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from qsuper.control.adopt import adopt
from qsuper.control.client import Connection
from qsuper.fabric.client import Client
from tests.support.fabric import (
    CONFIGS,
    answers,
    both,
    by,
    greetings,
    joined,
    load,
    restarting,
    wait_event,
    wait_greetings,
    wait_signals,
    with_rules,
)
from tests.support.orphans import finish, kill_at
from tests.support.supervised import (
    PATIENCE_S,
    Supervisor,
    events,
    leftovers,
    log,
    supervised,
    wait_file,
    wait_pid,
    wait_ticks,
)

pytestmark = [pytest.mark.qemu, pytest.mark.usefixtures("rundir")]

TIMES = 100
CRASHES = 3
KEPT = 4096
"""Where the memory begins that no guest writes to."""
BOTH = "<q:boot shmem='mailbox' vector='0'/><q:signal shmem='mailbox' vector='1' verb='restart'/>"


def with_ticker(directory: Path) -> Callable[[str], str]:
    """Give mailbox a second dependency, which shares nothing and ticks."""
    ticker = (CONFIGS / "hello.xml").read_text().replace("<name>hello", "<name>ticker")
    ticker = ticker.replace("guests/powerbutton", f"{CONFIGS}/guests/tick")
    (directory / "ticker.xml").write_text(ticker)
    one = "<domaindependency>mailbox-dependency.xml</domaindependency>"
    return lambda text: text.replace(one, f"{one}<domaindependency>ticker.xml</domaindependency>")


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def numbers(name: str, word: str) -> list[int]:
    """Give what a guest has counted on its console, but for a line that is being written."""
    return [
        int(each) for each in re.findall(rf"^{word} (\d+)\n", log(name).read_text(), re.MULTILINE)
    ]


def wait_quits(count: int) -> None:
    """Wait until the dependency's QEMU has been told to quit so often."""
    path = log("mailbox-dependency", "events.jsonl")
    wait_file(path, lambda: path.read_text().count("host-qmp-quit") >= count)


class Witness:
    """What must be the same before and after."""

    def __init__(self, supervisor: Supervisor, ask: Connection) -> None:
        self._supervisor, self._ask = supervisor, ask
        self.counts, self.pids = self.look()

    def look(self) -> tuple[dict[str, int], dict[str, int]]:
        rows = self._ask.execute("list", timeout_s=PATIENCE_S)["domains"]
        pids = {row["name"]: row["pid"] for row in rows} | {"": self._supervisor.process.pid}
        return {name: descriptors(pid) for name, pid in pids.items()}, pids


@contextmanager
def witnessed(supervisor: Supervisor, victim: str) -> Generator[tuple[Connection, Client]]:
    """Check that replacements of one member change nothing for the others.

    All is asked over one connection: others might be counted while they are being closed.
    """
    with supervisor.connect() as ask:
        (bell,) = ask.execute("info", {"domain": "mailbox"}, timeout_s=PATIENCE_S)["doorbells"]
        with Client(bell["socket"]) as client:
            content = os.urandom(len(client.memory) - KEPT)
            client.memory[KEPT:] = content
            witness = Witness(supervisor, ask)
            yield ask, client
            counts, pids = witness.look()
            assert counts == witness.counts
            others = pids.keys() - {victim}
            assert {name: pids[name] for name in others} == {
                name: witness.pids[name] for name in others
            }
            assert client.memory[KEPT:] == content
            assert client.peers.keys() == {1, 2, 3, client.number}
    for name in others - {""}:
        assert not [each for each in events(name) if each["event"] in ("STOP", "RESET")]
    ticks, signals = numbers("ticker", "tick"), numbers("mailbox", "signal")
    assert ticks == list(range(len(ticks)))
    assert signals == list(range(1, len(signals) + 1))


@both
def test_a_hundred_restarts(tmp_path: Path, which: str) -> None:
    """Each time it answers the primary's signals again, which never stop."""
    plan = load(tmp_path, "mailbox", by(which, with_ticker(tmp_path)))
    with supervised(plan) as supervisor:
        wait_signals("mailbox", 3)
        wait_ticks("ticker", 1)
        with witnessed(supervisor, "mailbox-dependency") as (ask, client):
            for count in range(2, TIMES + 2):
                (asked,) = struct.unpack_from("<I", client.memory, 2 * 64 + 44)
                answer = ask.execute(
                    "restart", {"domain": "mailbox-dependency"}, timeout_s=PATIENCE_S
                )
                assert answer == {"domains": {"mailbox-dependency": "running"}}
                wait_greetings(count)
                wait_signals("mailbox", 1)
                (later,) = struct.unpack_from("<I", client.memory, 2 * 64 + 44)
                assert later > asked
        wait_ticks("ticker", 2)
        launches = [
            each
            for each in events("mailbox-dependency")
            if each["detail"] == {"state": "prelaunch", "reason": "starting up"}
        ]
        assert len(launches) == TIMES
        supervisor.ask("destroy", domain="mailbox")
        assert supervisor.wait_ended() == 0
    assert leftovers() == []


def test_crashes(tmp_path: Path) -> None:
    """Killed, it comes back by its settings; likewise nobody else notices."""

    def edit(text: str) -> str:
        return restarting(with_ticker(tmp_path)(text))

    with supervised(load(tmp_path, "mailbox", edit)) as supervisor:
        wait_signals("mailbox", 3)
        wait_ticks("ticker", 1)
        with witnessed(supervisor, "mailbox-dependency") as (ask, _):
            for count in range(2, CRASHES + 2):
                rows = ask.execute("list", timeout_s=PATIENCE_S)["domains"]
                (pid,) = (row["pid"] for row in rows if row["name"] == "mailbox-dependency")
                os.kill(pid, signal.SIGKILL)
                wait_greetings(count)
                wait_signals("mailbox", 1)
    assert leftovers() == []


def test_a_primary_is_replaced(tmp_path: Path) -> None:
    """It gets its number again, and rings its dependency, which has run on."""
    with supervised(load(tmp_path, "mailbox")) as supervisor:
        wait_signals("mailbox", 3)
        pid = supervisor.pid("mailbox-dependency")
        with joined(supervisor, "mailbox") as client:
            client.memory[KEPT : KEPT + 4] = b"kept"
            for count in range(2, 5):
                supervisor.ask("restart", domain="mailbox")
                wait_greetings(count, "mailbox")
                wait_signals("mailbox", 2)
            assert client.memory[KEPT : KEPT + 4] == b"kept"
        assert supervisor.pid("mailbox-dependency") == pid
        assert greetings() == 1


def test_who_waits_for_its_boot_signal_waits_again(tmp_path: Path) -> None:
    plan = load(tmp_path, "mailbox", with_rules(BOTH))
    with supervised(plan) as supervisor, joined(supervisor, "mailbox") as client:
        client.ring(1, 0)
        wait_greetings(1)
        answer = supervisor.ask("restart", domain="mailbox-dependency")
        assert answer == {"domains": {"mailbox-dependency": "prelaunch"}}
        supervisor.ask("suspend", domain="mailbox")
        supervisor.ask("resume", domain="mailbox")
        assert supervisor.state("mailbox-dependency") == "prelaunch"
        assert greetings() == 1
        client.ring(1, 0)
        wait_greetings(2)
        assert supervisor.state("mailbox-dependency") == "running"


def test_restart_and_boot_in_one_breath(tmp_path: Path) -> None:
    """The boot signal comes long before there is a new QEMU."""
    with supervised(load(tmp_path, "mailbox", with_rules(BOTH))) as supervisor:
        with joined(supervisor, "mailbox") as client:
            client.ring(1, 0)
            wait_greetings(1)
            for count in range(2, 8):
                pid = supervisor.pid("mailbox-dependency")
                client.ring(1, 1)
                client.ring(1, 0)
                wait_greetings(count)
                wait_pid(pid)
        told = [each["detail"]["verbs"] for each in events("mailbox") if each["event"] == "SIGNAL"]
        assert {"mailbox-dependency": "restart"} in told
        assert not [each for each in events("mailbox-dependency") if "FAILED" in each["event"]]


def test_boot_comes_while_a_verb_restarts_it(tmp_path: Path) -> None:
    with supervised(load(tmp_path, "mailbox", with_rules(BOTH))) as supervisor:
        with joined(supervisor, "mailbox") as client:
            client.ring(1, 0)
            wait_greetings(1)
            for count in range(2, 6):
                with supervisor.connect() as ask:
                    ask.send("restart", {"domain": "mailbox-dependency"})
                    wait_quits(count - 1)
                    client.ring(1, 0)
                    ask.receive(PATIENCE_S)
                wait_greetings(count)
        assert not [each for each in events("mailbox-dependency") if "FAILED" in each["event"]]


@pytest.mark.parametrize("stage", ["marked", "qmp.sock", "qemu.pid", "over"])
@pytest.mark.usefixtures("nothing_left")
def test_the_supervisor_is_killed_meanwhile(tmp_path: Path, stage: str) -> None:
    """Its successor finishes the restart, with the memory and the doorbells of the others."""
    with supervised(load(tmp_path, "mailbox")) as supervisor:
        wait_signals("mailbox", 3)
        pids = {name: supervisor.pid(name) for name in ("mailbox", "mailbox-dependency")}
        with joined(supervisor, "mailbox") as client:
            client.memory[KEPT : KEPT + 4] = b"kept"
        kill_at(supervisor, "mailbox-dependency", stage)
        assert adopt("mailbox").lost == ()
        wait_greetings(2)
        wait_signals("mailbox", 3)
        with joined(supervisor, "mailbox") as client:
            assert client.memory[KEPT : KEPT + 4] == b"kept"
            answers(supervisor, client, "mailbox-dependency", 4711)
        assert supervisor.pid("mailbox") == pids["mailbox"]
        assert supervisor.pid("mailbox-dependency") != pids["mailbox-dependency"]
        assert not [each for each in events("mailbox") if each["event"] in ("STOP", "RESET")]
        finish(supervisor)


@both
def test_new_firmware_needs_a_new_qemu(tmp_path: Path, which: str) -> None:
    """Written over code that has run: a reset runs the old code, a restart the new one."""
    name = f"ram-of-test-{os.getpid()}"

    def edit(text: str) -> str:
        text = text.replace("memory name='ram'", f"memory name='{name}' path='host'")
        text = text.replace("window memory='ram'", f"window memory='{name}'")
        if "<q:boot" not in text:
            return text
        rule = "<q:signal shmem='mailbox' vector='1' verb='restart'/></q:fabric>"
        return text.replace("</q:fabric>", rule)

    with supervised(load(tmp_path, "amp-boot", by(which, edit))) as supervisor:
        path = log("amp-boot-dependency")
        wait_ticks("amp-boot-dependency", 2)
        write_over(name)
        supervisor.ask("reset", domain="amp-boot-dependency")
        wait_event("amp-boot-dependency", lambda each: each["event"] == "RESET")
        wait_file(path, lambda: path.read_text().count("tick 0\n") == 2)
        assert "!" not in path.read_text()
        with joined(supervisor, "amp-boot") as client:
            client.ring(1, 1)
            client.ring(1, 0)
            wait_file(path, lambda: "tick 0!tick 1!" in path.read_text())
        assert not [each for each in events("amp-boot") if each["event"] in ("STOP", "RESET")]
        supervisor.ask("destroy", domain="amp-boot")
        assert supervisor.wait_ended() == 0
    assert not list(Path("/dev/shm").glob(f"{name}*"))
    assert leftovers() == []


def write_over(name: str) -> None:
    """Have the dependency's program end its lines in `!`; that is in an instruction of it."""
    piece = Path("/dev/shm", f"{name}@64M")  # where QEMU has no `offset=`
    path, at = (piece, 2 << 20) if piece.exists() else (Path("/dev/shm", name), 66 << 20)
    old, new = (struct.pack("<I", 0x52800000 | ord(end) << 5) for end in "\n!")  # mov w0, #end
    with path.open("r+b") as file:
        file.seek(at)
        code = file.read(4096)
        assert code.count(old) == 1
        file.seek(at + code.index(old))
        file.write(new)
