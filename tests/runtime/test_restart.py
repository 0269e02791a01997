"""`restart`: a new QEMU in the place of the old one, while the others run on."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from qsuper import paths
from qsuper.errors import QsuperError
from qsuper.options import Option
from qsuper.plan import Command, GroupPlan, LaunchPlan, Lifecycle, Meeting, OnEnd
from tests.support.supervised import (
    BACKOFF,
    PATIENCE_S,
    QEMU,
    Supervisor,
    domain,
    events,
    group,
    leftovers,
    log,
    pair,
    states,
    supervised,
    wait_backoffs,
    wait_file,
    wait_log,
    wait_pid,
    wait_states,
    wait_ticks,
)

pytestmark = pytest.mark.qemu

PANIC = Option.word("device", "pvpanic")


@pytest.fixture
def emulator(tmp_path: Path) -> Path:
    """An emulator that can be taken away."""
    path = tmp_path / "emulator"
    path.symlink_to(QEMU)
    return path


def with_b(b: LaunchPlan) -> GroupPlan:
    return group([(domain("A"), ["B"])], [b])


def wait_state(name: str, state: str, reason: str) -> None:
    wait_states(name, lambda found: found[-1:] == [(state, reason)])


def names_of(name: str) -> list[str]:
    return [each["event"] for each in events(name)]


def boots(name: str) -> int:
    """How often a guest has begun."""
    return log(name).read_bytes().count(b"tick 0\n")


def wait_boots(name: str, count: int) -> None:
    wait_file(log(name), lambda: boots(name) >= count)


def restarted(supervisor: Supervisor, name: str, *others: str) -> None:
    """Restart a member; each of the *others* keeps its QEMU, and is never stopped."""
    pids = {each: supervisor.pid(each) for each in others}
    stops = {each: names_of(each).count("STOP") for each in others}
    old, begun = supervisor.row(name)["pid"], boots(name)
    answer = supervisor.ask("restart", domain=name)
    assert answer == {"domains": {name: "running"}}
    row = supervisor.row(name)
    assert (row["state"], row["reason"]) == ("running", "restarted")
    assert row["pid"] not in (None, old)
    if old is not None:
        wait_pid(old)
    wait_boots(name, begun + 1)
    for each in others:
        assert supervisor.pid(each) == pids[each]
        assert names_of(each).count("STOP") == stops[each]
        wait_ticks(each, 2)


def test_of_a_dependency() -> None:
    with supervised(pair()) as supervisor:
        wait_ticks("B", 2)
        restarted(supervisor, "B", "A")
        assert "EMULATOR_ENDED" not in names_of("B")
        # It obeys as before.
        answer = supervisor.ask("suspend", domain="A")
        assert answer["domains"] == {"A": "paused", "B": "paused"}
        assert answer["skew_us"] is not None
        assert supervisor.ask("destroy", domain="A")["domains"].keys() == {"A", "B"}
        assert supervisor.wait_ended() == 0
    assert leftovers() == []


def test_of_a_primary_is_not_its_end() -> None:
    with supervised(pair()) as supervisor:
        wait_ticks("A", 2)
        for _ in range(3):
            restarted(supervisor, "A", "B")
        supervisor.ask("destroy", domain="A")
        assert supervisor.wait_ended() == 0
    assert leftovers() == []


def test_of_the_group() -> None:
    with supervised(pair()) as supervisor:
        before = {name: supervisor.pid(name) for name in "AB"}
        answer = supervisor.ask("restart", domain="A", group=True)
        assert answer == {"domains": {"A": "running", "B": "running"}}
        assert not before.items() & {name: supervisor.pid(name) for name in "AB"}.items()


def test_who_is_paused_runs_then() -> None:
    with supervised(pair(), paused=True) as supervisor:
        assert supervisor.ask("restart", domain="B") == {"domains": {"B": "running"}}
        wait_ticks("B", 2)
        supervisor.ask("suspend", domain="B")
        restarted(supervisor, "B")
        assert supervisor.state("A") == "prelaunch"


def test_who_does_not_answer() -> None:
    with supervised(pair()) as supervisor:
        wait_ticks("B", 2)
        os.kill(supervisor.pid("B"), signal.SIGSTOP)
        assert supervisor.state("B") == "unresponsive"
        restarted(supervisor, "B", "A")


@pytest.mark.parametrize(
    ("image", "options", "state"),
    [("panic", (PANIC,), "crashed"), ("poweroff", (), "in shutdown")],
)
def test_what_was_kept_to_be_looked_at(image: str, options: tuple[Option, ...], state: str) -> None:
    keep = Lifecycle(on_crash=OnEnd.PRESERVE, on_poweroff=OnEnd.PRESERVE)
    with supervised(with_b(domain("B", image, *options, lifecycle=keep))) as supervisor:
        wait_states("B", lambda found: state in dict(found))
        before = log("B").read_text()
        supervisor.ask("restart", domain="B")
        wait_file(log("B"), lambda: log("B").read_text() == 2 * before)


def test_no_back_off() -> None:
    """It waits 4 s after the fourth crash, or does not."""
    crashes = 4
    plan = with_b(domain("B", lifecycle=Lifecycle(on_crash=OnEnd.RESTART)))
    with supervised(plan) as supervisor:
        for number in range(1, crashes + 1):
            wait_boots("B", number)
            os.kill(supervisor.pid("B"), signal.SIGKILL)
            wait_backoffs("B", number)
        assert supervisor.row("B")["pid"] is None
        restarted(supervisor, "B", "A")
        times = {
            each["detail"]["state"]: each["time"]
            for each in events("B")
            if each["event"] == "STATE_CHANGED"
        }
        assert times["prelaunch"] - times["crashed"] < 4
        # Whoever crashes once more waits longer yet.
        assert "EMULATOR_ENDED" in names_of("B")


def test_who_has_ended_cannot_be_restarted() -> None:
    with supervised(pair()) as supervisor:
        os.kill(supervisor.pid("B"), signal.SIGKILL)
        wait_state("B", "crashed", "emulator ended")
        with pytest.raises(QsuperError, match="'B' is not running: crashed"):
            supervisor.ask("restart", domain="B")
        with pytest.raises(QsuperError, match="no domain 'C'"):
            supervisor.ask("restart", domain="C")


def test_a_qemu_that_has_met_others_by_itself() -> None:
    """They would have to start with it."""
    plan = replace(domain("B"), meeting=Meeting(directory="met", prefix="ram"))
    with supervised(with_b(plan)) as supervisor:
        pid = supervisor.pid("B")
        for arguments in ({"domain": "B"}, {"domain": "A", "group": True}):
            with pytest.raises(QsuperError, match="cannot restart B: QEMUs that meet"):
                supervisor.ask("restart", **arguments)
        assert supervisor.pid("B") == pid


def test_several_who_ask_at_once_get_one_new_qemu() -> None:
    with supervised(pair()) as supervisor:
        wait_ticks("B", 1)
        clients = [supervisor.connect() for _ in range(5)]
        old = supervisor.pid("B")
        os.kill(old, signal.SIGSTOP)  # so that none is through before all have asked
        for client in clients:
            client.send("restart", {"domain": "B"})
        answers = [client.receive(PATIENCE_S) for client in clients]
        for client in clients:
            client.close()
        assert answers == [{"domains": {"B": "running"}}] * 5
        launches = [each for each in states("B") if each[0] == "prelaunch"]
        assert 1 <= len(launches) <= 2  # who asks once it goes gets another one


def script(path: Path, text: str) -> None:
    """Put a shell script in the place of an emulator."""
    path.unlink()
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o700)


def test_a_suspend_waits_for_it(emulator: Path) -> None:
    """Else the new QEMU would run in a group that is suspended."""
    with supervised(with_b(domain("B", emulator=str(emulator)))) as supervisor:
        script(emulator, f'sleep 0.2; exec {QEMU} "$@"')
        with supervisor.connect() as client:
            client.send("restart", {"domain": "B"})
            wait_state("B", "prelaunch", "starting up")
            answer = supervisor.ask("suspend", domain="A")
            assert answer["domains"] == {"A": "paused", "B": "paused"}
            assert client.receive(PATIENCE_S)["domains"].keys() == {"B"}
        supervisor.ask("resume", domain="A")
        wait_ticks("B", 2)


def vanishing(directory: Path, **how: Any) -> tuple[LaunchPlan, Path]:  # noqa: ANN401 - as `domain`
    """Give B with a disk that can be taken away."""
    disk = directory / "disk"
    disk.write_bytes(bytes(1 << 20))
    drive = {"file": str(disk), "format": "raw", "if": "none", "id": "x"}
    return domain("B", "tick", Option.keyed("drive", drive), **how), disk


def test_a_new_qemu_that_does_not_start(tmp_path: Path) -> None:
    """The error has QEMU's own words; the dependency is gone, its primary runs on."""
    plan, disk = vanishing(tmp_path)
    with supervised(with_b(plan)) as supervisor:
        old = supervisor.pid("B")
        disk.unlink()
        with pytest.raises(QsuperError, match=r"^B: QEMU did not start: .*No such file"):
            supervisor.ask("restart", domain="B")
        row = supervisor.row("B")
        assert (row["state"], row["reason"], row["pid"]) == ("crashed", "failed", None)
        wait_pid(old)
        wait_ticks("A", 2)
        assert not Path(paths.domain_dir("B")).exists()
        (failed,) = (each for each in events("B") if each["event"] == "RESTART_FAILED")
        assert "No such file" in failed["detail"]["message"]
    assert leftovers() == []


def test_an_emulator_that_is_gone(emulator: Path) -> None:
    with supervised(with_b(domain("B", emulator=str(emulator)))) as supervisor:
        emulator.unlink()
        with pytest.raises(QsuperError, match=rf"^B: {emulator}: No such file"):
            supervisor.ask("restart", domain="B")
        assert supervisor.row("B")["reason"] == "failed"
        wait_ticks("A", 2)
    assert leftovers() == []


def test_what_the_new_qemu_refuses(tmp_path: Path) -> None:
    """It is there, but not whole: it is ended."""
    file = tmp_path / "file"
    file.touch()
    add = Command(
        name="blockdev-add",
        arguments={"driver": "file", "filename": str(file), "node-name": "x"},
    )
    with supervised(with_b(replace(domain("B"), setup=(add,)))) as supervisor:
        restarted(supervisor, "B", "A")
        file.unlink()
        with pytest.raises(QsuperError, match=r"^B: QEMU refuses blockdev-add: .*No such file"):
            supervisor.ask("restart", domain="B")
        row = supervisor.row("B")
        assert (row["state"], row["reason"], row["pid"]) == ("crashed", "failed", None)
    assert leftovers() == []


def test_a_primary_that_does_not_start_again_has_ended(emulator: Path) -> None:
    plan = group([(domain("A", emulator=str(emulator)), ["B"])], [domain("B")])
    with supervised(plan) as supervisor:
        emulator.unlink()
        with pytest.raises(QsuperError, match="No such file"):
            supervisor.ask("restart", domain="A")
        assert supervisor.wait_ended() == 1
    assert states("A")[-1] == ("crashed", "failed")
    assert states("B")[-1] == ("shut off", "destroyed")
    assert leftovers() == []


def test_on_crash_restart_goes_on_trying(tmp_path: Path) -> None:
    plan, disk = vanishing(tmp_path, lifecycle=Lifecycle(on_crash=OnEnd.RESTART))
    with supervised(with_b(plan)) as supervisor:
        wait_ticks("B", 1)
        away = disk.rename(tmp_path / "away")
        with pytest.raises(QsuperError, match="No such file"):
            supervisor.ask("restart", domain="B")
        wait_state("B", *BACKOFF)
        away.rename(disk)
        before = boots("B")
        wait_boots("B", before + 1)
        wait_state("B", "running", "restarted")
        supervisor.ask("destroy", domain="A")
        assert supervisor.wait_ended() == 0
    assert leftovers() == []


def test_a_new_qemu_that_hangs(emulator: Path) -> None:
    """Its monitor is silent: the error comes in time, and a further restart ends it."""
    with supervised(with_b(domain("B", emulator=str(emulator))), timeout_s=3.0) as supervisor:
        script(emulator, "exec sleep 1000")
        with pytest.raises(QsuperError, match=r"^B: QEMU's monitor gave no answer within 3 s"):
            supervisor.ask("restart", domain="B")
        row = supervisor.row("B")
        assert row["state"] == "unresponsive"
        assert row["pid"] is not None
        script(emulator, f'exec {QEMU} "$@"')
        assert supervisor.ask("restart", domain="B") == {"domains": {"B": "running"}}
        wait_pid(row["pid"])
        wait_log("B", "tick 1\n")
        wait_ticks("A", 1)
    assert leftovers() == []


def test_a_new_qemu_that_is_late(emulator: Path) -> None:
    """It goes when it answers."""
    with supervised(with_b(domain("B", emulator=str(emulator))), timeout_s=1.0) as supervisor:
        script(emulator, f'sleep 2; exec {QEMU} "$@"')
        with pytest.raises(QsuperError, match=r"^B: QEMU's monitor gave no answer within 1 s"):
            supervisor.ask("restart", domain="B")
        wait_state("B", "running", "restarted")
        wait_ticks("B", 1)


def test_it_is_destroyed_while_it_starts(emulator: Path) -> None:
    with supervised(with_b(domain("B", emulator=str(emulator)))) as supervisor:
        script(emulator, "exec sleep 1000")
        with supervisor.connect() as client:
            client.send("restart", {"domain": "B"})
            wait_state("B", "prelaunch", "starting up")
            assert supervisor.ask("destroy", domain="B")["domains"] == {"B": "shut off"}
            with pytest.raises(QsuperError, match="'B' has ended: shut off"):
                client.receive(PATIENCE_S)
        wait_ticks("A", 2)
    assert leftovers() == []


def test_it_is_killed_while_it_starts(emulator: Path) -> None:
    """That is no crash of the guest, but a restart that has failed."""
    with supervised(with_b(domain("B", emulator=str(emulator)))) as supervisor:
        script(emulator, "exec sleep 1000")
        with supervisor.connect() as client:
            client.send("restart", {"domain": "B"})
            wait_state("B", "prelaunch", "starting up")
            os.kill(supervisor.pid("B"), signal.SIGKILL)
            with pytest.raises(QsuperError, match="B: QEMU did not start: it was ended by SIGKILL"):
                client.receive(PATIENCE_S)
        assert states("B")[-1] == ("crashed", "failed")
        wait_ticks("A", 2)
    assert leftovers() == []


def test_while_the_group_starts(emulator: Path) -> None:
    """It waits until all are there."""
    script(emulator, f'sleep 1; exec {QEMU} "$@"')
    plan = with_b(domain("B", emulator=str(emulator)))
    with Supervisor(plan, detached=True) as supervisor:
        control = Path(paths.group_dir("A"), "control.sock")
        control.parent.parent.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        control.parent.parent.mkdir(mode=0o700, exist_ok=True)
        control.parent.mkdir(mode=0o700, exist_ok=True)
        wait_file(control, control.exists)
        with supervisor.connect() as client:
            client.send("restart", {"domain": "A"})
            supervisor.wait_started()
            first = supervisor.report["ok"]["domains"][1]["pid"]
            assert client.receive(PATIENCE_S) == {"domains": {"A": "running"}}
        assert supervisor.pid("A") != first
