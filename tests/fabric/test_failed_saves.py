"""Saves that come to nothing: the group goes on, and there is no directory."""

import os
import select
import signal
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from qsuper.control.adopt import adopt
from qsuper.errors import QsuperError
from qsuper.host import saved
from qsuper.plan import GroupPlan, Lifecycle, OnEnd
from qsuper.runtime.inotify import IN_CREATE, Inotify
from tests.support.fabric import NAMESPACE, joined, load, private, ticking, wait_event, wait_signals
from tests.support.orphans import kill
from tests.support.supervised import (
    PATIENCE_S,
    Json,
    Supervisor,
    domain,
    events,
    group,
    leftovers,
    log,
    supervised,
    wait_file,
    wait_log,
    wait_pid,
    wait_ticks,
)

pytestmark = [pytest.mark.qemu, pytest.mark.usefixtures("nothing_left")]


def slow(directory: Path, rules: str = "") -> GroupPlan:
    """Give mailbox with 256 MiB that a program outside may write to: they take a while to save."""
    memory = f"big-of-test-{os.getpid()}"

    def edit(text: str) -> str:
        if "<name>mailbox</name>" not in text:
            return private(text).replace(
                "numbering='private'/>", f"numbering='private'>{rules}</q:fabric>"
            )
        fabric = f"<q:memory name='{memory}' size='256' unit='MiB' path='host'/></q:fabric>"
        return (
            private(text)
            .replace("numbering='private'/>", f"numbering='private'>{fabric}")
            .replace("<memory unit='MiB'>32<", "<memory unit='MiB'>256<")
        )

    assert NAMESPACE in edit("<name>mailbox</name>")
    return load(directory, "mailbox", edit)


def save_and(supervisor: Supervisor, directory: Path, act: Callable[[], None]) -> Json:
    """Do something once the memory is being written; give what the save answers."""
    with Inotify() as changes, ThreadPoolExecutor(1) as pool:
        changes.watch(str(directory.parent), IN_CREATE)
        answer: Future[Json] = pool.submit(
            supervisor.ask, "save", domain="mailbox", directory=str(directory)
        )
        partial = Path(f"{directory}.partial")
        while not partial.exists():
            assert select.select([changes], [], [], PATIENCE_S)[0]
            changes.read()
        act()
        return answer.result(PATIENCE_S)


def wait_state(supervisor: Supervisor, name: str, state: str) -> None:
    wait_file(log(name, "events.jsonl"), lambda: supervisor.state(name) == state)


def test_what_cannot_be_saved_runs_on(tmp_path: Path) -> None:
    directory = tmp_path / "saved"
    with supervised(load(tmp_path, "mailbox")) as supervisor:
        wait_log("mailbox", "signal 1\n")
        with pytest.raises(QsuperError, match="numbering='private'"):
            supervisor.ask("save", domain="mailbox", directory=str(directory))
        with pytest.raises(QsuperError, match="save its primary"):
            supervisor.ask("save", domain="mailbox-dependency", directory=str(directory))
        # It was not even stopped.
        assert [each for each in events("mailbox") if each["event"] == "STOP"] == []
    assert not list(tmp_path.glob("saved*"))


def test_a_member_that_hangs(tmp_path: Path) -> None:
    directory = tmp_path / "saved"
    with supervised(load(tmp_path, "mailbox", private)) as supervisor:
        wait_log("mailbox", "mailbox 0\n")
        with joined(supervisor, "mailbox") as client:
            ticking(client)
            wait_log("mailbox-dependency", "signal 1\n")
            os.kill(supervisor.pid("mailbox-dependency"), signal.SIGSTOP)
            try:
                with pytest.raises(QsuperError, match="mailbox-dependency"):
                    supervisor.ask("save", domain="mailbox", directory=str(directory))
            finally:
                os.kill(supervisor.pid("mailbox-dependency"), signal.SIGCONT)
            wait_signals("mailbox-dependency", 3)
    assert not list(tmp_path.glob("saved*"))


def test_a_member_is_killed_meanwhile(tmp_path: Path) -> None:
    directory = tmp_path / "saved"
    with supervised(slow(tmp_path)) as supervisor:
        wait_log("mailbox-dependency", "mailbox ")
        pid = supervisor.pid("mailbox-dependency")

        def end() -> None:
            os.kill(pid, signal.SIGKILL)
            wait_pid(pid)

        answered: list[str] = []
        try:
            save_and(supervisor, directory, end)
        except QsuperError as error:
            answered.append(str(error))
        # One that had written its state already is not missed.
        assert bool(answered) != directory.exists()
        if answered:
            assert supervisor.state("mailbox") == "running"
    assert not list(tmp_path.glob("*.partial"))
    assert leftovers() == []


def test_a_destroy_comes_meanwhile(tmp_path: Path) -> None:
    """It is obeyed, and no other verb is."""
    directory = tmp_path / "saved"
    refused: list[str] = []
    with supervised(slow(tmp_path)) as supervisor:
        wait_log("mailbox-dependency", "mailbox ")

        def act() -> None:
            for verb in ("resume", "suspend", "reset", "save"):
                extra = {"directory": "/x"} if verb == "save" else {}
                with pytest.raises(QsuperError) as caught:
                    supervisor.ask(verb, domain="mailbox", **extra)
                refused.append(str(caught.value))
            supervisor.ask("destroy", domain="mailbox")

        with pytest.raises(QsuperError):
            save_and(supervisor, directory, act)
        supervisor.wait_ended()
    assert refused == ["'mailbox' is being saved"] * 4
    assert not list(tmp_path.glob("saved*"))
    assert leftovers() == []


RULES = "<q:signal shmem='mailbox' vector='3' verb='suspend'/>"


def test_signals_that_come_meanwhile_are_obeyed_after_it(tmp_path: Path) -> None:
    directory = tmp_path / "saved"
    with supervised(slow(tmp_path, RULES)) as supervisor:
        wait_log("mailbox-dependency", "mailbox ")
        with joined(supervisor, "mailbox") as client:

            def act() -> None:
                client.ring(1, 3)
                directory.mkdir()
                (directory / "another's").touch()

            with pytest.raises(QsuperError, match="not empty"):
                save_and(supervisor, directory, act)
        wait_state(supervisor, "mailbox-dependency", "paused")
        assert supervisor.state("mailbox") == "running"
    assert [path.name for path in directory.iterdir()] == ["another's"]


def test_signals_that_come_meanwhile_are_obeyed_after_the_restore(tmp_path: Path) -> None:
    directory = tmp_path / "saved"
    with supervised(slow(tmp_path, RULES)) as supervisor:
        wait_log("mailbox-dependency", "mailbox ")
        with joined(supervisor, "mailbox") as client:
            save_and(supervisor, directory, lambda: client.ring(1, 3))
    assert len(saved.load(str(directory)).rung) == 1
    with supervised(saved.load(str(directory))) as supervisor:
        wait_event("mailbox-dependency", lambda each: each["event"] == "STOP")
        wait_file(
            log("mailbox-dependency", "events.jsonl"),
            lambda: supervisor.state("mailbox-dependency") == "paused",
        )


def test_the_supervisor_is_killed_meanwhile(tmp_path: Path) -> None:
    """A successor lets the group go on, and removes what had been written."""
    directory = tmp_path / "saved"
    with supervised(slow(tmp_path)) as supervisor:
        wait_log("mailbox-dependency", "mailbox ")
        pids = {name: supervisor.pid(name) for name in ("mailbox", "mailbox-dependency")}
        with pytest.raises(QsuperError):
            save_and(supervisor, directory, supervisor.process.kill)
        supervisor.process.wait()
        adopt("mailbox")
        for name in pids:
            wait_state(supervisor, name, "running")
        assert {name: supervisor.pid(name) for name in pids} == pids
        assert not list(tmp_path.glob("saved*"))
        supervisor.ask("destroy", domain="mailbox")


def test_a_saved_group_that_is_damaged(tmp_path: Path) -> None:
    directory = tmp_path / "saved"
    with supervised(load(tmp_path, "mailbox", private)) as supervisor:
        wait_log("mailbox-dependency", "mailbox ")
        supervisor.ask("save", domain="mailbox", directory=str(directory))
    for name, kept_bytes, message in (
        ("mailbox.state", 100_000, "mailbox: QEMU did not start: "),
        ("mailbox.memory", 100_000, r"mailbox\.memory: 100000 bytes; the memory has 4194304"),
        ("plan.json", 100, "not a group plan"),
    ):
        path = directory / name
        content = path.read_bytes()
        path.write_bytes(content[:kept_bytes])
        with pytest.raises((QsuperError, AssertionError), match=message):  # noqa: SIM117
            with supervised(saved.load(str(directory))):
                pass
        path.write_bytes(content)
        assert leftovers() == []
    directory.chmod(0o755)
    with pytest.raises(QsuperError, match="open to others"):
        saved.load(str(directory))
    directory.chmod(0o700)
    with supervised(saved.load(str(directory))) as supervisor:
        assert supervisor.state("mailbox") == "running"


@pytest.mark.parametrize("adopted", [False, True])
def test_who_was_restored_and_crashes_starts_anew(tmp_path: Path, *, adopted: bool) -> None:
    """Its next QEMU does not wait for a state, whoever starts it."""
    directory = tmp_path / "saved"
    restarts = Lifecycle(on_crash=OnEnd.RESTART)
    with supervised(group([(domain("A", lifecycle=restarts), [])])) as supervisor:
        wait_ticks("A", 3)
        supervisor.ask("save", domain="A", directory=str(directory))
    with supervised(saved.load(str(directory))) as supervisor:
        if adopted:
            kill(supervisor)
            adopt("A")
        pid = supervisor.pid("A")
        os.kill(pid, signal.SIGKILL)
        wait_file(log("A"), lambda: log("A").read_text().count("tick 0\n") == 2)
        assert supervisor.pid("A") != pid
        assert supervisor.state("A") == "running"
        supervisor.ask("destroy", domain="A")
