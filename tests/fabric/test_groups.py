"""Groups that share memory and signal each other, from their XML to real guests."""

import math
import os
import re
import signal
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from qsuper.errors import ConfigErrors, QsuperError
from qsuper.host.load import Settings, load_group
from tests.support.fabric import CONFIGS, both, by, joined, load, restarting, wait_event, with_rules
from tests.support.supervised import (
    PATIENCE_S,
    Supervisor,
    events,
    leftovers,
    log,
    supervised,
    wait_file,
    wait_log,
    wait_pid,
    wait_ticks,
)

pytestmark = [pytest.mark.qemu, pytest.mark.usefixtures("rundir")]


def test_doorbells_from_guest_to_guest(tmp_path: Path) -> None:
    with supervised(load(tmp_path, "mailbox")) as supervisor:
        wait_log("mailbox", "signal 3\n")
        wait_log("mailbox-dependency", "signal 3\n")
        # They do not pass the supervisor.
        assert [each for each in events("mailbox") if each["event"] == "SIGNAL"] == []
        supervisor.ask("suspend", domain="mailbox")
        supervisor.ask("resume", domain="mailbox")
        with joined(supervisor, "mailbox") as client:
            count = struct.unpack_from("<I", client.memory, 2 * 64)[0]
        wait_log("mailbox", f"signal {count + 3}\n")
    assert leftovers() == []


def test_a_guest_is_rung_from_outside(tmp_path: Path) -> None:
    with supervised(load(tmp_path, "mailbox")) as supervisor:
        wait_log("mailbox", "signal 1\n")
        with joined(supervisor, "mailbox") as client:
            struct.pack_into("<I", client.memory, 3 * 64 + 40, 4711)
            answer = supervisor.ask("signal", domain="mailbox-dependency", vector=2)
            assert answer == {"shmem": "mailbox", "vector": 2, "peer": 3}
            wait_log("mailbox-dependency", "answer 4711\n")
        (event,) = (each for each in events("mailbox-dependency") if each["event"] == "SIGNAL")
        assert event["detail"] == {"shmem": "mailbox", "vector": 2, "times": 1, "to": 3}
        for arguments, message in (
            ({"vector": 4}, "has no vector 4 .*0 to 3"),
            ({"vector": 0, "shmem": "box"}, "no shmem 'box'"),
            ({"vector": "x"}, "must be a whole number"),
        ):
            with pytest.raises(QsuperError, match=message):
                supervisor.ask("signal", domain="mailbox", **arguments)


def test_the_peripheral_of_the_example(tmp_path: Path) -> None:
    """cosim.py serves the guest of cosim.xml."""
    text = (CONFIGS / "cosim.xml").read_text().replace("guests/", f"{CONFIGS}/guests/")
    (tmp_path / "cosim.xml").write_text(text)
    with supervised(load_group([str(tmp_path / "cosim.xml")], Settings()).group) as supervisor:
        wait_log("cosim", "mailbox 2\n")
        (bell,) = supervisor.ask("info", domain="cosim")["doorbells"]
        with subprocess.Popen([sys.executable, CONFIGS / "cosim.py", bell["socket"]]) as peripheral:
            try:
                wait_file(log("cosim"), lambda: log("cosim").read_text().count("answer ") >= 3)
            finally:
                peripheral.kill()
        answers = re.findall(r"answer (\d+)", log("cosim").read_text())
        assert all(math.isqrt(int(square)) ** 2 == int(square) for square in answers[:3])


def test_a_guest_rings_a_program(tmp_path: Path) -> None:
    """The guest asks for squares 25 times a second; it has a program of ours for peer 1."""
    with supervised(load(tmp_path, "mailbox")) as supervisor:
        wait_log("mailbox", "signal 1\n")
        with joined(supervisor, "mailbox") as client:
            struct.pack_into("<I", client.memory, 2 * 64 + 36, 1 << 16 | 3)
            squares: list[int] = []
            while len(squares) < 3:
                assert client.wait(PATIENCE_S) == 3
                (number,) = struct.unpack_from("<I", client.memory, 2 * 64 + 44)
                squares.append(number * number)
                struct.pack_into("<I", client.memory, 2 * 64 + 40, squares[-1])
                client.ring(2, 2)
                wait_log("mailbox", f"answer {squares[-1]}\n")
        heard = [each["detail"] for each in events("mailbox") if each["event"] == "SIGNAL"]
        assert {(each["vector"], each["to"]) for each in heard} == {(3, 1)}


@both
def test_boot_signal(tmp_path: Path, which: str) -> None:
    """The primary's guest copies the firmware and rings; the dependency runs it."""
    with supervised(load(tmp_path, "amp-boot", by(which))) as supervisor:
        wait_log("amp-boot", "firmware copied\n")
        wait_ticks("amp-boot-dependency", 3)
        assert supervisor.state("amp-boot-dependency") == "running"
        wait_event("amp-boot", lambda each: each["event"] == "SIGNAL")
        wait_event("amp-boot-dependency", lambda each: each["event"] == "BOOTED")
        answer = supervisor.ask("suspend", domain="amp-boot")
        assert answer["domains"] == {"amp-boot": "paused", "amp-boot-dependency": "paused"}
        supervisor.ask("resume", domain="amp-boot")
        wait_ticks("amp-boot-dependency", 3)
    assert leftovers() == []


@both
@pytest.mark.parametrize(("arch", "entry"), [("riscv64", "0x80200000"), ("armv7l", "0x40200000")])
def test_boot_signal_from_aarch64(tmp_path: Path, which: str, arch: str, entry: str) -> None:
    guest = {"armv7l": "arm"}.get(arch, arch)

    def edit(text: str) -> str:
        if "amp-boot-dependency</name>" in text:
            text = text.replace("arch='aarch64'", f"arch='{arch}'").replace("0x40200000", entry)
            head, _, rest = text.partition("  <features>")
            return head + rest.partition("</cpu>\n")[2]
        text = text.replace("arch='x86_64' machine='q35'", "arch='aarch64' machine='virt'")
        text = text.replace("mailbox-x86_64", "mailbox-aarch64").replace("80", "96")
        text = text.replace("tick-aarch64", f"tick-{guest}")
        return text.replace(
            "  <devices>",
            "  <features><gic version='2'/></features>"
            "<cpu><model>cortex-a53</model></cpu><devices>",
        )

    with supervised(load(tmp_path, "amp-boot", by(which, edit))):
        wait_log("amp-boot", "firmware copied\n")
        wait_ticks("amp-boot-dependency", 3)


def test_who_waits_is_not_resumed_with_its_primary(tmp_path: Path) -> None:
    rules = "<q:boot shmem='mailbox' vector='1'/>"
    with supervised(load(tmp_path, "mailbox", with_rules(rules))) as supervisor:
        wait_log("mailbox", "mailbox 2\n")
        supervisor.ask("suspend", domain="mailbox")
        assert supervisor.ask("resume", domain="mailbox")["domains"] == {"mailbox": "running"}
        assert supervisor.state("mailbox-dependency") == "prelaunch"
        with joined(supervisor, "mailbox") as client:
            client.ring(1, 0)
            assert client.wait(PATIENCE_S) == 0  # it was heard
            assert supervisor.state("mailbox-dependency") == "prelaunch"
            client.ring(1, 1)
            wait_log("mailbox-dependency", "mailbox 3\n")
        assert supervisor.state("mailbox-dependency") == "running"


def test_who_waits_can_be_resumed_by_name(tmp_path: Path) -> None:
    rules = "<q:boot shmem='mailbox' vector='1'/>"
    with supervised(load(tmp_path, "mailbox", with_rules(rules))) as supervisor:
        supervisor.ask("resume", domain="mailbox-dependency")
        wait_log("mailbox-dependency", "mailbox 3\n")


def test_signals_are_verbs(tmp_path: Path) -> None:
    rules = "".join(
        f"<q:signal shmem='mailbox' vector='{vector}' verb='{verb}'/>"
        for vector, verb in enumerate(("suspend", "resume", "reset", "destroy"))
    )
    with supervised(load(tmp_path, "mailbox", with_rules(rules))) as supervisor:
        wait_log("mailbox-dependency", "signal 1\n")

        def state_is(state: str) -> Callable[[dict[str, object]], bool]:
            detail = {"state": state}
            return lambda each: (
                each["event"] == "STATE_CHANGED" and {**detail}.items() <= each["detail"].items()  # type: ignore[attr-defined]
            )

        with joined(supervisor, "mailbox") as client:
            client.ring(1, 0)
            wait_event("mailbox-dependency", state_is("paused"))
            assert supervisor.state("mailbox") == "running"
            client.ring(1, 1)
            wait_event("mailbox-dependency", lambda each: each["event"] == "RESUME")
            client.ring(1, 2)
            wait_event("mailbox-dependency", lambda each: each["event"] == "RESET")
            client.ring(1, 3)
            wait_event("mailbox-dependency", state_is("shut off"))
            assert supervisor.state("mailbox") == "running"
            # Once more, and nothing happens.
            client.ring(1, 3)
        verbs = [each["detail"]["verbs"] for each in events("mailbox") if each["event"] == "SIGNAL"]
        assert verbs[:4] == [
            {"mailbox-dependency": verb} for verb in ("suspend", "resume", "reset", "destroy")
        ]


def test_who_crashed_is_replaced_on_the_same_memory(tmp_path: Path) -> None:
    with supervised(load(tmp_path, "mailbox", restarting)) as supervisor:
        wait_log("mailbox-dependency", "signal 1\n")
        with joined(supervisor, "mailbox") as client:
            client.memory[4096:4100] = b"kept"
            pid = supervisor.pid("mailbox-dependency")
            os.kill(pid, signal.SIGKILL)
            wait_pid(pid)
            path = log("mailbox-dependency")
            wait_file(path, lambda: path.read_text().count("mailbox 3\n") == 2)
            (before,) = struct.unpack_from("<I", client.memory, 2 * 64)
            wait_log("mailbox", f"signal {before + 3}\n")
            assert client.memory[4096:4100] == b"kept"
            assert client.peers.keys() == {1, 2, 3, client.number}
        assert supervisor.pid("mailbox-dependency") != pid


def test_memory_for_programs_outside(tmp_path: Path) -> None:
    share = f"box-of-test-{os.getpid()}"
    rules = f"<q:shmem name='{share}' path='host'/>"

    def edit(text: str) -> str:
        return with_rules(rules)(text).replace("shmem name='mailbox'", f"shmem name='{share}'")

    path = Path("/dev/shm") / share
    plan = load(tmp_path, "mailbox", edit)
    with supervised(plan):
        assert path.stat().st_mode & 0o777 == 0o600
        wait_log("mailbox", "signal 3\n")
        assert struct.unpack_from("<I", path.read_bytes(), 2 * 64)[0] >= 3
    assert not path.exists()
    path.write_bytes(b"another's")
    try:
        with Supervisor(plan, detached=True) as supervisor:
            assert f"{path} exists already" in supervisor.wait_report()["error"]
        assert path.read_bytes() == b"another's"
    finally:
        path.unlink()
    assert leftovers() == []


def test_what_is_wrong_is_said_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigErrors, match=r"amp-boot-dependency.xml:\d+: <window>: .* ends before"
    ):
        load(tmp_path, "amp-boot", lambda text: text.replace("offset='64'", "offset='72'"))
