"""A start is all or nothing, and names belong to one supervisor."""

import json
import os
import signal
from pathlib import Path

import pytest
from msgspec.structs import replace

from qsuper import paths
from qsuper.options import Handle, Option, Props, UnixListener
from tests.support.places import small
from tests.support.supervised import (
    Supervisor,
    domain,
    group,
    leftovers,
    log,
    pair,
    supervised,
    ticks,
    wait_pid,
    wait_ticks,
)

pytestmark = pytest.mark.qemu


def qemus(directory: Path) -> list[str]:
    """Give the processes whose working directory is below *directory*."""
    found: list[str] = []
    for link in Path("/proc").glob("[0-9]*/cwd"):
        try:
            target = os.readlink(link)
        except OSError:
            continue
        if target.startswith(str(directory)):
            found.append(link.parent.name)
    return found


def test_the_files_of_a_run(rundir: Path) -> None:
    with supervised(pair()) as supervisor:
        status = supervisor.report["ok"]
        assert status["pid"] == supervisor.process.pid
        assert status["group"] == "A"
        assert [row["state"] for row in status["domains"]] == ["running", "running"]
        home = rundir / "domains" / "B"
        pid = (home / "qemu.pid").read_text().split()[0]
        assert os.readlink(f"/proc/{pid}/cwd") == str(home)
        assert (home / "group").resolve() == rundir / "groups" / "A"
        assert (home / "domain.xml").read_text() == "<domain/>"
        assert json.loads((home / "argv.json").read_text())[0].endswith("qemu-system-x86_64")
        plan = rundir / "groups" / "A" / "plan.json"
        assert plan.stat().st_mode & 0o777 == 0o600
        for name in ("qmp", "sync", "monitor"):
            assert (home / f"{name}.sock").stat().st_mode & 0o777 == 0o600
        argv = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
        assert "guest=B,debug-threads=on" in argv
        assert os.getpgid(int(pid)) == int(pid)
        inherited = os.listdir(f"/proc/{supervisor.process.pid}/fd")
        listening = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
        assert str(rundir / "groups" / "A" / "lock") not in listening
        assert inherited


def test_paused_members_do_not_run() -> None:
    with supervised(pair(), paused=True) as supervisor:
        assert supervisor.state("A") == supervisor.state("B") == "prelaunch"
        assert ticks("A") == 0
        assert supervisor.ask("resume", domain="A")["domains"] == {"A": "running", "B": "running"}
        wait_ticks("A", 1)
        wait_ticks("B", 1)


@pytest.mark.parametrize("culprit", ["A", "B"])
def test_a_member_that_does_not_start_ends_all(culprit: str, rundir: Path) -> None:
    bad = Option.word("device", "no-such-device")
    plans = {name: domain(name, "tick", *([bad] if name == culprit else [])) for name in "AB"}
    plan = group([(plans["A"], ["B"])], [plans["B"]])
    with Supervisor(plan, detached=True) as supervisor:
        report = supervisor.wait_report()
        assert report["exit-status"] == 1
        assert report["error"].startswith(f"{culprit}: QEMU did not start: ")
        assert "'no-such-device' is not a valid device model name" in report["error"]
        assert supervisor.wait_ended() == 1
    assert leftovers() == []
    assert qemus(rundir) == []


def test_an_emulator_that_is_not_there(rundir: Path) -> None:
    plan = group([(domain("A"), ["B"])], [domain("B", emulator="/nonexistent/qemu")])
    with Supervisor(plan) as supervisor:
        report = supervisor.wait_report()
        assert report["error"] == "B: /nonexistent/qemu: No such file or directory"
        assert supervisor.wait_ended() == 1
    assert leftovers() == []
    assert qemus(rundir) == []


def test_a_monitor_that_never_answers(tmp_path: Path, rundir: Path) -> None:
    """An emulator that hangs: its group is ended after the timeout, with status 75."""
    hangs = tmp_path / "hangs"
    hangs.write_text("#!/bin/sh\nexec sleep 1000\n")
    hangs.chmod(0o700)
    plan = group([(domain("A"), ["B"])], [domain("B", emulator=str(hangs))])
    with Supervisor(plan, timeout_s=1.0) as supervisor:
        report = supervisor.wait_report()
        assert report["exit-status"] == 75
        assert report["error"] == "B: QEMU's monitor gave no answer within 1 s"
        assert supervisor.wait_ended() == 75
    assert leftovers() == []
    assert qemus(rundir) == []


def test_resources_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    listener = UnixListener(name="extra", path=str(tmp_path / "file"))
    props: Props = {
        "backend": "socket",
        "id": "extra",
        "path": Handle(resource=listener, shown="", live_key="fd"),
        "server": True,
        "wait": False,
    }
    plan = domain("A", "tick", Option.keyed("chardev", props, implied="backend"))
    with Supervisor(group([(plan, [])])) as supervisor:
        error = supervisor.wait_report()["error"]
        assert error == f"A: {tmp_path / 'file'}: cannot listen: Address already in use"
        supervisor.wait_ended()
    assert (tmp_path / "file").exists()
    assert leftovers() == []


def test_a_name_in_use() -> None:
    with supervised(pair()) as first, Supervisor(group([(domain("B"), [])])) as second:
        error = second.wait_report()["error"]
        assert error == (
            "domain 'B' runs already in group 'A', under the supervisor"
            f" with pid {first.process.pid}"
        )
        assert second.wait_ended() == 1
        with Supervisor(pair()) as third:
            assert "group 'A' runs already" in third.wait_report()["error"]
        wait_ticks("B", 2)


def test_of_two_that_race_for_a_name_one_wins() -> None:
    dependency = domain("B")
    plans = [group([(domain(name), ["B"])], [dependency]) for name in ("A1", "A2")]
    with Supervisor(plans[0], detached=True) as one, Supervisor(plans[1], detached=True) as two:
        reports = [one.wait_report(), two.wait_report()]
        assert sorted("ok" in report for report in reports) == [False, True]
        winner = one if "ok" in reports[0] else two
        winner.ask("destroy", domain=winner.name)
        one.wait_ended()
        two.wait_ended()
    assert leftovers() == []


def test_what_a_killed_supervisor_left() -> None:
    """Its guests run on and keep their names; once they ended, the names are free."""
    with supervised(pair()) as first:
        pids = {name: first.pid(name) for name in "AB"}
        first.process.send_signal(signal.SIGKILL)
        assert first.wait_ended() == -signal.SIGKILL
        wait_ticks("A", 3)
        with Supervisor(pair()) as second:
            error = second.wait_report()["error"]
            assert error == (
                "group 'A': its supervisor died, and its QEMUs live on:"
                " A (pid {A}), B (pid {B}) (qsuper adopt A, or qsuper destroy A)".format(**pids)
            )
            assert second.wait_ended() == 1
        with Supervisor(group([(domain("B"), [])])) as third:
            error = third.wait_report()["error"]
            assert error.startswith(
                f"domain 'B' still runs as pid {pids['B']}; its supervisor died"
            )
            assert third.wait_ended() == 1
        wait_ticks("A", 1)
        for pid in pids.values():
            os.kill(pid, signal.SIGKILL)
            wait_pid(pid)
        with supervised(pair()) as last:
            wait_ticks("B", 2)
            last.ask("destroy", domain="A")
            assert last.wait_ended() == 0
    assert leftovers() == []


def test_bound_members_end_with_their_supervisor() -> None:
    with supervised(pair(), bind=True) as supervisor:
        pids = [supervisor.pid(name) for name in "AB"]
        supervisor.process.send_signal(signal.SIGKILL)
        for pid in pids:
            wait_pid(pid)


def test_long_socket_paths(rundir: Path) -> None:
    """Sockets whose paths are too long are bound elsewhere, and found by a link."""
    name = "n" * 100
    with supervised(group([(domain(name), [])])) as supervisor:
        assert supervisor.state(name) == "running"
        link = rundir / "domains" / name / "monitor.sock"
        assert link.is_symlink()
        assert link.resolve().is_socket()
        supervisor.ask("destroy", domain=name)
    assert leftovers() == []


def test_no_plan_ends_quietly() -> None:
    """The translator has failed, and has said so itself."""
    with Supervisor(None) as supervisor:
        assert supervisor.wait_report() == {}
        assert supervisor.wait_ended() == 1
    assert not Path(paths.runtime_dir()).exists()


def test_names_that_cannot_be_directories() -> None:
    plan = replace(domain("A"), name="../B")
    with Supervisor(group([(plan, [])])) as supervisor:
        assert supervisor.wait_report()["error"] == "'../B' cannot be a domain's name"


def test_exit_from_nobody() -> None:
    with Supervisor(pair(), exit_from="Z") as supervisor:
        report = supervisor.wait_report()
        assert report == {"error": "no domain 'Z' in the group", "exit-status": 2}
        assert supervisor.wait_ended() == 2


def test_the_emulator_log_says_how_it_was_started() -> None:
    with supervised(pair()):
        first = log("A", "qemu.log").read_text().splitlines()[0]
        assert "starting: /usr/bin/qemu-system-x86_64 -name guest=A," in first


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no room for the plan; the message says so, and nothing is left."""
    with small(tmp_path / "small", "size=16k") as directory:
        monkeypatch.setenv("QSUPER_RUNTIME_DIR", str(directory / "run"))
        plan = pair()
        filled = replace(plan.members[0], xml="x" * 100_000)
        with Supervisor(replace(plan, members=(filled, *plan.members[1:]))) as supervisor:
            report = supervisor.wait_report()
            assert "No space left on device" in report["error"]
            assert supervisor.wait_ended() == 1
        assert leftovers() == []


def test_many_members() -> None:
    """Thirty dependencies start, pause and end with their primary."""
    bare = replace(
        domain("A"),
        consoles=(),
        options=(Option.word("machine", "none"), Option.word("display", "none")),
    )
    names = [f"B{number}" for number in range(30)]
    plan = group([(bare, names)], [replace(bare, name=name) for name in names])
    with supervised(plan) as supervisor:
        assert set(supervisor.ask("suspend", domain="A")["domains"].values()) == {"paused"}
        assert len(supervisor.ask("destroy", domain="A")["domains"]) == 31
        assert supervisor.wait_ended() == 0
    assert leftovers() == []
