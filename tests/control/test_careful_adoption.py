"""What a successor must beware of: strangers, damage, rivals, members that hang."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from qsuper import paths
from qsuper.control.adopt import Adoption, adopt
from qsuper.errors import QsuperError
from qsuper.runtime.survivors import survivor
from tests.support.orphans import kill, last_reason
from tests.support.supervised import (
    events,
    leftovers,
    log,
    pair,
    supervised,
    wait_file,
    wait_log,
    wait_pid,
    wait_ticks,
)

pytestmark = [pytest.mark.qemu, pytest.mark.usefixtures("nothing_left")]


def test_a_pid_that_is_used_again_is_not_signalled() -> None:
    """Neither by its old start time, nor where somebody forged the file."""
    with (
        supervised(pair()) as supervisor,
        subprocess.Popen(["sleep", "600"], process_group=0) as stranger,
    ):
        try:
            pids = {name: supervisor.pid(name) for name in "AB"}
            kill(supervisor)
            start = Path(f"/proc/{stranger.pid}/stat").read_text().rpartition(") ")[2].split()[19]
            for name, text in (("A", f"{stranger.pid} 1"), ("B", f"{stranger.pid} {start}")):
                Path(paths.domain_dir(name), "qemu.pid").write_text(text)
                os.kill(pids[name], signal.SIGKILL)
                wait_pid(pids[name])

            successor = adopt("A").pid
            if successor:
                wait_pid(successor)

            assert stranger.poll() is None
        finally:
            stranger.kill()
    assert leftovers() == []


def test_a_lost_pid_file_does_not_hide_a_qemu() -> None:
    with supervised(pair()) as supervisor:
        pids = {name: supervisor.pid(name) for name in "AB"}
        kill(supervisor)
        for name in "AB":
            Path(paths.domain_dir(name), "qemu.pid").unlink()

        assert adopt("A").domains == ("B", "A")

        assert {name: supervisor.pid(name) for name in "AB"} == pids
        supervisor.ask("destroy", domain="A")


def test_two_adopters_get_one_successor() -> None:
    with supervised(pair()) as supervisor:
        kill(supervisor)
        script = "import sys; from qsuper.control.adopt import adopt; print(adopt('A').pid)"
        argv = [sys.executable, "-c", script]
        adopters = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) for _ in range(5)]
        said = [adopter.communicate(timeout=60)[0].strip() for adopter in adopters]
        assert all(adopter.returncode == 0 for adopter in adopters)
        successor = supervisor.ask("status")["pid"]
        assert sorted(said) == sorted(["None"] * 4 + [str(successor)])
        supervisor.ask("destroy", domain="A")


def test_a_supervisor_that_lives_is_not_succeeded() -> None:
    with supervised(pair()) as supervisor:
        assert adopt("A") == Adoption()
        assert supervisor.ask("status")["pid"] == supervisor.process.pid


@pytest.mark.parametrize("text", ["", '{"$class":', '{"$class": "GroupPlan"}', '{"members": []}'])
def test_a_damaged_plan_ends_nobody(text: str) -> None:
    with supervised(pair()) as supervisor:
        kill(supervisor)
        plan = Path(paths.group_dir("A"), "plan.json")
        before = plan.read_text()
        plan.write_text(text)

        with pytest.raises(QsuperError, match=r"plan\.json"):
            adopt("A")

        wait_ticks("A", 3)
        plan.write_text(before)
        assert adopt("A").domains == ("B", "A")
        supervisor.ask("destroy", domain="A")


def test_a_member_that_hangs_is_adopted_too() -> None:
    with supervised(pair()) as supervisor:
        pid = supervisor.pid("B")
        kill(supervisor)
        os.kill(pid, signal.SIGSTOP)

        adopt("A")

        assert supervisor.row("B")["state"] == "unresponsive"
        assert supervisor.row("A")["state"] == "running"
        os.kill(pid, signal.SIGCONT)
        wait_ticks("B", 3)
        wait_log("B", '"reason":"unpaused"', "events.jsonl")
        assert supervisor.row("B")["state"] == "running"
        os.kill(pid, signal.SIGSTOP)
        supervisor.ask("destroy", domain="A")
        wait_pid(pid)
    assert leftovers() == []


def test_a_member_that_is_stopped_outlives_its_supervisor() -> None:
    """The kernel hangs up on it when the supervisor dies."""
    with supervised(pair()) as supervisor:
        pid = supervisor.pid("B")
        os.kill(pid, signal.SIGSTOP)
        while supervisor.state("B") != "unresponsive":
            pass
        kill(supervisor)
        os.kill(pid, signal.SIGCONT)

        assert adopt("A").domains == ("B", "A")

        wait_ticks("B", 3)
        assert supervisor.pid("B") == pid
        supervisor.ask("destroy", domain="A")
    assert leftovers() == []


def test_no_such_group() -> None:
    assert adopt("nobody") == Adoption()


def test_the_supervisor_is_killed_again_and_again() -> None:
    with supervised(pair()) as supervisor:
        kill(supervisor)
        pids = {name: survivor(paths.domain_dir(name)) for name in "AB"}
        for _ in range(3):
            successor = adopt("A").pid
            assert successor
            assert {name: supervisor.pid(name) for name in "AB"} == pids
            os.kill(successor, signal.SIGKILL)
            wait_pid(successor)
        adopt("A")
        wait_ticks("A", 3)
        supervisor.ask("destroy", domain="A")
    assert leftovers() == []


def test_a_monitor_that_hangs_up_is_connected_to_again() -> None:
    """Somebody shuts the supervisor's own end down; QEMU sees a client that left."""
    with supervised(pair()) as supervisor:
        libc = ctypes.CDLL(None, use_errno=True)
        pidfd = os.pidfd_open(supervisor.process.pid)
        shut = 0
        for entry in os.listdir(f"/proc/{supervisor.process.pid}/fd"):
            number = libc.syscall(438, pidfd, int(entry), 0)  # pidfd_getfd
            if number < 0:  # it has been closed meanwhile
                continue
            try:
                connection = socket.socket(fileno=number)
            except OSError:
                os.close(number)
                continue
            with connection:
                if connection.family is socket.AF_UNIX:
                    try:
                        peer = connection.getpeername()
                    except OSError:
                        continue
                    if str(peer).endswith("domains/A/qmp.sock"):
                        connection.shutdown(socket.SHUT_RDWR)
                        shut += 1
        os.close(pidfd)
        assert shut == 1
        wait_file(
            log("A", "events.jsonl"),
            lambda: (
                "MONITOR_LOST" in (told := [each["event"] for each in events("A")])
                and told.index("MONITOR_LOST") < len(told) - 2  # not the change before that
                and last_reason("A")[0] == "running"
            ),
        )
        assert supervisor.ask("qmp", domain="A", command={"execute": "query-status"})["running"]
        supervisor.ask("suspend", domain="A")


def test_settings_are_kept() -> None:
    with supervised(pair(), keep_dependencies=True) as supervisor:
        pids = {name: supervisor.pid(name) for name in "AB"}
        kill(supervisor)
        adopt("A")
        os.kill(pids["A"], signal.SIGKILL)
        wait_pid(pids["A"])
        wait_ticks("B", 5)
        assert supervisor.row("B")["pid"] == pids["B"]
        supervisor.ask("destroy", domain="B")
    assert leftovers() == []
