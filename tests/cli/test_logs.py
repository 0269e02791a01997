"""`qsuper logs` and `qsuper events`."""

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.supervisors import PATIENCE_S, Supervisor, kill, member

Run = Callable[..., tuple[int, str, str]]
Start = Callable[..., Supervisor]


class Stream:
    """A command that goes on printing."""

    def __init__(self, *words: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "qsuper", *words], stdout=subprocess.PIPE, text=False
        )
        assert self.process.stdout
        self._fd = self.process.stdout.fileno()
        self._text = b""

    def provoke(self, act: Callable[[], object]) -> None:
        """Do something until it is heard of, since the command may just be starting."""
        act()
        while not select.select([self._fd], [], [], 0.5)[0]:
            act()

    def until(self, word: str) -> str:
        """Give the lines up to the first that has *word* in it."""
        seen = ""
        while True:
            line, newline, rest = self._text.partition(b"\n")
            if newline:
                self._text = rest
                seen += line.decode() + "\n"
                if word in line.decode():
                    return seen
                continue
            assert select.select([self._fd], [], [], PATIENCE_S)[0], seen
            more = os.read(self._fd, 65536)
            assert more, f"it ended after {seen}"
            self._text += more


@contextmanager
def stream(*words: str) -> Generator[Stream]:
    running = Stream(*words)
    with running.process:
        try:
            yield running
        finally:
            running.process.kill()


@pytest.fixture
def log(rundir: Path) -> Path:
    """The console log of a domain that does not run."""
    directory = Path(os.environ["XDG_STATE_HOME"]) / "qsuper" / "old"
    directory.mkdir(parents=True)
    (directory / "qemu.log").write_text("QEMU said this\n")
    (directory / "supervisor.log").write_text("")
    (directory / "console1.log").write_text("on console1\n")
    path = directory / "serial0.log"
    path.write_text("one\ntwo\nthree\n")
    return path


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ([], "one\ntwo\nthree\n"),
        (["--qemu"], "QEMU said this\n"),
        (["--console", "console1"], "on console1\n"),
        (["--lines", "0"], ""),
        (["--lines", "1"], "three\n"),
        (["--lines", "3"], "one\ntwo\nthree\n"),
        (["--lines", "99"], "one\ntwo\nthree\n"),
        (["-f", "--lines", "1"], "three\n"),
    ],
)
def test_of_a_domain_that_has_ended(log: Path, words: list[str], shown: str, qsuper: Run) -> None:
    assert qsuper("logs", "old", *words) == (0, shown, "")


@pytest.mark.parametrize(
    "text", ["", "\n", "a", "a\nb", "\n\nx\n", "line\n" * 50_000, "z" * 200_000]
)
@pytest.mark.parametrize("lines", [1, 2, 1000])
def test_last_lines(log: Path, text: str, lines: int) -> None:
    """The same as of `tail`, in files that end in a newline or do not, small and large."""
    log.write_text(text)

    done = subprocess.run(
        [sys.executable, "-m", "qsuper", "logs", "old", "--lines", str(lines)],
        capture_output=True, text=True, check=True, timeout=PATIENCE_S,
    )  # fmt: skip

    assert done.stdout == "".join(text.splitlines(keepends=True)[-lines:])


def test_unknown_console(log: Path, qsuper: Run) -> None:
    assert qsuper("logs", "old", "--console", "serial9") == (
        1,
        "",
        "qsuper: old: no log of serial9; there are console1, serial0\n",
    )


@pytest.mark.qemu
def test_follow(supervise: Start, qsuper: Run) -> None:
    """It follows over a reset, and ends with the domain."""
    supervise(member("a"))
    with stream("logs", "a", "-f") as logs:
        assert "tick 0" in logs.until("tick 3")
        assert qsuper("reset", "a")[0] == 0
        assert "tick 0" in logs.until("tick 1")
        assert qsuper("destroy", "a")[0] == 0
        assert logs.process.wait(PATIENCE_S) == 0


@pytest.mark.qemu
def test_follow_without_a_supervisor(supervise: Start) -> None:
    """The guest is followed as long as it lives, whoever watches over it."""
    group = supervise(member("a"))
    with stream("logs", "a", "-f") as logs:
        logs.until("tick 1")
        group.process.kill()
        group.process.wait()
        logs.until("tick")
        logs.until("tick")
        kill(group.pids["a"])
        assert logs.process.wait(PATIENCE_S) == 0


@pytest.mark.qemu
def test_follow_interrupted(supervise: Start) -> None:
    supervise(member("a"))
    with stream("logs", "a", "-f") as logs:
        logs.until("tick 1")
        logs.process.send_signal(signal.SIGINT)
        assert logs.process.wait(PATIENCE_S) == 130


@pytest.mark.qemu
def test_events(supervise: Start, qsuper: Run) -> None:
    """Of all groups, or of one domain; they end with the supervisors."""
    supervise(member("dep"), member("a", "dep"))
    supervise(member("b"))
    with stream("events", "--format", "jsonl") as all_of_them, stream("events", "dep") as of_dep:
        for listener in (all_of_them, of_dep):
            listener.provoke(lambda: qsuper("resume", "dep"))
        assert qsuper("suspend", "a")[0] == 0
        assert qsuper("suspend", "b")[0] == 0
        lines = [json.loads(line) for line in all_of_them.until('"domain": "b"').splitlines()]
        changed = {
            line["data"]["domain"]: line["data"]["state"]
            for line in lines
            if line["event"] == "STATE_CHANGED"
        }
        assert changed | {"b": "paused"} == {"a": "paused", "dep": "paused", "b": "paused"}
        shown = of_dep.until("GROUP_SUSPENDED")
        assert "  dep  STATE_CHANGED  state=paused reason=user\n" in shown
        assert "  b  " not in shown

        assert qsuper("destroy", "--all")[0] == 0
        assert all_of_them.process.wait(PATIENCE_S) == 0
        assert of_dep.process.wait(PATIENCE_S) == 0
