"""`qsuper up`, the whole way: from XML to guests that tick, and back to nothing."""

import contextlib
import json
import os
import pty
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from qsuper.runtime.inotify import IN_CREATE, IN_MOVED_TO, Inotify
from tests.support.supervisors import PATIENCE_S, kill
from tests.support.ticking import write_domain

Run = Callable[..., tuple[int, str, str]]

QSUPER = [sys.executable, "-m", "qsuper"]

pytestmark = pytest.mark.qemu


@pytest.fixture
def up(rundir: Path) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Start `qsuper up`; whatever is left of it is ended with the test."""
    processes: list[subprocess.Popen[str]] = []

    def start(*words: str, **how: int) -> "subprocess.Popen[str]":
        processes.append(
            subprocess.Popen(
                [*QSUPER, "up", *words],
                stdin=how.get("stdin", subprocess.DEVNULL),
                stdout=how.get("stdout", subprocess.PIPE),
                stderr=how.get("stderr", subprocess.PIPE),
                text=True,
                start_new_session=True,
            )
        )
        return processes[-1]

    yield start
    subprocess.run(
        [*QSUPER, "destroy", "--all"], timeout=PATIENCE_S, check=False, capture_output=True
    )
    for process in processes:
        with process:
            process.kill()


def finished(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    out, err = process.communicate(timeout=PATIENCE_S)
    return process.returncode, out, err


def pids(qsuper: Run) -> dict[str, int]:
    rows = json.loads(qsuper("list", "--format", "json")[1])["domains"]
    return {row["name"]: row["pid"] for row in rows}


def read_until(descriptor: int, word: str) -> str:
    text = ""
    while word not in text:
        assert select.select([descriptor], [], [], PATIENCE_S)[0], text
        more = os.read(descriptor, 65536)
        assert more, f"it ended after {text!r}"
        text += more.decode(errors="replace")
    return text


Up = Callable[..., "subprocess.Popen[str]"]


def test_detached(up: Up, tmp_path: Path, qsuper: Run, rundir: Path) -> None:
    write_domain(tmp_path, "b")
    a = write_domain(tmp_path, "a", "b")

    assert finished(up("-d", a)) == (0, "Domain 'a' started (with b)\n", "")

    running = pids(qsuper)
    assert running.keys() == {"a", "b"}
    supervisor = int((rundir / "groups" / "a" / "supervisor.pid").read_text().split()[0])
    maps = Path(f"/proc/{supervisor}/maps").read_text()
    assert "etree" not in maps, "the supervisor has lxml in it"
    status = Path(f"/proc/{supervisor}/stat").read_text().rpartition(") ")[2].split()
    assert status[3] == str(supervisor), "it does not lead a session of its own"
    assert not zombies_of(supervisor)

    again = finished(up("-d", a))
    assert again[0] == 1
    assert "runs already" in again[2]

    assert qsuper("destroy", "a")[0] == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in running.values())
    assert not [entry for entry in rundir.rglob("*") if entry.parent.name in ("groups", "domains")]


def zombies_of(parent: int) -> list[str]:
    found: list[str] = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, ppid, *_ = stat.read_text().rpartition(") ")[2].split()
            if int(ppid) == parent and state == "Z":
                found.append(str(stat))
    return found


def test_detached_json_and_paused(up: Up, tmp_path: Path, qsuper: Run) -> None:
    one, two = write_domain(tmp_path, "one"), write_domain(tmp_path, "two")

    status, out, err = finished(up("-d", "--paused", "--format", "json", one, two))

    answer = json.loads(out)
    assert (status, err) == (0, "")
    assert answer["version"] == 1
    assert answer["group"] == "one"
    assert [row["role"] for row in answer["domains"]] == ["primary", "primary"]
    assert {row["state"] for row in answer["domains"]} <= {"paused", "prelaunch"}
    assert qsuper("resume", "two")[0] == 0


def test_create_is_up_d(rundir: Path, tmp_path: Path, up: Up) -> None:
    file = write_domain(tmp_path, "a")

    done = subprocess.run(
        [*QSUPER, "create", file], capture_output=True, text=True, timeout=PATIENCE_S, check=True
    )

    assert done.stdout == "Domain 'a' started\n"


@pytest.mark.parametrize("words", [["-d"], []], ids=["detached", "foreground"])
@pytest.mark.parametrize(
    "content", ["<domain", "<network/>", "<domain type='qemu'><name>a</name></domain>"]
)
def test_wrong_file(up: Up, tmp_path: Path, rundir: Path, words: list[str], content: str) -> None:
    """The translator's errors and its exit status are the command's, and nothing is left."""
    bad = tmp_path / "bad.xml"
    bad.write_text(content)

    status, out, err = finished(up(*words, str(bad)))

    assert (status, out) == (65, "")
    assert all(line.startswith(f"qsuper: {bad}:1: ") for line in err.splitlines())
    assert err
    assert not list(rundir.glob("*/*"))


@pytest.mark.parametrize("words", [["-d"], []], ids=["detached", "foreground"])
def test_usage_error_behind_the_fork(up: Up, tmp_path: Path, words: list[str]) -> None:
    file = write_domain(tmp_path, "a")

    status, out, err = finished(up(*words, "--network", "nonsense", file))

    assert (status, out) == (2, "")
    assert err.startswith("qsuper: --network nonsense: ")


@pytest.mark.parametrize("words", [["-d"], []], ids=["detached", "foreground"])
def test_qemu_refuses(up: Up, tmp_path: Path, rundir: Path, words: list[str]) -> None:
    """All or nothing: the member that fails is named, QEMU is quoted, the others end."""
    write_domain(tmp_path, "b")
    a = write_domain(tmp_path, "a", "b", arguments="-device no-such")

    status, out, err = finished(up(*words, a))

    assert (status, out) == (1, "")
    assert err.startswith("qsuper: a: ")
    assert "no-such" in err
    assert "Traceback" not in err
    assert not list(rundir.glob("*/*"))


def test_foreground(up: Up, tmp_path: Path, qsuper: Run) -> None:
    """It shows the consoles with a prefix, has no zombies, and obeys SIGTERM."""
    write_domain(tmp_path, "b", guest="powerbutton")
    process = up(write_domain(tmp_path, "a", "b", guest="powerbutton"))
    assert process.stdout
    text = read_until(process.stdout.fileno(), "b | tick 3")
    assert "a | tick " in text + read_until(process.stdout.fileno(), "a | tick")
    assert not zombies_of(process.pid)
    assert "etree" not in Path(f"/proc/{process.pid}/maps").read_text()

    process.send_signal(signal.SIGTERM)

    status, _, err = finished(process)
    assert status == 128 + signal.SIGTERM
    assert "Traceback" not in err
    assert pids(qsuper) == {}


def test_guest_powers_off(up: Up, tmp_path: Path) -> None:
    status, out, err = finished(up(write_domain(tmp_path, "a", guest="poweroff")))

    assert (status, err) == (0, "")
    assert "powering off" in out


def test_wait_is_silent(up: Up, tmp_path: Path) -> None:
    assert finished(up("--wait", write_domain(tmp_path, "a", guest="poweroff"))) == (0, "", "")


def test_wait_times_out(up: Up, tmp_path: Path, qsuper: Run) -> None:
    file = write_domain(tmp_path, "a")

    status, out, err = finished(up("--wait", "--timeout", "1.5", "--grace", "0", file))

    assert (status, out) == (75, "")
    assert err.splitlines()[-1] == "qsuper: not ended within 1.5 s"
    assert pids(qsuper) == {}


def test_exit_from(up: Up, tmp_path: Path) -> None:
    """The status is QEMU's own; the other members end with it."""
    write_domain(tmp_path, "b")
    exits = "-device isa-debug-exit,iobase=0xf4,iosize=0x04"
    file = write_domain(tmp_path, "a", "b", guest="exit", arguments=exits)

    assert finished(up("--wait", "--exit-from", "a", file))[0] == 43


def test_interrupted_start(up: Up, tmp_path: Path, rundir: Path, qsuper: Run) -> None:
    """A signal while members start ends all of it, whichever process has got how far."""
    write_domain(tmp_path, "b")
    file = write_domain(tmp_path, "a", "b")
    groups = rundir / "groups"
    groups.mkdir(parents=True, mode=0o700)
    rundir.chmod(0o700)
    for words in (["-d"], []):
        with Inotify() as changes:
            changes.watch(str(groups), IN_CREATE | IN_MOVED_TO)
            process = up(*words, file)
            assert select.select([changes], [], [], PATIENCE_S)[0]
        process.send_signal(signal.SIGINT)

        status, _, err = finished(process)

        assert "Traceback" not in err
        assert status == 130
        assert pids(qsuper) == {}
        assert not list(groups.iterdir())


@pytest.mark.parametrize("words", [["-d"], []], ids=["detached", "foreground"])
def test_interrupted_translation(up: Up, tmp_path: Path, rundir: Path, words: list[str]) -> None:
    """Ctrl-C while an emulator is asked what it can do, and says nothing, leaves nothing."""
    fifo = tmp_path / "alive"
    os.mkfifo(fifo)
    emulator = tmp_path / "qemu-system-x86_64"
    emulator.write_text(f"#!/bin/sh\nexec 3> {fifo}\nexec sleep 600\n")
    emulator.chmod(0o700)
    path = Path(write_domain(tmp_path, "a"))
    path.write_text(
        path.read_text().replace("<devices>", f"<devices><emulator>{emulator}</emulator>")
    )
    process = up(*words, str(path))
    reader = os.open(fifo, os.O_RDONLY)  # comes back once the emulator runs

    os.killpg(process.pid, signal.SIGINT)

    assert finished(process) == (130, "", "")
    assert select.select([reader], [], [], PATIENCE_S)[0]
    assert os.read(reader, 1) == b"", "the emulator lives on"
    os.close(reader)
    assert not list(rundir.glob("*/*"))


def test_ctrl_z_and_fg(up: Up, tmp_path: Path, qsuper: Run) -> None:
    """In a terminal Ctrl-Z suspends guests and supervisor; going on resumes both."""
    screen, terminal = pty.openpty()
    process = up(write_domain(tmp_path, "a"), stdin=terminal, stdout=terminal, stderr=terminal)
    read_until(screen, "tick 2")

    process.send_signal(signal.SIGTSTP)  # the terminal would; its session is another's here
    os.waitid(os.P_PID, process.pid, os.WSTOPPED)

    row = json.loads(qsuper("list", "--format", "json")[1])["domains"][0]
    assert (row["state"], row["reason"]) == ("paused", "supervisor stopped")
    status, _, err = qsuper("suspend", "a")
    assert status == 1
    assert "`fg`" in err

    assert qsuper("resume", "a")[0] == 0
    read_until(screen, "tick")
    assert json.loads(qsuper("list", "--format", "json")[1])["domains"][0]["state"] == "running"
    assert qsuper("destroy", "a")[0] == 0
    assert process.wait(PATIENCE_S) == 0
    os.close(screen)
    os.close(terminal)


def test_bound_members_die_with_the_supervisor(up: Up, tmp_path: Path, qsuper: Run) -> None:
    process = up("--bind", write_domain(tmp_path, "a"))
    assert process.stdout
    read_until(process.stdout.fileno(), "tick 1")
    pidfd = os.pidfd_open(pids(qsuper)["a"])

    process.kill()

    assert select.select([pidfd], [], [], PATIENCE_S)[0]
    os.close(pidfd)


def test_killed_supervisor_is_reported(up: Up, tmp_path: Path, rundir: Path, qsuper: Run) -> None:
    """A command whose supervisor is killed in mid-start says so; its guests are not forgotten."""
    process = up("-d", write_domain(tmp_path, "a"))
    assert finished(process)[0] == 0
    supervisor = int((rundir / "groups" / "a" / "supervisor.pid").read_text().split()[0])
    qemu = pids(qsuper)["a"]
    pidfd = os.pidfd_open(supervisor)
    os.kill(supervisor, signal.SIGKILL)
    assert select.select([pidfd], [], [], PATIENCE_S)[0]
    os.close(pidfd)

    assert pids(qsuper) == {"a": qemu}
    status, _, err = finished(up("-d", str(tmp_path / "a.xml")))
    assert status == 1
    assert f"pid {qemu}" in err
    kill(qemu)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-d", "--wait"], "--wait is for staying, -d for leaving"),
        (["-d", "--exit-from", "a"], "--exit-from is for staying"),
        (["--format", "json"], "--format json needs -d"),
    ],
)
def test_contradictions(words: list[str], said: str, qsuper: Run, rundir: Path) -> None:
    status, out, err = qsuper("up", *words, "a.xml")

    assert (status, out) == (2, "")
    assert said in err
