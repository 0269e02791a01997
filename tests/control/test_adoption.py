"""A supervisor dies at any moment; a successor goes on, on real QEMUs."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qsuper import paths
from qsuper.control.adopt import Adoption, adopt
from qsuper.control.client import Connection, living
from qsuper.errors import QsuperError
from qsuper.plan import Lifecycle, OnEnd
from qsuper.runtime.survivors import survivor
from tests.support.supervised import (
    Supervisor,
    domain,
    events,
    group,
    leftovers,
    log,
    pair,
    readable,
    supervised,
    wait_file,
    wait_log,
    wait_pid,
    wait_ticks,
)

pytestmark = pytest.mark.qemu


@pytest.fixture(autouse=True)
def nothing_left(rundir: Path) -> Iterator[None]:
    """Kill what a failed test leaves: the successors, and whatever works in our directory."""
    yield
    for pid in [*_successors(rundir), *_working_below(rundir)]:
        os.kill(pid, signal.SIGKILL)


def _successors(rundir: Path) -> list[int]:
    files = rundir.glob("groups/*/supervisor.pid")
    return [pid for file in files if (pid := living(str(file))) and pid != os.getpid()]


def _working_below(rundir: Path) -> list[int]:
    directories = map(str, rundir.glob("domains/*"))
    return [pid for directory in directories if (pid := survivor(directory))]


def kill(supervisor: Supervisor) -> None:
    supervisor.process.kill()
    supervisor.process.wait()


def known(supervisor: Supervisor, *names: str) -> dict[str, dict[str, Any]]:
    """Give what is said of members; times to the millisecond."""
    rows = {name: supervisor.row(name) for name in names}
    return {name: row | {"since": round(row["since"], 3)} for name, row in rows.items()}


def last_reason(name: str) -> tuple[str, str]:
    changes = [each["detail"] for each in events(name) if each["event"] == "STATE_CHANGED"]
    return changes[-1]["state"], changes[-1]["reason"]


def test_a_successor_goes_on() -> None:
    """The same QEMUs go on ticking, and every verb works again."""
    with supervised(pair()) as supervisor:
        before = known(supervisor, "A", "B")
        kill(supervisor)
        wait_ticks("A", 3)

        adoption = adopt("A")

        assert adoption.domains == ("B", "A")
        assert adoption.pid == living(os.path.join(paths.group_dir("A"), "supervisor.pid"))
        assert known(supervisor, "A", "B") == before
        answer = supervisor.ask("suspend", domain="A")
        assert answer["domains"] == {"A": "paused", "B": "paused"}
        assert answer["skew_us"] is not None
        assert supervisor.ask("resume", domain="A")["domains"] == {"A": "running", "B": "running"}
        wait_ticks("A", 3)
        wait_ticks("B", 3)
        info = supervisor.ask("info", domain="B")
        assert info["pid"] == before["B"]["pid"]
        assert supervisor.ask("console", domain="B")["log"] == str(log("B"))
        assert supervisor.ask("destroy", domain="A")["domains"] == {
            "A": "shut off",
            "B": "shut off",
        }
        for row in before.values():
            wait_pid(row["pid"])
        assert adoption.pid
        wait_pid(adoption.pid)
    assert leftovers() == []
    assert last_reason("A") == ("shut off", "destroyed")


def test_a_suspended_group_stays_suspended() -> None:
    with supervised(pair()) as supervisor:
        supervisor.ask("suspend", domain="B")
        before = known(supervisor, "B")
        kill(supervisor)

        adopt("A")

        assert known(supervisor, "B") == before
        assert supervisor.row("A")["state"] == "running"
        supervisor.ask("resume", domain="B")
        wait_ticks("B", 3)
        supervisor.ask("destroy", domain="A")


def test_a_group_that_was_left_paused_can_be_resumed() -> None:
    with supervised(pair(), paused=True) as supervisor:
        before = supervisor.row("A")
        kill(supervisor)

        adopt("A")

        row = supervisor.row("A")
        assert row == before | {"since": row["since"]}
        assert abs(row["since"] - before["since"]) < 1
        supervisor.ask("resume", domain="A")
        wait_ticks("A", 2)
        supervisor.ask("destroy", domain="A")


def test_an_adopted_member_that_is_killed_is_noticed() -> None:
    """Its dependency ends with it, and the supervisor with both."""
    with supervised(pair()) as supervisor:
        pids = {name: supervisor.pid(name) for name in "AB"}
        kill(supervisor)
        successor = adopt("A").pid
        os.kill(pids["A"], signal.SIGKILL)
        assert successor
        wait_pid(pids["B"])
        wait_pid(successor)
    assert leftovers() == []
    assert last_reason("A") == ("crashed", "emulator ended")
    assert last_reason("B") == ("shut off", "destroyed")


def test_a_primary_died_meanwhile() -> None:
    with supervised(pair()) as supervisor:
        pids = {name: supervisor.pid(name) for name in "AB"}
        kill(supervisor)
        os.kill(pids["A"], signal.SIGKILL)
        wait_pid(pids["A"])

        successor = adopt("A").pid

        wait_pid(pids["B"])
        if successor:
            wait_pid(successor)
    assert leftovers() == []
    assert last_reason("A") == ("crashed", "emulator ended")


def test_a_dependency_died_meanwhile() -> None:
    with supervised(pair()) as supervisor:
        pids = {name: supervisor.pid(name) for name in "AB"}
        kill(supervisor)
        os.kill(pids["B"], signal.SIGKILL)
        wait_pid(pids["B"])

        assert adopt("A").domains == ("A",)

        row = supervisor.row("B")
        assert (row["state"], row["reason"], row["pid"]) == ("crashed", "emulator ended", None)
        wait_ticks("A", 3)
        supervisor.ask("destroy", domain="A")


def test_a_dependency_that_had_ended_before_stays_ended() -> None:
    with supervised(pair()) as supervisor:
        supervisor.ask("destroy", domain="B")
        since = known(supervisor, "B")["B"]["since"]
        kill(supervisor)

        adopt("A")

        row = known(supervisor, "B")["B"]
        assert (row["state"], row["pid"], row["since"]) == ("shut off", None, since)
        wait_ticks("A", 3)
        supervisor.ask("destroy", domain="A")
    assert leftovers() == []


def test_everybody_died_meanwhile() -> None:
    with supervised(pair()) as supervisor:
        pids = {name: supervisor.pid(name) for name in "AB"}
        kill(supervisor)
        for pid in pids.values():
            os.kill(pid, signal.SIGKILL)
            wait_pid(pid)
        successor = adopt("A").pid
        if successor:
            wait_pid(successor)
    assert leftovers() == []


def test_a_crash_is_followed_by_a_restart() -> None:
    plan = group([(domain("A", lifecycle=Lifecycle(on_crash=OnEnd.RESTART)), [])])
    with supervised(plan) as supervisor:
        pid = supervisor.pid("A")
        kill(supervisor)
        adopt("A")
        wait_ticks("A", 1)
        os.kill(pid, signal.SIGKILL)
        wait_pid(pid)
        wait_ticks("A", 3)
        again = supervisor.row("A")
        assert again["pid"] not in (None, pid)
        supervisor.ask("destroy", domain="A")
        wait_pid(again["pid"])
    assert leftovers() == []


def test_a_guest_powered_off_while_nobody_looked() -> None:
    """Its QEMU has waited for a decision."""
    plan = group([(domain("A", "powerbutton"), ["B"])], [domain("B")])
    with supervised(plan) as supervisor:
        wait_ticks("A", 3)
        pids = {name: supervisor.pid(name) for name in "AB"}
        supervisor.ask("suspend", domain="A")
        supervisor.ask("shutdown", domain="A")
        kill(supervisor)
        with Connection(os.path.join(paths.domain_dir("A"), "monitor.sock"), "QEMU") as qemu:
            qemu.execute("cont")
            said: list[str] = []
            while "SHUTDOWN" not in said:
                readable(qemu.fileno())
                said += [each["event"] for each in qemu.arrived()[0]]
        adopt("A")
        for pid in pids.values():
            wait_pid(pid)
    assert last_reason("A") == ("shut off", "shutdown")


def test_a_verb_that_ends_is_finished() -> None:
    """Killed in the middle of `destroy`: what was to end ends, and is not taken for a crash."""
    plan = group([(domain("A", lifecycle=Lifecycle(on_crash=OnEnd.RESTART)), [])])
    with supervised(plan) as supervisor:
        pid = supervisor.pid("A")
        os.kill(pid, signal.SIGSTOP)
        with supervisor.connect() as connection:
            connection.send("destroy", {"domain": "A"})
            supervisor.process.kill()
        supervisor.process.wait()
        Path(paths.domain_dir("A"), "ending").touch()
        successor = adopt("A").pid
        wait_pid(pid)
        if successor:
            wait_pid(successor)
    assert leftovers() == []
    assert last_reason("A") == ("shut off", "destroyed")


def test_a_start_that_was_cut_off_is_rolled_back() -> None:
    with supervised(pair()) as supervisor:
        pids = [supervisor.pid(name) for name in "AB"]
        kill(supervisor)
        Path(paths.group_dir("A"), "starting").touch()

        adoption = adopt("A")

        assert adoption.pid is None
        assert "rolled back" in adoption.fate
        for pid in pids:
            wait_pid(pid)
    assert leftovers() == []


def test_bound_members_do_not_survive() -> None:
    with supervised(pair(), bind=True) as supervisor:
        pids = [supervisor.pid(name) for name in "AB"]
        kill(supervisor)
        for pid in pids:
            wait_pid(pid)
        assert "bound" in adopt("A").fate
    assert leftovers() == []


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
                any(each["event"] == "MONITOR_LOST" for each in events("A"))
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
