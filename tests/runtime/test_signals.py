"""POSIX signals to a real supervisor."""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pexpect  # type: ignore[import-untyped]  # it ships no types
import pytest

from qsuper import planfile
from tests.support import supervised as harness
from tests.support.supervised import (
    Supervisor,
    domain,
    events,
    group,
    leftovers,
    log,
    pair,
    supervised,
    wait_file,
    wait_log,
    wait_state,
    wait_ticks,
)

pytestmark = pytest.mark.qemu


def is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def test_sigtstp_and_sigcont_when_detached() -> None:
    with supervised(pair()) as supervisor:
        supervisor.process.send_signal(signal.SIGTSTP)
        for name in "AB":
            wait_state(name, "paused")
        assert supervisor.state("A") == "paused"
        supervisor.process.send_signal(signal.SIGCONT)
        for name in "AB":
            wait_state(name, "running", times=2)
            wait_ticks(name, 2)


def test_ctrl_z_and_fg() -> None:
    """In the foreground the supervisor stops itself after its guests, and resumes with them."""
    with supervised(pair(), detached=False, show_consoles=False) as supervisor:
        pid = supervisor.process.pid
        supervisor.process.send_signal(signal.SIGTSTP)
        _, status = os.waitpid(pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        assert is_stopped(pid)
        for name in "AB":
            assert events(name)[-1]["detail"].get("state", "paused") == "paused"
        supervisor.process.send_signal(signal.SIGCONT)
        for name in "AB":
            wait_ticks(name, 2)
            assert supervisor.state(name) == "running"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_graceful_end(number: signal.Signals) -> None:
    plan = group([(domain("A", "powerbutton"), ["B"])], [domain("B", "powerbutton")])
    with supervised(plan) as supervisor:
        wait_log("A", "tick ")
        wait_log("B", "tick ")
        supervisor.process.send_signal(number)
        assert supervisor.wait_ended() == 128 + number
        for name in "AB":
            assert "power button" in log(name).read_text()
    assert leftovers() == []


def test_who_does_not_obey_is_destroyed_after_the_grace() -> None:
    with supervised(pair(), grace_s=0.5) as supervisor:
        supervisor.process.send_signal(signal.SIGTERM)
        assert supervisor.wait_ended() == 128 + signal.SIGTERM
    assert leftovers() == []


def test_a_second_sigint_destroys_at_once() -> None:
    with supervised(pair(), grace_s=1000.0) as supervisor:
        supervisor.process.send_signal(signal.SIGINT)
        wait_file(
            log("A", "events.jsonl"),
            lambda: any(event["event"] == "POWERDOWN" for event in events("A")),
        )
        supervisor.process.send_signal(signal.SIGINT)
        assert supervisor.wait_ended() == 128 + signal.SIGINT
    assert leftovers() == []


def test_sigquit_destroys() -> None:
    with supervised(pair(), grace_s=1000.0) as supervisor:
        supervisor.process.send_signal(signal.SIGQUIT)
        assert supervisor.wait_ended() == 128 + signal.SIGQUIT
    assert leftovers() == []


def test_sighup_means_nothing_when_detached() -> None:
    with supervised(pair()) as supervisor:
        supervisor.process.send_signal(signal.SIGHUP)
        supervisor.process.send_signal(signal.SIGUSR1)
        wait_log("A", f"qsuper: B: running (booted), pid {supervisor.pid('B')}", "supervisor.log")
        wait_ticks("A", 2)


def test_sighup_in_the_foreground() -> None:
    with supervised(pair(), detached=False, show_consoles=False, grace_s=0.1) as supervisor:
        supervisor.process.send_signal(signal.SIGHUP)
        assert supervisor.wait_ended() == 128 + signal.SIGHUP
    assert leftovers() == []


def test_a_signal_during_the_start() -> None:
    """It comes before trio is there to take it: nothing is left all the same."""
    with Supervisor(pair(), detached=True, grace_s=0.1) as supervisor:
        wait_log("A", "starting: ", "qemu.log")
        supervisor.process.send_signal(signal.SIGTERM)
        assert supervisor.wait_ended() == 128 + signal.SIGTERM
    assert leftovers() == []


def test_consoles_on_a_terminal(tmp_path: Path) -> None:
    """One prefixed, coloured line each; Ctrl-C ends the group."""
    plan = tmp_path / "plan"
    plan.write_text(planfile.dumps(pair()))
    script = (
        "import os, sys; from qsuper.control.supervise import Settings, supervise;"
        f"fd = os.open({str(plan)!r}, os.O_RDONLY);"
        "sys.exit(supervise(Settings(grace_s=0.2), fd, None))"
    )
    environment = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
    spawn: Any = pexpect.spawn  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    terminal = spawn(sys.executable, ["-c", script], env=environment, timeout=30)
    terminal.expect_exact("\x1b[36mB | \x1b[0mtick 1\r\n")
    terminal.expect_exact("A | ")
    terminal.sendintr()
    terminal.expect_exact("qsuper: shutting down, within 0.2 s (again: end it now)")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 128 + signal.SIGINT
    assert leftovers() == []


def test_consoles_in_a_pipe() -> None:
    with supervised(pair(), detached=False) as supervisor:
        wait_ticks("A", 3)
        wait_ticks("B", 3)
        supervisor.ask("destroy", domain="A")
        out, err = supervisor.process.communicate(timeout=harness.PATIENCE_S)
        lines = out.decode().splitlines()
        for name in "AB":
            mine = [line for line in lines if line.startswith(f"{name} | tick ")]
            whole = mine[: harness.ticks(name)]
            assert whole == [f"{name} | tick {number}" for number in range(len(whole))]
            assert len(whole) >= harness.ticks(name) - 1
        assert b"\x1b" not in out
        assert err == b""


def test_a_flood_that_nobody_reads_blocks_nothing() -> None:
    """The pipe is full; verbs work all the same, and the group ends."""
    plan = group([(domain("A", "flood"), ["B"])], [domain("B")])
    with supervised(plan, detached=False) as supervisor:
        wait_file(log("A"), lambda: log("A").exists() and log("A").stat().st_size > 1 << 18)
        wait_ticks("B", 3)
        assert supervisor.ask("suspend", domain="A")["domains"]["A"] == "paused"
        supervisor.ask("destroy", domain="A")
        assert leftovers() == []
        supervisor.process.communicate(timeout=harness.PATIENCE_S)  # it is still printing


def test_nobody_reads_any_more() -> None:
    """`qsuper up | head`: the guests run on."""
    with supervised(pair(), detached=False) as supervisor:
        wait_ticks("A", 1)
        assert supervisor.process.stdout is not None
        supervisor.process.stdout.close()
        wait_ticks("A", 5)
        assert supervisor.state("B") == "running"
        supervisor.ask("destroy", domain="A")
        assert supervisor.wait_ended() == 0
