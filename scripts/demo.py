"""The demonstration that `scripts/demo` runs when all is installed.

Each step prints a command, what it printed, and what was checked. The guests count on their serial
ports, so that a pause is seen in them, and not only in what qsuper says.
"""

import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any, Final, NoReturn

ROOT: Final = Path(__file__).resolve().parents[1]
HERE: Final = ROOT / "build" / "demo"
RUNTIME: Final = HERE / "run"
QSUPER: Final = ROOT / ".venv" / "bin" / "qsuper"
ENVIRONMENT: Final = os.environ | {
    "QSUPER_RUNTIME_DIR": str(RUNTIME),
    "XDG_STATE_HOME": str(HERE / "state"),
    "XDG_CACHE_HOME": str(HERE / "cache"),
    "XDG_CONFIG_HOME": str(HERE / "config"),
}
PRIMARY: Final = "amp"
DEPENDENCY: Final = "amp-dependency"
BOTH: Final = (PRIMARY, DEPENDENCY)
PATIENCE_S: Final = 60
PAUSE_S: Final = 1
"""How long a guest must be silent to count as paused: the time of 25 ticks."""
TICKS: Final = 5


class CheckError(Exception):
    """Something is not as it should be."""


class Follower:
    """`qsuper logs -f NAME`: the lines a guest writes from now on."""

    def __init__(self, name: str) -> None:
        self._process = subprocess.Popen(
            [QSUPER, "logs", name, "-f", "--lines", "0"], env=ENVIRONMENT, stdout=subprocess.PIPE
        )
        self._name = name
        self._text = b""

    def line(self) -> str:
        """Wait for the next line.

        Raises:
            CheckError: none came in a minute.
        """
        while b"\n" not in self._text:
            if not self._read(PATIENCE_S):
                raise CheckError(f"{self._name} wrote nothing for {PATIENCE_S} s")
        line, _, self._text = self._text.partition(b"\n")
        return line.decode().rstrip("\r")

    def is_silent(self, seconds: float) -> bool:
        """Tell whether nothing comes for so long."""
        return not self._read(seconds)

    def drop(self) -> None:
        """Forget what was on its way, until a tenth of a second passes without more."""
        deadline = time.monotonic() + PATIENCE_S
        while self._read(0.1):
            if time.monotonic() > deadline:
                raise CheckError(f"{self._name} goes on writing")
        self._text = b""

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout
        self._process.stdout.close()

    def _read(self, seconds: float) -> bool:
        assert self._process.stdout
        if not select.select([self._process.stdout], [], [], seconds)[0]:
            return False
        more = os.read(self._process.stdout.fileno(), 1 << 16)
        self._text += more
        if not more:
            raise CheckError(f"{self._name} has ended")
        return True


@contextlib.contextmanager
def followed() -> Generator[Mapping[str, Follower]]:
    """Follow both guests."""
    with contextlib.ExitStack() as stack:
        followers: dict[str, Follower] = {}
        for name in BOTH:
            followers[name] = Follower(name)
            stack.callback(followers[name].close)
        yield followers


def qsuper(*words: str) -> str:
    """Run the command and give its output.

    Raises:
        CheckError: it failed.
    """
    done = subprocess.run(
        [QSUPER, *words],
        cwd=ROOT,
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    if done.returncode:
        raise CheckError(f"qsuper {' '.join(words)} ended with status {done.returncode}")
    return done.stdout


def show(*words: str) -> None:
    """Run the command before the reader's eyes."""
    print(f"\n$ qsuper {' '.join(words)}", flush=True)
    print(qsuper(*words), end="", flush=True)


def check(holds: object, what: str) -> None:
    """Say what was found, or stop.

    Raises:
        CheckError: it does not hold.
    """
    if not holds:
        raise CheckError(f"not so: {what}")
    found(what)


def found(what: str) -> None:
    """Say what was found."""
    print(f"  ✓ {what}", flush=True)


def domains() -> dict[str, dict[str, Any]]:
    """Ask for what runs, by name."""
    answer = json.loads(qsuper("list", "--format", "json"))
    return {domain["name"]: domain for domain in answer["domains"]}


def states() -> tuple[str | None, ...]:
    """Give the state of the primary and of its dependency."""
    there = domains()
    return tuple(there[name]["state"] if name in there else None for name in BOTH)


def ticks(followers: Mapping[str, Follower], name: str) -> str:
    """Wait for some ticks and give the last; each is the one after the one before."""
    numbers: list[int] = []
    while len(numbers) < TICKS:
        line = followers[name].line()
        if not line.startswith("tick "):
            raise CheckError(f"{name} wrote {line!r}")
        numbers.append(int(line.removeprefix("tick ")))
    if numbers != list(range(numbers[0], numbers[0] + TICKS)):
        raise CheckError(f"{name} does not count: {numbers}")
    return f"tick {numbers[-1]}"


def members() -> Iterator[int]:
    """Give the processes that serve this demonstration: QEMUs and supervisors."""
    ours = os.fsencode(f"QSUPER_RUNTIME_DIR={RUNTIME}")
    for directory in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if not directory.name.isdigit():
                continue
            command = (directory / "cmdline").read_bytes()
            environment = (directory / "environ").read_bytes().split(b"\0")
            if ours in environment and (b"qsuper" in command or b"qemu-system" in command):
                yield int(directory.name)


def wait_for_end(pid: int, seconds: float = 10) -> bool:
    """Tell whether process *pid* ends in time."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([pidfd], [], [], seconds)[0])
    finally:
        os.close(pidfd)


def clear() -> None:
    """End what an earlier demonstration that was cut off has left."""
    left = list(members())
    if left:
        print(f"ending what an earlier run left: processes {', '.join(map(str, left))}")
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        wait_for_end(pid)
    shutil.rmtree(RUNTIME, ignore_errors=True)
    shutil.rmtree(HERE / "state", ignore_errors=True)


def demonstrate() -> None:
    """Go through the steps."""
    show("up", "-d", f"configs/{PRIMARY}.xml")
    show("list")
    check(states() == ("running", "running"), "both run, of which only amp.xml was named")
    processes = list(members())
    check(len(processes) == len(BOTH) + 1, "two QEMUs and their supervisor, and no other process")

    with followed() as followers:
        for name in BOTH:
            found(f"{name} counts on its serial port, now at {ticks(followers, name)!r}")

        show("suspend", PRIMARY)
        check(states() == ("paused", "paused"), "the dependency is paused with its primary")
        for name in BOTH:
            followers[name].drop()
        for name in BOTH:
            check(followers[name].is_silent(PAUSE_S), f"{name} stands still")

        show("resume", PRIMARY)
        check(states() == ("running", "running"), "both run again")
        for name in BOTH:
            found(f"{name} goes on counting, now at {ticks(followers, name)!r}")

        show("suspend", DEPENDENCY)
        check(states() == ("running", "paused"), "only the dependency is paused")
        followers[DEPENDENCY].drop()
        found(f"{PRIMARY} counts on, now at {ticks(followers, PRIMARY)!r}")
        check(followers[DEPENDENCY].is_silent(PAUSE_S), f"{DEPENDENCY} stands still")

    show("destroy", PRIMARY)
    check(domains() == {}, "both have ended")
    check(all(map(wait_for_end, processes)), "their processes are gone, and the supervisor")
    left = [path for path in RUNTIME.rglob("*") if not path.is_dir()]
    check(left == [] and list(members()) == [], "no process, socket, lock or file is left")


def leave(number: int, _frame: FrameType | None) -> NoReturn:
    """End as after Ctrl-C, with everything cleared away."""
    sys.exit(128 + number)


def main() -> int:
    """Run the demonstration; 1 where a check fails."""
    HERE.mkdir(parents=True, exist_ok=True)
    with (HERE / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("another demonstration runs in this clone", file=sys.stderr)
            return 1
        clear()
        try:
            demonstrate()
        except (CheckError, subprocess.TimeoutExpired) as error:
            print(f"\n✗ {error}", file=sys.stderr)
            return 1
        finally:
            clear()
    print("\nqsuper demo: every check passed")
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, leave)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
