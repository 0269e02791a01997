"""Where the benchmark works: domains, the two command lines, a clock."""

import compileall
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

PATIENCE_S: Final = 30.0
_SOURCE: Final = Path(__file__).parents[2] / "src"
_GUESTS: Final = Path(__file__).parents[2] / "configs" / "guests"
_DOMAIN: Final = """<domain type='qemu'>
  <name>{name}</name>
  <memory unit='MiB'>32</memory>
  <vcpu>1</vcpu>
  <os><type arch='x86_64' machine='pc'>hvm</type><boot dev='fd'/></os>
  <devices>
    <emulator>{emulator}</emulator>
    {dependencies}
    <disk type='file' device='floppy'>
      <driver name='qemu' type='raw'/><source file='{image}'/><target dev='fda' bus='fdc'/>
      <readonly/>
    </disk>
    <serial type='null'/>
    <memballoon model='none'/>
  </devices>
</domain>
"""


class Lab:
    """A scratch directory with domains that both sides can run, and a way to time both."""

    def __init__(self, scratch: Path, rounds: int, corpus: Path | None) -> None:
        self.scratch = scratch
        self.rounds = rounds
        self.corpus = corpus
        self.emulator = shutil.which("qemu-system-x86_64") or "/usr/bin/qemu-system-x86_64"
        self.qsuper = [str(Path(sys.executable).with_name("qsuper"))]
        self.virsh = ["virsh", "-q", "-c", "qemu:///system"]
        self.env = os.environ | {
            "QSUPER_RUNTIME_DIR": str(scratch / "run"),
            "XDG_STATE_HOME": str(scratch / "state"),
            "XDG_CACHE_HOME": str(scratch / "cache"),
            "XDG_CONFIG_HOME": str(scratch / "config"),
        }
        compileall.compile_dir(_SOURCE, quiet=1)  # as an installation has it
        self.has_libvirt = shutil.which("virsh") is not None and self.answers([*self.virsh, "list"])
        self._images = {
            name: shutil.copy(_GUESTS / f"{name}-x86_64.img", scratch)
            for name in ("tick", "busy", "flood", "poweroff", "panic")
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End whatever a broken row left."""
        subprocess.run(
            [*self.qsuper, "destroy", "--all"], env=self.env, capture_output=True, check=False
        )
        if self.has_libvirt:
            for name in self.output([*self.virsh, "list", "--name"]).split():
                if name.startswith("qsbench-"):
                    self.run([*self.virsh, "destroy", name])

    def group(self, size: int, guest: str = "tick") -> Path:
        """Write a primary with *size* - 1 dependencies; give the primary's file."""
        names = [self.name(guest, size, number) for number in range(size)]
        for name in names[1:]:
            self._write(name, guest, "")
        dependencies = "".join(
            f"<domaindependency>{self.scratch / name}.xml</domaindependency>" for name in names[1:]
        )
        return self._write(names[0], guest, dependencies)

    def alone(self, size: int, guest: str = "tick") -> list[Path]:
        """Write the same domains for libvirt, which knows no dependencies."""
        return [
            self._write(f"{self.name(guest, size, number)}-l", guest, "") for number in range(size)
        ]

    @staticmethod
    def name(guest: str, size: int, number: int = 0) -> str:
        """Give the name of a domain of the group of *size*; number 0 is the primary."""
        return f"qsbench-{guest}-{size}-{number}"

    def _write(self, name: str, guest: str, dependencies: str) -> Path:
        path = self.scratch / f"{name}.xml"
        path.write_text(
            _DOMAIN.format(
                name=name,
                emulator=self.emulator,
                dependencies=dependencies,
                image=self._images[guest],
            )
        )
        return path

    def supervisor(self, group: str) -> int:
        """Give the pid of a group's supervisor."""
        path = self.scratch / "run" / "groups" / group / "supervisor.pid"
        return int(path.read_text().split()[0])

    def run(self, argv: Sequence[str]) -> None:
        """Run a command.

        Raises:
            RuntimeError: it failed; with what it said.
        """
        done = subprocess.run(argv, env=self.env, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(argv)}: {done.stderr.strip() or done.stdout.strip()}")

    def output(self, argv: Sequence[str]) -> str:
        """Run a command and give what it printed."""
        return subprocess.run(argv, env=self.env, capture_output=True, text=True, check=True).stdout

    def answers(self, argv: Sequence[str]) -> bool:
        """Tell whether a command succeeds."""
        done = subprocess.run(argv, env=self.env, capture_output=True, check=False)
        return done.returncode == 0

    def json(self, *words: str) -> Any:  # noqa: ANN401 - a document
        """Run qsuper with `--format json`."""
        return json.loads(self.output([*self.qsuper, *words, "--format", "json"]))

    def timed(self, *commands: Sequence[str]) -> float:
        """Run commands one after the other; give the seconds that they took together."""
        begin = time.perf_counter()
        for command in commands:
            self.run(command)
        return time.perf_counter() - begin


def median(turns: int, turn: Callable[[], float]) -> float:
    """Give the median of *turns* turns."""
    return statistics.median(turn() for _ in range(turns))


def wait(condition: Callable[[], object], what: str) -> None:
    """Wait for a condition.

    Raises:
        RuntimeError: it does not come true in time; *what* names it.
    """
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"no {what} within {PATIENCE_S:g} s")
        time.sleep(0.01)
