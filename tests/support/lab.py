"""The installed `qsuper` command in a place of its own, and a look at what it leaves behind."""

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import pytest

from qsuper.runtime.inotify import IN_MODIFY, Inotify
from tests.support.supervised import PATIENCE_S
from tests.support.ticking import write_domain

QSUPER = os.path.join(os.path.dirname(sys.executable), "qsuper")


class Done(NamedTuple):
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The only line on stderr, without its prefix."""
        (line,) = self.err.splitlines()
        assert line.startswith("qsuper: "), self.err
        return line.removeprefix("qsuper: ")


class Lab:
    """Directories for one test, and the commands and guests in them."""

    def __init__(self, root: Path, cache: Path) -> None:
        """Take an empty directory, and a cache that tests share."""
        self.root = root
        self.runtime = root / "run"
        self.state = root / "state"
        self.temporary = root / "tmp"
        self.temporary.mkdir()
        self.environment = {
            **os.environ,
            "QSUPER_RUNTIME_DIR": str(self.runtime),
            "XDG_STATE_HOME": str(self.state),
            "XDG_CACHE_HOME": str(cache),
            "XDG_CONFIG_HOME": str(root / "config"),
            "TMPDIR": str(self.temporary),
            "PYTHONUNBUFFERED": "",
        }
        self._started: list[subprocess.Popen[str]] = []

    def domain(
        self, name: str, *needs: str, guest: str = "tick", devices: str = "", arguments: str = ""
    ) -> str:
        """Write a domain that runs one of the guests; give the file's path."""
        return write_domain(
            self.root, name, *needs, guest=guest, devices=devices, arguments=arguments
        )

    def emulator(self, script: str) -> str:
        """Make an emulator of a shell script; give it as an element of `<devices>`."""
        path = self.root / "emulator"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o700)
        return f"<emulator>{path}</emulator>"

    def start(
        self,
        *words: str,
        env: Mapping[str, str] | None = None,
        before: Sequence[str] = (),
        stdin: int | IO[str] = subprocess.DEVNULL,
        stdout: int | IO[str] = subprocess.PIPE,
        stderr: int | IO[str] = subprocess.PIPE,
        pass_fds: Sequence[int] = (),
    ) -> "subprocess.Popen[str]":
        """Start a command, in a session of its own; *before* stands before `qsuper`."""
        process = subprocess.Popen(
            [*before, QSUPER, *words],
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            pass_fds=pass_fds,
            env={**self.environment, **(env or {})},
            text=True,
            start_new_session=True,
        )
        self._started.append(process)
        return process

    def run(self, *words: str, **how: Any) -> Done:  # noqa: ANN401 - as `start`
        """Run a command to its end."""
        return self.finish(self.start(*words, **how))

    def finish(self, process: "subprocess.Popen[str]") -> Done:
        """Wait for a command's end."""
        out, err = process.communicate(timeout=PATIENCE_S)
        assert "Traceback" not in (err or ""), err
        return Done(process.returncode, out or "", err or "")

    def rows(self) -> dict[str, dict[str, Any]]:
        """Give what `list` shows, by name."""
        done = self.run("list", "--format", "json")
        return {row["name"]: row for row in json.loads(done.out)["domains"]}

    def wait_text(self, path: Path, text: str) -> None:
        """Wait until *text* stands in a file that a guest writes to."""
        with Inotify() as changes:
            changes.watch(str(path), IN_MODIFY)
            while text not in (content := path.read_text(errors="replace")):
                assert select.select([changes], [], [], PATIENCE_S)[0], content
                changes.read()

    def states(self) -> dict[str, str]:
        return {name: row["state"] for name, row in self.rows().items()}

    def supervisor(self, group: str) -> int:
        """Give the pid of a group's supervisor."""
        return int((self.runtime / "groups" / group / "supervisor.pid").read_text().split()[0])

    def processes(self) -> dict[int, str]:
        """Give all processes that were started from here, with their command lines."""
        mark = os.fsencode(f"QSUPER_RUNTIME_DIR={self.runtime}")
        found: dict[int, str] = {}
        for path in Path("/proc").glob("[0-9]*"):
            try:
                if mark in (path / "environ").read_bytes().split(b"\0"):
                    found[int(path.name)] = (path / "cmdline").read_text(errors="replace")
            except OSError:
                continue
        return found

    def qemus(self) -> set[int]:
        """Give the QEMUs that run a guest."""
        return {pid for pid, line in self.processes().items() if "qsuper-qmp" in line}

    def files(self) -> list[str]:
        """Give what stands in the runtime directory and the temporary one."""
        roots = (self.runtime, self.temporary)
        found = [str(path.relative_to(self.root)) for root in roots for path in root.rglob("*")]
        return sorted(path for path in found if path not in ("run/groups", "run/domains"))

    def assert_nothing_left(self) -> None:
        """Nothing of ours runs, once what is about to end has ended; no file is left."""
        for pid, line in self.processes().items():
            assert ends(pid), f"{pid} lives on: {line}"
        assert self.files() == []
        assert not list(Path("/dev/shm").glob("*qsuper*"))

    def close(self) -> None:
        """Kill all that a failed test has left."""
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        for process in self._started:
            with process:
                process.kill()


def ends(pid: int) -> bool:
    """Wait for a process to end; tell whether it did."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([pidfd], [], [], PATIENCE_S)[0])
    finally:
        os.close(pidfd)


def kill(pid: int, number: signal.Signals = signal.SIGKILL) -> None:
    """Send a signal and wait for the end."""
    os.kill(pid, number)
    if not ends(pid):
        pytest.fail(f"{pid} survived {number.name}")
