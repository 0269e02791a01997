"""The verbs that steer and look, on real supervisors of real QEMUs."""

import json
import os
import re
import select
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from qsuper.runtime.inotify import Inotify
from tests.support.orphans import wait_removed
from tests.support.supervisors import PATIENCE_S, Supervisor, kill, member

Run = Callable[..., tuple[int, str, str]]
Start = Callable[..., Supervisor]

pytestmark = pytest.mark.qemu


@pytest.fixture
def group(supervise: Start) -> Supervisor:
    """A group: a with its dependencies dep1 and dep2."""
    return supervise(member("dep1"), member("dep2"), member("a", "dep1", "dep2"))


def states(qsuper: Run) -> dict[str, str]:
    status, out, err = qsuper("list", "--format", "json")
    assert (status, err) == (0, "")
    return {row["name"]: row["state"] for row in json.loads(out)["domains"]}


def wait_for_end(pid: int) -> None:
    """Wait until a process is gone."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    assert select.select([pidfd], [], [], PATIENCE_S)[0], f"process {pid} lives on"
    os.close(pidfd)


def test_list(group: Supervisor, qsuper: Run) -> None:
    pids = group.pids

    status, out, err = qsuper("list")

    assert (status, err) == (0, "")
    assert [line.split() for line in out.splitlines()] == [
        ["Name", "State", "Group", "Role", "PID"],
        ["dep1", "running", "a", "dependency", str(pids["dep1"])],
        ["dep2", "running", "a", "dependency", str(pids["dep2"])],
        ["a", "running", "a", "primary", str(pids["a"])],
    ]
    assert len({line.index("a", 14) for line in out.splitlines()[1:]}) == 1, "not aligned"
    assert qsuper("list", "--names") == (0, "dep1\ndep2\na\n", "")

    document = json.loads(qsuper("list", "--format", "json")[1])
    assert document["version"] == 1
    assert document["domains"][2].keys() == {
        "name", "uuid", "state", "reason", "pid", "group", "role", "since"
    }  # fmt: skip


def test_suspend_and_resume_a_group(group: Supervisor, qsuper: Run) -> None:
    status, out, err = qsuper("suspend", "a")
    assert (status, err) == (0, "")
    assert re.fullmatch(r"Domain 'a' suspended \(with dep1, dep2; stop skew \d+ us\)\n", out), out
    assert set(states(qsuper).values()) == {"paused"}

    assert qsuper("resume", "dep1") == (0, "Domain 'dep1' resumed\n", "")
    assert states(qsuper) == {"a": "paused", "dep1": "running", "dep2": "paused"}

    status, out, _ = qsuper("resume", "a", "--format", "json")
    answer = json.loads(out)
    assert status == 0
    assert answer["version"] == 1
    assert answer["verb"] == "resume"
    (result,) = answer["results"]
    assert result["domain"] == "a"
    assert result["domains"] == dict.fromkeys(["dep1", "dep2", "a"], "running")
    assert set(states(qsuper).values()) == {"running"}


def test_one_unknown_among_several(group: Supervisor, qsuper: Run) -> None:
    """The others get the verb; the exit status and stderr tell."""
    status, out, err = qsuper("suspend", "dep1", "ghost", "dep2")

    assert status == 1
    assert out == "Domain 'dep1' suspended\nDomain 'dep2' suspended\n"
    assert err == "qsuper: no such domain: ghost\n"


def test_destroy_a_group(group: Supervisor, qsuper: Run) -> None:
    pids = group.pids

    status, out, err = qsuper("destroy", "dep1", "a", "dep2")

    assert (status, err) == (0, "")
    assert "Domain 'a' destroyed (with " in out
    for pid in pids.values():
        assert not Path(f"/proc/{pid}").exists()
    assert qsuper("list") == (0, "", "")
    assert qsuper("destroy", "a") == (1, "", "qsuper: no such domain: a\n")
    assert group.process.wait(PATIENCE_S) == 0


def test_shared_dependency_is_spared(supervise: Start, qsuper: Run) -> None:
    supervise(member("dep"), member("a", "dep"), member("b", "dep"))

    status, out, err = qsuper("destroy", "a")

    assert (status, out) == (0, "Domain 'a' destroyed\n")
    assert err == "qsuper: spared, since another primary needs it: dep\n"
    assert states(qsuper) == {"dep": "running", "b": "running"}


def test_destroy_all(supervise: Start, qsuper: Run) -> None:
    supervise(member("dep"), member("a", "dep"))
    supervise(member("b"))

    status, out, err = qsuper("destroy", "--all")

    assert (status, err) == (0, "")
    assert out == "Domain 'a' destroyed (with dep)\nDomain 'b' destroyed\n"
    assert qsuper("list") == (0, "", "")


def test_down(supervise: Start, qsuper: Run) -> None:
    """A guest that knows its power button obeys it; one that does not is destroyed in the end."""
    supervise(member("good", guest="powerbutton"))
    supervise(member("bad"))
    assert "tick" in follow_until(qsuper, "good", "tick")

    status, out, err = qsuper("down", "good", "--timeout", "50")
    assert (status, out, err) == (0, "Domain 'good' shut down\n", "")

    status, out, err = qsuper("down", "--all", "--timeout", "0.2")
    assert (status, out) == (0, "Domain 'bad' shut down\n")
    assert err == "qsuper: destroyed, after 0.2 s: bad\n"


def follow_until(qsuper: Run, name: str, word: str) -> str:
    """Give a guest's console log, once *word* is in it."""
    path = Path(os.environ["XDG_STATE_HOME"]) / "qsuper" / name / "serial0.log"
    with Inotify() as changes:
        changes.watch(str(path))
        while word not in (text := path.read_text()):
            assert select.select([changes], [], [], PATIENCE_S)[0], text
            changes.read()
    return text


def test_reset_and_reboot(group: Supervisor, qsuper: Run) -> None:
    assert qsuper("reset", "a") == (0, "Domain 'a' was reset\n", "")
    assert qsuper("reset", "a", "--group") == (
        0,
        "Domain 'a' was reset (with dep1, dep2)\n",
        "",
    )
    assert qsuper("reboot", "dep1") == (0, "Domain 'dep1' is being rebooted\n", "")


def test_restart(group: Supervisor, qsuper: Run) -> None:
    """New QEMUs; the others keep theirs."""

    def pids() -> dict[str, int]:
        rows = json.loads(qsuper("list", "--format", "json")[1])["domains"]
        return {row["name"]: row["pid"] for row in rows}

    assert qsuper("restart", "dep1", "dep2") == (
        0,
        "Domain 'dep1' was restarted\nDomain 'dep2' was restarted\n",
        "",
    )
    between = pids()
    assert [name for name, pid in between.items() if pid == group.pids[name]] == ["a"]
    assert qsuper("restart", "a", "--group") == (
        0,
        "Domain 'a' was restarted (with dep1, dep2)\n",
        "",
    )
    assert not between.items() & pids().items()
    assert qsuper("restart", "ghost") == (1, "", "qsuper: no such domain: ghost\n")
    assert qsuper("destroy", "a")[0] == 0
    for pid in pids().values():
        wait_for_end(pid)


def test_info(group: Supervisor, qsuper: Run) -> None:
    status, out, err = qsuper("info", "a")
    assert (status, err) == (0, "")
    lines = dict(line.split(":", 1) for line in out.splitlines())
    assert lines["Name"].strip() == "a"
    assert lines["State"].strip() == "running"
    assert lines["Needs"].strip() == "dep1, dep2"
    assert lines["PID"].strip() == str(group.pids["a"])
    assert lines["Console serial0"].strip().startswith("pty")

    assert qsuper("domstate", "a", "dep1") == (0, "running\nrunning\n", "")
    assert qsuper("domstate", "a", "--reason") == (0, "running (booted)\n", "")
    status, out, err = qsuper("info", "ghost", "a", "--format", "json")
    assert (status, err) == (1, "qsuper: no such domain: ghost\n")
    assert [row["name"] for row in json.loads(out)["domains"]] == ["a"]


def test_qmp(group: Supervisor, qsuper: Run) -> None:
    status, out, err = qsuper("qmp", "a", "query-status")
    assert (status, err) == (0, "")
    assert json.loads(out)["status"] == "running"

    status, out, _ = qsuper("qmp", "a", "qom-get", '{"path": "/machine", "property": "type"}')
    assert (status, out) == (0, '"pc-i440fx-7.2-machine"\n')

    status, out, _ = qsuper("qmp", "a", '{"execute": "query-name"}')
    assert json.loads(out) == {"name": "a"}

    status, out, err = qsuper("qmp", "a", "fly")
    assert (status, out) == (1, "")
    assert "fly" in err
    assert err.count("\n") == 1


def test_stopped_supervisor(group: Supervisor, qsuper: Run) -> None:
    """After Ctrl-Z a verb does not hang: resume goes on, the others say how."""
    stop(group)

    status, out, err = qsuper("suspend", "a")
    assert (status, out) == (1, "")
    assert err == (
        f"qsuper: a: its supervisor (pid {group.process.pid}) is stopped, as by Ctrl-Z"
        " (go on with `fg` there, or `qsuper resume a`)\n"
    )
    status, out, err = qsuper("list", "--format", "json")
    assert (status, err) == (0, "")
    rows = json.loads(out)["domains"]
    assert [row["name"] for row in rows] == ["dep1", "dep2", "a"]
    assert {row["reason"] for row in rows} == {"supervisor stopped"}
    assert {row["state"] for row in rows} == {"running"}

    status, out, err = qsuper("resume", "a")
    assert (status, err) == (0, "")
    assert out.startswith("Domain 'a' resumed (with dep1, dep2")
    assert {row["reason"] for row in json.loads(qsuper("list", "--format", "json")[1])["domains"]}
    assert set(states(qsuper).values()) == {"running"}


def stop(supervisor: Supervisor) -> None:
    os.kill(supervisor.process.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, supervisor.process.pid, os.WSTOPPED)


def test_dead_supervisor(group: Supervisor, supervise: Start, qsuper: Run) -> None:
    """Killed, it leaves its guests running, and `list` goes on telling the truth about all."""
    other = supervise(member("z"))
    group.process.kill()
    group.process.wait()

    status, out, err = qsuper("list", "--format", "json")
    assert status == 0
    assert err == "qsuper: group a: its supervisor died; its QEMUs live on (qsuper adopt a)\n"
    rows = {row["name"]: row for row in json.loads(out)["domains"]}
    assert rows.keys() == {"a", "dep1", "dep2", "z"}
    assert rows["dep1"]["role"] == "dependency"
    assert rows["a"]["role"] == "primary"
    assert {name: row["pid"] for name, row in rows.items()} == group.pids | other.pids
    assert {row["state"] for row in rows.values()} == {"running"}

    status, out, err = qsuper("suspend", "a")
    assert (status, err) == (0, "")
    assert out.startswith("Domain 'a' suspended (with dep1, dep2; ")
    status, out, err = qsuper("list", "--format", "json")
    assert (status, err) == (0, "")
    rows = {row["name"]: row for row in json.loads(out)["domains"]}
    assert {name: row["pid"] for name, row in rows.items()} == group.pids | other.pids
    assert {row["state"] for row in rows.values()} == {"paused", "running"}
    assert rows["z"]["state"] == "running"
    assert qsuper("resume", "a")[0] == 0
    assert qsuper("info", "dep1")[0] == 0
    assert qsuper("destroy", "a")[0] == 0
    for pid in group.pids.values():
        wait_for_end(pid)
    assert states_of(qsuper("list", "--format", "json")[1]).keys() == {"z"}


def test_dead_supervisor_of_dead_guests(group: Supervisor, rundir: Path, qsuper: Run) -> None:
    group.process.kill()
    group.process.wait()
    kill(group.pids["a"])
    wait_for_end(group.pids["a"])
    assert states_of(qsuper("list", "--format", "json")[1]).keys() == {"dep1", "dep2"}

    status, _, err = qsuper("destroy", "--all")
    assert status == 0, err

    for pid in group.pids.values():
        wait_for_end(pid)
    # A successor that found nothing to supervise is on its way out.
    wait_removed(rundir / "groups" / "a")
    assert not list((rundir / "groups").iterdir())


def test_adopt(group: Supervisor, qsuper: Run) -> None:
    group.process.kill()
    group.process.wait()

    status, out, err = qsuper("adopt")

    assert (status, err) == (0, "")
    assert re.fullmatch(r"Group 'a' adopted by pid \d+: dep1, dep2, a\n", out)
    again = json.loads(qsuper("adopt", "dep1", "a", "--format", "json")[1])["groups"]
    assert [(row["group"], row["adopted"]) for row in again] == [("a", False)]
    assert qsuper("adopt", "nobody")[2] == "qsuper: no such domain: nobody\n"
    assert qsuper("destroy", "a")[0] == 0


def states_of(document: str) -> dict[str, str]:
    return {row["name"]: row["state"] for row in json.loads(document)["domains"]}


def test_stopped_qemu_of_a_dead_supervisor(group: Supervisor, qsuper: Run) -> None:
    """A QEMU that answers nothing is `unresponsive`; the others are shown as they are."""
    group.process.kill()
    group.process.wait()
    os.kill(group.pids["dep1"], signal.SIGSTOP)

    out = qsuper("list", "--format", "json")[1]

    assert states_of(out) == {"dep1": "unresponsive", "dep2": "running", "a": "running"}


def test_reused_pid_is_not_taken_for_qemu(group: Supervisor, rundir: Path, qsuper: Run) -> None:
    """A process that got the pid of a dead QEMU has another start time."""
    pid = group.pids["a"]
    group.process.kill()
    group.process.wait()
    kill(pid)
    wait_for_end(pid)
    (rundir / "domains" / "a" / "qemu.pid").write_text(f"{os.getpid()} 1\n")

    assert states_of(qsuper("list", "--format", "json")[1]).keys() == {"dep1", "dep2"}


def test_broken_group_does_not_hide_others(group: Supervisor, rundir: Path, qsuper: Run) -> None:
    broken = rundir / "groups" / "broken"
    broken.mkdir()
    (broken / "plan.json").write_text("{")

    status, out, err = qsuper("list", "--names")

    assert status == 1
    assert out == "dep1\ndep2\na\n"
    assert "plan.json" in err


@pytest.fixture
def mute(rundir: Path) -> Iterator[socket.socket]:
    """A supervisor that takes connections and never says a word; no real one can be made to."""
    domain, group = rundir / "domains" / "m", rundir / "groups" / "m"
    rundir.mkdir(mode=0o700)
    domain.mkdir(parents=True)
    group.mkdir(parents=True)
    (domain / "group").symlink_to(group)
    (group / "plan.json").write_text('{"members": []}')
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(group / "control.sock"))
        listener.listen()
        yield listener


def test_stuck_supervisor(
    mute: socket.socket, qsuper: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends in exit status 75, not in waiting for ever."""
    monkeypatch.setattr("qsuper.control.client.Connection.receive.__defaults__", (0.1,))
    monkeypatch.setattr(
        "qsuper.control.client.Connection.execute.__kwdefaults__", {"timeout_s": 0.1}
    )

    status, out, err = qsuper("info", "m")

    assert (status, out) == (75, "")
    assert err == "qsuper: m: its supervisor gave no answer within 0.1 s\n"
