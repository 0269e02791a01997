"""Recovering the fabric where something is wrong: damage, refusals, leaks; on real guests."""

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from qsuper.control.adopt import adopt
from qsuper.errors import QsuperError
from qsuper.fabric.ivshmem import SUPERVISOR
from tests.support.fabric import (
    is_event,
    joined,
    kill_member,
    ledger_of,
    load,
    noted,
    private,
    restarting,
    wait_count,
    wait_event,
    wait_signals,
)
from tests.support.orphans import finish, kill_current, succeed
from tests.support.seccomp import refusing
from tests.support.supervised import PATIENCE_S, events, log, supervised, wait_log, wait_ticks

pytestmark = [pytest.mark.qemu, pytest.mark.usefixtures("nothing_left")]

PIDFD_GETFD = 438


_DAMAGES = {
    "missing": None,
    "empty": b"",
    "cut": b'{"memory":{"mailbox":[1,',
    "no text": b"\0\xff" * 4096,
    "deep": b"[" * 100_000,
    "another's": b'{"memory":{},"eventfds":{}}',
    "shortened": b'{"memory":{"mailbox":[1,2,4194304]},"eventfds":{"mailbox":{"1":[1]}}}',
    "wrong kind": b'{"memory":{"mailbox":1},"eventfds":{"mailbox":[]}}',
}


@pytest.mark.parametrize("damage", _DAMAGES.values(), ids=_DAMAGES)
def test_a_damaged_file_ends_nobody(tmp_path: Path, damage: bytes | None) -> None:
    """The guests run on, it is said what is wrong, and mended all is well."""
    with supervised(load(tmp_path, "mailbox", restarting)) as supervisor:
        wait_log("mailbox-dependency", "signal 1\n")
        whole = noted().read_bytes()
        kill_current(supervisor)
        noted().unlink()
        if damage is not None:
            noted().write_bytes(damage)

        (message,) = adopt("mailbox").lost

        reason = "mailbox.* does not have what was noted|fabric.json: |the file that tells of it"
        wait_signals("mailbox", 3)
        with pytest.raises(QsuperError, match=f"'mailbox' was lost .*({reason})") as error:
            supervisor.ask("signal", domain="mailbox-dependency", vector=2)
        assert str(error.value) == message
        assert message in log("mailbox", "supervisor.log").read_text()
        kill_member(supervisor, "mailbox-dependency")
        wait_event("mailbox-dependency", is_event("RESTART_FAILED"))
        lost = [each["detail"] for each in events("mailbox") if each["event"] == "SHMEM_LOST"]
        assert lost == [{"shmem": "mailbox", "message": message}]
        assert supervisor.state("mailbox") == "running"
        kill_current(supervisor)
        noted().write_bytes(whole)
        assert adopt("mailbox").lost == ()
        wait_count("mailbox-dependency", "mailbox 3\n", 2)
        wait_signals("mailbox", 3)
        finish(supervisor)


def test_what_is_lost_is_not_saved(tmp_path: Path) -> None:
    with supervised(load(tmp_path, "mailbox", private)) as supervisor:
        wait_log("mailbox", "mailbox 0\n")
        kill_current(supervisor)
        noted().unlink()
        (message,) = adopt("mailbox").lost
        with pytest.raises(QsuperError) as error:
            supervisor.ask("save", domain="mailbox", directory=str(tmp_path / "saved"))
        assert str(error.value) == message
        assert not list(tmp_path.glob("saved*"))
        assert [each for each in events("mailbox") if each["event"] == "STOP"] == []
        finish(supervisor)


def test_a_verb_that_starts_a_successor_says_what_was_lost(tmp_path: Path) -> None:
    """In one line, once, and only when something was."""

    def suspend() -> str:
        argv = [sys.executable, "-m", "qsuper", "suspend", "mailbox"]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE_S, check=True)
        assert done.stdout.startswith("Domain 'mailbox' suspended")
        return done.stderr

    with supervised(load(tmp_path, "mailbox", restarting)) as supervisor:
        kill_current(supervisor)
        assert suspend() == ""
        kill_current(supervisor)
        whole = noted().read_bytes()
        noted().unlink()
        (line,) = suspend().splitlines()
        assert line.startswith("qsuper: group mailbox: shmem 'mailbox' was lost")
        assert suspend() == ""
        kill_current(supervisor)
        noted().write_bytes(whole)
        assert suspend() == ""
        finish(supervisor)


def adopt_refused(group: str) -> str:
    """Have a group adopted by somebody whom the kernel forbids to take descriptors."""
    script = "import sys; from qsuper.control.adopt import adopt; print(*adopt(sys.argv[1]).lost)"
    done = subprocess.run(
        [sys.executable, "-c", script, group],
        preexec_fn=refusing(PIDFD_GETFD),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
    )
    return done.stdout


def test_where_the_kernel_forbids_it(tmp_path: Path) -> None:
    """As Yama does: main memory is there, doorbells are not; another may have more luck."""
    with supervised(load(tmp_path, "amp-boot", restarting)) as supervisor:
        wait_ticks("amp-boot-dependency", 3)
        before = ledger_of("amp-boot")
        kill_current(supervisor)

        message = adopt_refused("amp-boot")

        assert "shmem 'mailbox' was lost" in message
        assert "kernel.yama.ptrace_scope" in message
        with pytest.raises(QsuperError, match=r"yama\.ptrace_scope"):
            supervisor.ask("signal", domain="amp-boot")
        kill_member(supervisor, "amp-boot-dependency")
        wait_count("amp-boot-dependency", "tick 0\n", 2)
        assert ledger_of("amp-boot") == before
        assert succeed(supervisor).lost == ()
        supervisor.ask("signal", domain="amp-boot")
        finish(supervisor)


def descriptors(pid: int) -> tuple[list[str], int]:
    """Give what a process has open but for sockets, and how many sockets."""
    links: list[str] = []
    for number in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # it was closed meanwhile
            links.append(os.readlink(number))
    others = sorted(link for link in links if not link.startswith("socket:"))
    return others, len(links) - len(others)


def test_no_descriptor_is_left_over(tmp_path: Path) -> None:
    def settled(sockets: int) -> list[str]:
        """Wait until so many sockets are left: connections of ours are closed a little later."""
        deadline_s = time.monotonic() + PATIENCE_S
        while True:
            found = descriptors(supervisor.ask("status")["pid"])
            if found[1] == sockets:
                return found[0]
            assert time.monotonic() < deadline_s, f"{found[1]} sockets, not {sockets}"

    with supervised(load(tmp_path, "mailbox", restarting)) as supervisor:
        wait_log("mailbox-dependency", "signal 1\n")
        successor = succeed(supervisor).pid
        assert successor
        _, sockets = descriptors(successor)  # it has served nobody yet
        others = settled(sockets)
        for _ in range(3):
            succeed(supervisor)
            with joined(supervisor, "mailbox") as client:
                client.ring(SUPERVISOR, 0)
                assert client.wait(PATIENCE_S) == 0
            supervisor.ask("signal", domain="mailbox", vector=0)
            assert settled(sockets) == others
        for round_ in range(2):
            kill_member(supervisor, "mailbox-dependency")
            wait_count("mailbox-dependency", "mailbox 3\n", round_ + 2)
            # With the replacement's end of its conversation.
            assert settled(sockets + 1) == others
        finish(supervisor)
