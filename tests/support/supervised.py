"""Real supervisors with real QEMUs, for tests: start one, talk to it, see its guests tick."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any, Self, TypeAlias

from qsuper import paths, planfile
from qsuper.control.client import Connection
from qsuper.options import Option, Props
from qsuper.plan import Console, ConsoleKind, GroupPlan, LaunchPlan, Lifecycle, Member, Role
from qsuper.runtime.inotify import IN_CREATE, IN_MODIFY, IN_MOVED_TO, Inotify

Json: TypeAlias = Any  # settings, arguments and answers

GUESTS = Path(__file__).parents[2] / "configs" / "guests"
QEMU = "/usr/bin/qemu-system-x86_64"
PATIENCE_S = float(os.environ.get("QSUPER_TEST_PATIENCE_S", "30"))

BACKOFF = ("crashed", "waiting to restart")

_SUPERVISE = """
import json, sys
from qsuper.control.supervise import Settings, supervise
from qsuper.errors import QsuperError
settings, plan_fd, report_fd = json.loads(sys.argv[1])
try:
    status = supervise(Settings(**settings), plan_fd, report_fd)
except QsuperError as error:
    print(f"qsuper: {error}", file=sys.stderr)
    status = error.exit_status
sys.exit(status)
"""


def domain(
    name: str,
    image: str = "tick",
    *options: Option,
    lifecycle: Lifecycle | None = None,
    emulator: str = QEMU,
) -> LaunchPlan:
    """Give the plan of a small guest with a logged serial port."""
    disk: Props = {
        "file": str(GUESTS / f"{image}-x86_64.img"),
        "format": "raw",
        "if": "floppy",
        "readonly": True,
    }
    serial: Props = {"driver": "isa-serial", "chardev": "charserial0", "id": "serial0"}
    return LaunchPlan(
        name=name,
        uuid=f"00000000-0000-0000-0000-{sum(name.encode()):012}",
        arch="x86_64",
        emulator=emulator,
        options=(
            Option.keyed("machine", {"type": "pc", "accel": "tcg"}, implied="type"),
            Option.keyed("m", {"size": "16M"}, implied="size"),
            Option.flag("no-user-config"),
            Option.flag("nodefaults"),
            Option.word("display", "none"),
            Option.flag("no-shutdown"),
            Option.keyed("chardev", {"backend": "null", "id": "charserial0"}, implied="backend"),
            Option.json("device", serial),
            Option.keyed("drive", disk),
            *options,
        ),
        consoles=(Console(alias="serial0", chardev="charserial0", kind=ConsoleKind.OTHER),),
        lifecycle=lifecycle or Lifecycle(),
    )


def group(
    primaries: Sequence[tuple[LaunchPlan, Sequence[str]]],
    dependencies: Sequence[LaunchPlan] = (),
) -> GroupPlan:
    """Give a group of primaries, with what each needs, and dependencies."""
    return GroupPlan(
        (
            *(Member(plan=plan, role=Role.DEPENDENCY, xml="<domain/>") for plan in dependencies),
            *(
                Member(plan=plan, role=Role.PRIMARY, needs=tuple(needs))
                for plan, needs in primaries
            ),
        )
    )


def pair() -> GroupPlan:
    """Give A, which needs B; both tick."""
    return group([(domain("A"), ["B"])], [domain("B")])


class Supervisor:
    """A supervisor in a process of its own; its members are killed at the end."""

    def __init__(self, plan: GroupPlan | None, **settings: Json) -> None:
        """Start it; `wait_started` waits."""
        plan_read, plan_write = os.pipe()
        self._report, report_write = os.pipe()
        argument = json.dumps([settings, plan_read, report_write])
        self.process = subprocess.Popen(
            [sys.executable, "-c", _SUPERVISE, argument],
            pass_fds=[plan_read, report_write],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            process_group=0,
        )
        os.close(plan_read)
        os.close(report_write)
        with open(plan_write, "wb") as file:
            file.write(planfile.dumps(plan).encode() if plan else b"")
        self.name = plan.name if plan else ""
        self.report: dict[str, Any] = {}
        self._pidfds: list[int] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End it and everything of it, whatever the test has left."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(signal.SIGQUIT)
            try:
                self.process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.communicate()
        os.close(self._report)
        for pidfd in self._pidfds:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            os.close(pidfd)

    def wait_report(self) -> dict[str, Any]:
        """Give the line it reports once started, or failed."""
        text = b""
        while not text.endswith(b"\n"):
            readable(self._report)
            if not (chunk := os.read(self._report, 65536)):
                break
            text += chunk
        self.report = json.loads(text) if text else {}
        for row in self.report.get("ok", {}).get("domains", []):
            self._pidfds.append(os.pidfd_open(row["pid"]))
        return self.report

    def wait_started(self) -> Self:
        assert "ok" in self.wait_report(), self.report
        return self

    def wait_ended(self) -> int:
        return self.process.wait(PATIENCE_S)

    def connect(self) -> Connection:
        return Connection(os.path.join(paths.group_dir(self.name), "control.sock"), self.name)

    def ask(self, command: str, /, **arguments: Json) -> Json:
        """Run a command of the control protocol."""
        with self.connect() as connection:
            return connection.execute(command, arguments, timeout_s=PATIENCE_S)

    def row(self, name: str) -> dict[str, Any]:
        rows = {row["name"]: row for row in self.ask("list")["domains"]}
        found: dict[str, Any] = rows[name]
        return found

    def state(self, name: str) -> str:
        return str(self.row(name)["state"])

    def pid(self, name: str) -> int:
        return int(self.row(name)["pid"])


def log(name: str, file: str = "serial0.log") -> Path:
    """Give a file of a domain's state directory."""
    return Path(paths.domain_state_dir(name)) / file


def ticks(name: str) -> int:
    """Give how often a guest has ticked."""
    return log(name).read_text(errors="replace").count("tick ") if log(name).exists() else 0


def wait_ticks(name: str, more: int) -> None:
    """Wait until a guest has ticked so often again; a second has 25."""
    goal = ticks(name) + more
    wait_file(log(name), lambda: ticks(name) >= goal)


def wait_log(name: str, text: str, file: str = "serial0.log") -> None:
    """Wait until a text stands in a log."""
    path = log(name, file)
    wait_file(path, lambda: path.exists() and text in path.read_text(errors="replace"))


def wait_file(path: Path, condition: Callable[[], bool]) -> None:
    """Wait for a condition that only writing to *path* can bring about."""
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline_s = time.monotonic() + PATIENCE_S
    with Inotify() as inotify:
        inotify.watch(str(path.parent), IN_MODIFY | IN_CREATE | IN_MOVED_TO)
        while not condition():
            assert time.monotonic() < deadline_s, f"not within {PATIENCE_S:g} s"
            readable(inotify.fileno())
            inotify.read()


def wait_pid(pid: int) -> None:
    """Wait until a process has ended; nothing to wait for where there is none."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        readable(pidfd)
    finally:
        os.close(pidfd)


def readable(descriptor: int) -> None:
    """Wait until there is something to read."""
    ready, _, _ = select.select([descriptor], [], [], PATIENCE_S)
    assert ready, f"nothing happened within {PATIENCE_S:g} s"


def events(name: str) -> list[dict[str, Any]]:
    """Give a domain's event log."""
    return [json.loads(line) for line in log(name, "events.jsonl").read_text().splitlines()]


def states(name: str) -> list[tuple[str, str]]:
    """Give all states that a domain's log has, each with its reason."""
    changes = [each["detail"] for each in events(name) if each["event"] == "STATE_CHANGED"]
    return [(each["state"], each["reason"]) for each in changes]


def wait_event(name: str, event: str, times: int = 1) -> None:
    """Wait until a domain's event log has an event so often."""
    path = log(name, "events.jsonl")
    wait_file(path, lambda: [each["event"] for each in events(name)].count(event) >= times)


def wait_state(name: str, state: str, times: int = 1) -> None:
    """Wait until a domain has come to a state so often."""
    wait_states(name, lambda found: [each for each, _ in found].count(state) >= times)


def wait_states(name: str, condition: Callable[[list[tuple[str, str]]], bool]) -> None:
    """Wait until the states that a domain has had are as wanted."""
    wait_file(log(name, "events.jsonl"), lambda: condition(states(name)))


def wait_backoffs(name: str, times: int) -> None:
    """Wait until a domain that crashed has waited to restart so often."""
    wait_states(name, lambda found: found.count(BACKOFF) >= times)


def leftovers() -> list[str]:
    """Give what stands in the runtime directory besides its two empty parts."""
    root = Path(paths.runtime_dir())
    found = (str(path.relative_to(root)) for path in root.rglob("*"))
    return sorted(path for path in found if path not in ("groups", "domains"))


@contextlib.contextmanager
def supervised(plan: GroupPlan, **settings: Json) -> Generator[Supervisor]:
    """Give a supervisor whose members all run, detached unless said otherwise."""
    with Supervisor(plan, **({"detached": True} | settings)) as supervisor:
        yield supervisor.wait_started()
