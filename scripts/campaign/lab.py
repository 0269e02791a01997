"""Where the campaign works: domains, the command line, and the truth by /proc and QMP."""

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, NamedTuple

from qsuper.control.client import Connection, living
from qsuper.runtime.inotify import IN_CREATE, IN_MODIFY, IN_MOVED_TO, Inotify

PATIENCE_S: Final = 30.0
TICKS_WITHIN_S: Final = 10.0
_GUESTS: Final = Path(__file__).parents[2] / "configs" / "guests"
_HELPER: Final = "swtpm"
_TPM: Final = "<tpm model='tpm-tis'><backend type='emulator' version='2.0'/></tpm>"
_DOMAIN: Final = """<domain type='qemu'>
  <name>{name}</name>
  <memory unit='MiB'>16</memory>
  <os><type arch='x86_64' machine='pc'>hvm</type><boot dev='fd'/></os>
  <on_crash>{on_crash}</on_crash>
  <devices>
    {dependencies}
    <disk type='file' device='floppy'>
      <driver name='qemu' type='raw'/><source file='{image}'/><target dev='fda' bus='fdc'/>
      <readonly/>
    </disk>
    <serial type='pty'/>
    <memballoon model='none'/>
    {devices}
  </devices>
</domain>
"""


class Group(NamedTuple):
    """A primary with its dependencies."""

    name: str
    needs: tuple[str, ...] = ()
    restarts: bool = False
    """`on_crash` is `restart`."""
    helped: tuple[str, ...] = ()
    """Members that have a helper, where it is installed."""

    @property
    def members(self) -> tuple[str, ...]:
        return (*self.needs, self.name)


GROUPS: Final = (
    Group("a", ("b", "c")),
    Group("d", ("e",), helped=("e",)),
    Group("r", restarts=True),
)


class Done(NamedTuple):
    """A command that has ended."""

    status: int
    out: str
    err: str


class Lab:
    """A scratch directory with all of that."""

    def __init__(self, scratch: Path) -> None:
        """Write the domains into a directory of ours."""
        self.scratch = scratch
        self.run_dir = scratch / "run"
        self.env = os.environ | {
            "QSUPER_RUNTIME_DIR": str(self.run_dir),
            "XDG_STATE_HOME": str(scratch / "state"),
            "XDG_CACHE_HOME": str(scratch / "cache"),
            "XDG_CONFIG_HOME": str(scratch / "config"),
        }
        image = shutil.copy(_GUESTS / "tick-x86_64.img", scratch)
        for group in GROUPS:
            for name in group.members:
                needs = group.needs if name == group.name else ()
                dependencies = "".join(
                    f"<domaindependency>{need}.xml</domaindependency>" for need in needs
                )
                on_crash = "restart" if group.restarts else "destroy"
                has_helper = name in group.helped and shutil.which(_HELPER)
                content = _DOMAIN.format(
                    name=name,
                    image=image,
                    dependencies=dependencies,
                    on_crash=on_crash,
                    devices=_TPM if has_helper else "",
                )
                (scratch / f"{name}.xml").write_text(content)

    # Commands

    def start(self, *words: str) -> "subprocess.Popen[str]":
        """Start a command."""
        return subprocess.Popen(
            [sys.executable, "-m", "qsuper", *words],
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *words: str) -> Done:
        """Run a command."""
        return finished(self.start(*words))

    def file(self, name: str) -> str:
        return str(self.scratch / f"{name}.xml")

    def rows(self) -> dict[str, dict[str, Any]]:
        """Give what `qsuper list` says."""
        done = self.run("list", "--format", "json")
        if done.status:
            raise AssertionError(f"list failed: {done}")
        return {row["name"]: row for row in json.loads(done.out)["domains"]}

    def supervisor(self, group: str) -> int | None:
        """Give the pid of a group's supervisor."""
        return living(str(self.run_dir / "groups" / group / "supervisor.pid"))

    # The truth

    def processes(self) -> dict[str, list[int]]:
        """Give the QEMUs that live, by domain."""
        found: dict[str, list[int]] = {}
        top = str(self.run_dir / "domains") + "/"
        for entry in os.listdir("/proc"):
            with contextlib.suppress(OSError):
                if entry.isdecimal() and (at := os.readlink(f"/proc/{entry}/cwd")).startswith(top):
                    command = Path(f"/proc/{entry}/cmdline").read_bytes()
                    if b"qsuper-qmp" in command:
                        name = at.removeprefix(top).removesuffix(" (deleted)")
                        found.setdefault(name, []).append(int(entry))
        return found

    def helpers(self) -> list[int]:
        """Give the helpers that live."""
        mark = os.fsencode(f"QSUPER_RUNTIME_DIR={self.run_dir}")
        found: list[int] = []
        for entry in filter(str.isdecimal, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                command = Path(f"/proc/{entry}/cmdline").read_bytes().split(b"\0")
                # What it starts has its environment too; one that has ended has no command line.
                is_one = os.path.basename(command[0]) == _HELPER.encode()
                environment = Path(f"/proc/{entry}/environ").read_bytes() if is_one else b""
                if mark in environment.split(b"\0"):
                    found.append(int(entry))
        return found

    def status(self, name: str) -> str:
        """Ask a QEMU by its users' monitor."""
        path = str(self.run_dir / "domains" / name / "monitor.sock")
        with Connection(path, name) as qemu:
            return str(qemu.execute("query-status")["status"])

    def directories(self) -> set[str]:
        """Give what stands in the runtime directory."""
        tops = (self.run_dir / "groups", self.run_dir / "domains")
        return {f"{top.name}/{name}" for top in tops if top.is_dir() for name in os.listdir(top)}

    def log_size(self, name: str) -> int:
        path = self._state(name) / "serial0.log"
        return path.stat().st_size if path.exists() else 0

    def silent(self, names: Iterable[str]) -> list[str]:
        """Wait until all of these guests have ticked; give those that have not."""
        sizes = {name: self.log_size(name) for name in names}
        deadline_s = time.monotonic() + TICKS_WITHIN_S
        with Inotify() as changes:
            for name in sizes:
                self._state(name).mkdir(parents=True, exist_ok=True)
                changes.watch(str(self._state(name)), IN_MODIFY | IN_CREATE | IN_MOVED_TO)
            while sizes:
                sizes = {name: size for name, size in sizes.items() if self.log_size(name) == size}
                left_s = deadline_s - time.monotonic()
                if not sizes or not select.select([changes], [], [], max(left_s, 0))[0]:
                    break
                changes.read()
        return list(sizes)

    def _state(self, name: str) -> Path:
        return self.scratch / "state" / "qsuper" / name

    def close(self) -> None:
        """End everything of ours, however broken."""
        self.run("destroy", "--all")
        for group in GROUPS:
            if pid := self.supervisor(group.name):
                kill(pid)
        for pids in self.processes().values():
            for pid in pids:
                kill(pid)


def finished(process: "subprocess.Popen[str]") -> Done:
    """Wait for a command; one that hangs is an error."""
    try:
        out, err = process.communicate(timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise AssertionError(f"{process.args!r} took over {PATIENCE_S:g} s: {err}") from None
    return Done(process.returncode, out, err)


def kill(pid: int, number: signal.Signals = signal.SIGKILL) -> None:
    """Send a signal; a kill is waited for."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, number)
        if number is signal.SIGKILL:
            select.select([pidfd], [], [], PATIENCE_S)
    finally:
        os.close(pidfd)


def wait_until(condition: Callable[[], bool], within_s: float) -> bool:
    """Look again and again, as a user would; tell whether it came true in time."""
    deadline_s = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline_s:
            return False
        select.select([], [], [], 0.02)
    return True
