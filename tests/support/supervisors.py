"""Real supervisors of real QEMUs, from plans made by hand, so that no translation is in the way."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from qsuper import planfile
from qsuper.options import Option
from qsuper.plan import Console, ConsoleKind, GroupPlan, LaunchPlan, Member, Role

GUESTS = Path(__file__).parents[2] / "configs" / "guests"
PATIENCE_S = 60

_SUPERVISE = """
import sys
from qsuper.control.supervise import Settings, supervise
plan_fd, report_fd = map(int, sys.argv[1:3])
sys.exit(supervise(Settings(detached=True), plan_fd, report_fd))
"""


def member(name: str, *needs: str, guest: str = "tick", kind: str = "pty") -> Member:
    """A member that runs one of the guests; a dependency if its name starts with `dep`."""
    serial: dict[str, str | bool] = {"backend": kind, "id": "charserial0"}
    endpoint = ""
    if kind == "unix":
        endpoint = f"{os.environ['QSUPER_RUNTIME_DIR']}/{name}.serial"
        serial |= {"backend": "socket", "path": endpoint, "server": True, "wait": False}
    disk: dict[str, str | bool] = {
        "driver": "file",
        "filename": str(GUESTS / f"{guest}-x86_64.img"),
        "node-name": "disk",
        "read-only": True,
    }
    plan = LaunchPlan(
        name=name,
        uuid=f"00000000-0000-4000-8000-{sum(name.encode()):012x}",
        arch="x86_64",
        emulator="/usr/bin/qemu-system-x86_64",
        options=(
            Option.keyed("machine", {"type": "pc"}, implied="type"),
            Option.keyed("accel", {"accel": "tcg"}, implied="accel"),
            Option.keyed("m", {"size": "16M"}, implied="size"),
            Option.flag("nodefaults"),
            Option.flag("no-user-config"),
            Option.keyed("display", {"type": "none"}, implied="type"),
            Option.flag("no-shutdown"),
            Option.keyed("chardev", serial, implied="backend"),
            Option.json("device", {"driver": "isa-serial", "chardev": "charserial0"}),
            Option.json("blockdev", disk),
            Option.json("device", {"driver": "floppy", "drive": "disk"}),
        ),
        consoles=(
            Console(
                alias="serial0", chardev="charserial0", kind=ConsoleKind(kind), endpoint=endpoint
            ),
        ),
    )
    role = Role.DEPENDENCY if name.startswith("dep") else Role.PRIMARY
    return Member(plan=plan, role=role, needs=needs)


class Supervisor:
    """A real supervisor with its group."""

    def __init__(self, *members: Member) -> None:
        plan_fd, plan_end = os.pipe()
        report_fd, report_end = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, "-c", _SUPERVISE, str(plan_fd), str(report_end)],
            pass_fds=(plan_fd, report_end),
        )
        os.close(plan_fd)
        os.close(report_end)
        with open(plan_end, "w") as plan:
            plan.write(planfile.dumps(GroupPlan(members)))
        with open(report_fd) as report:
            line = report.readline()
        if not line.startswith('{"ok"'):
            self.process.wait(PATIENCE_S)
            raise AssertionError(f"it did not start: {line}")
        self.report: dict[str, Any] = json.loads(line)

    @property
    def pids(self) -> dict[str, int]:
        """The QEMUs, by the members' names."""
        return {row["name"]: row["pid"] for row in self.report["ok"]["domains"]}

    def end(self) -> None:
        """End it and its members, whatever has become of them."""
        self.process.send_signal(signal.SIGCONT)
        self.process.send_signal(signal.SIGQUIT)
        try:
            self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for pid in self.pids.values():
            kill(pid)


def kill(pid: int) -> None:
    """Kill a QEMU of ours, if it still runs, and wait for its end."""
    with contextlib.suppress(ProcessLookupError):
        pidfd = os.pidfd_open(pid)
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        if b"qsuper-qmp" in command:
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        os.close(pidfd)
