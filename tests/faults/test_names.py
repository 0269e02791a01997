"""Names in use, starts that are cut off, and what `list` and a further `up` say then."""

import os
import select
import signal
import subprocess

import pytest

from qsuper.runtime.inotify import IN_CREATE, IN_MOVED_TO, Inotify
from tests.support.lab import Lab, ends, kill

pytestmark = pytest.mark.qemu


def test_in_use_by_another_supervisor(lab: Lab) -> None:
    lab.domain("b")
    assert lab.run("up", "-d", lab.domain("a", "b")).status == 0
    supervisor = lab.supervisor("a")

    for words in (["-d"], []):
        again = lab.run("up", *words, str(lab.root / "a.xml"))
        assert again.status == 1
        assert again.error == f"group 'a' runs already under the supervisor with pid {supervisor}"
        other = lab.run("up", *words, str(lab.root / "b.xml"), lab.domain("c"))
        assert other.status == 1
        assert other.error == (
            f"domain 'b' runs already in group 'a', under the supervisor with pid {supervisor}"
        )
    assert lab.states() == {"a": "running", "b": "running"}
    assert lab.run("destroy", "a").status == 0


def test_in_use_by_a_qemu_whose_supervisor_died(lab: Lab) -> None:
    """Nothing of it is touched; all that is said of it stays true until it has ended."""
    lab.domain("b")
    file = lab.domain("a", "b")
    assert lab.run("up", "-d", file).status == 0
    pids = {name: row["pid"] for name, row in lab.rows().items()}
    kill(lab.supervisor("a"))

    for _ in range(2):
        done = lab.run("up", "-d", file)
        assert done.status == 1
        assert done.error == (
            "group 'a': its supervisor died, and its QEMUs live on: a (pid {a}), b (pid {b})"
            " (qsuper adopt a, or qsuper destroy a)".format(**pids)
        )
        listed = lab.rows()
        assert {name: row["pid"] for name, row in listed.items()} == pids
        assert {row["reason"] for row in listed.values()} == {"supervisor died"}
    assert f"'b' still runs as pid {pids['b']}" in lab.run("up", str(lab.root / "b.xml")).error
    assert lab.run("suspend", "a").status == 0  # by a successor
    assert lab.states() == {"a": "paused", "b": "paused"}
    assert lab.run("destroy", "a").status == 0

    assert lab.run("list") == (0, "", "")
    assert lab.run("up", "-d", file).status == 0
    assert lab.run("destroy", "a").status == 0


def test_two_at_once(lab: Lab) -> None:
    """Exactly one wins; the other says who has the name, or that it is being started."""
    file = lab.domain("a")
    for _ in range(5):
        both = [lab.start("up", "-d", file) for _ in range(2)]
        done = sorted(lab.finish(process) for process in both)
        assert [each.status for each in done] == [0, 1]
        assert done[1].error.startswith("group 'a' runs already under ")
        assert len(lab.qemus()) == 1
        assert lab.run("destroy", "a").status == 0


def test_many_at_once(lab: Lab) -> None:
    """Groups that share one member: one of them runs, the others left nothing."""
    lab.domain("b")
    files = [lab.domain(f"a{number}", "b") for number in range(6)]

    done = [lab.finish(process) for process in [lab.start("up", "-d", file) for file in files]]

    assert sorted(each.status for each in done) == [0, 1, 1, 1, 1, 1]
    assert len(lab.qemus()) == 2
    (winner,) = (each.out.split("'")[1] for each in done if not each.status)
    for each in done:
        assert not each.status or "domain 'b'" in each.error
    assert lab.run("destroy", winner).status == 0


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("groups", "a"),
        ("groups/a", "plan.json"),
        ("domains/b", "argv.json"),
        ("domains/b", "qemu.pid"),
        ("domains/a", "qemu.pid"),
    ],
)
@pytest.mark.parametrize("words", [["-d"], []], ids=["detached", "foreground"])
def test_supervisor_killed_during_the_start(
    lab: Lab, words: list[str], place: str, name: str
) -> None:
    """`list` shows what lives and nothing else; a further `up` names the pids, or works."""
    lab.domain("b")
    file = lab.domain("a", "b")
    assert lab.run("validate", file).status == 0  # asks the emulator
    directory = lab.runtime / place
    lab.runtime.mkdir(mode=0o700, exist_ok=True)
    for made in reversed([directory, *directory.relative_to(lab.runtime).parents][:-1]):
        (lab.runtime / made).mkdir(mode=0o700, exist_ok=True)
    with Inotify() as changes:
        watched = changes.watch(str(directory), IN_CREATE | IN_MOVED_TO)
        process = lab.start("up", *words, file)
        while not (directory / name).exists():
            assert select.select([changes], [], [], 30)[0]
            assert watched in changes.read()
        supervisors = {pid for pid, line in lab.processes().items() if "qsuper-qmp" not in line}
        for pid in supervisors - ({process.pid} if words else set()):
            os.kill(pid, signal.SIGKILL)
    done = lab.finish(process)
    for pid in supervisors:
        assert ends(pid)

    assert done.status in (0, 1, -signal.SIGKILL)  # 0: it was up before the signal came
    lab.rows()  # by the end of it, a child between fork and exec is a QEMU
    alive = lab.qemus()
    assert {row["pid"] for row in lab.rows().values()} == alive
    if alive:
        again = lab.run("up", "-d", file)
        assert again.status == 1
        assert all(str(pid) in again.error for pid in alive)
        for pid in alive:
            kill(pid)
    assert lab.run("up", "-d", file).status == 0
    assert lab.run("destroy", "a").status == 0


def test_killed_between_the_spawn_and_the_pid_file(lab: Lab) -> None:
    """The emulator kills its parent: its own pid may be written nowhere, and is found."""
    script = 'case "$*" in *guest=*) kill -9 $PPID;; esac\nexec qemu-system-x86_64 "$@"'
    file = lab.domain("a", devices=lab.emulator(script))

    done = lab.run("up", "-d", file)

    assert done.status == 1
    (pid,) = lab.qemus()
    (lab.runtime / "domains" / "a" / "qemu.pid").unlink(missing_ok=True)
    assert lab.rows()["a"]["pid"] == pid
    assert f"a (pid {pid})" in lab.run("up", "-d", file).error
    assert lab.run("destroy", "a").error.endswith("the start was rolled back)")
    assert ends(pid)
    assert lab.rows() == {}
    lab.domain("a")
    assert lab.run("up", "-d", file).status == 0
    assert lab.run("destroy", "a").status == 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_command_ended_while_it_translates(lab: Lab, number: signal.Signals) -> None:
    """The supervisor that waits for a plan ends without one."""
    fifo = lab.root / "alive"
    os.mkfifo(fifo)
    emulator = lab.emulator(f"exec 3> {fifo}\nexec sleep 600")
    process = lab.start("up", "-d", lab.domain("a", devices=emulator))
    reader = os.open(fifo, os.O_RDONLY)  # comes back once the emulator runs

    process.send_signal(number)

    done = lab.finish(process)
    assert done.out == ""
    assert done.status == (-number if number is signal.SIGKILL else 128 + number)
    assert select.select([reader], [], [], 30)[0]
    assert os.read(reader, 1) == b"", "the emulator lives on"
    os.close(reader)


def test_fifty_verbs_at_once(lab: Lab) -> None:
    lab.domain("b")
    assert lab.run("up", "-d", lab.domain("a", "b")).status == 0
    verbs = (["suspend", "a"], ["resume", "a"], ["list"], ["info", "b"], ["qmp", "a", "query-name"])

    running: list[subprocess.Popen[str]] = [lab.start(*verbs[n % 5]) for n in range(50)]
    done = [lab.finish(process) for process in running]

    for each in done:
        assert each.status in (0, 1)
        assert not each.status or each.error.startswith("cannot "), each
    lab.run("resume", "a")
    assert lab.states() == {"a": "running", "b": "running"}
    assert lab.run("destroy", "a").status == 0
