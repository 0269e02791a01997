"""The rows of members that end or hang: from the event to the right state."""

import json
import os
import signal
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from qsuper.control.client import Connection
from scripts.benchmark.lab import Lab, wait
from scripts.benchmark.rows import Row

_BUDGET_MS: Final = 100.0


def _row(name: str, seconds: list[float]) -> Row:
    return Row(name=name, figure=statistics.median(seconds) * 1e3, figure_budget=_BUDGET_MS)


def killed(lab: Lab) -> Iterator[Row]:
    """A QEMU that is killed; the clock starts before the signal is sent."""
    primary = lab.group(2)
    name = lab.name("tick", 2, 1)
    took: list[float] = []
    for _ in range(lab.rounds):
        lab.run([*lab.qsuper, "up", "-d", str(primary)])
        pid = _pid(lab, name)
        began_s = time.time()
        os.kill(pid, signal.SIGKILL)
        took.append(_changed_s(lab, name, "crashed", began_s) - began_s)
        lab.run([*lab.qsuper, "destroy", primary.stem])
    yield _row("QEMU killed, to 'crashed'", took)


def powered_off(lab: Lab) -> Iterator[Row]:
    """A guest that powers off; the clock is QEMU's own."""
    path = lab.group(1, "poweroff")
    path.write_text(path.read_text().replace("<devices>", "<features><acpi/></features><devices>"))
    took: dict[str, list[float]] = {"in shutdown": [], "shut off": []}
    for _ in range(lab.rounds):
        at_s = _happened_s(lab, path, "SHUTDOWN")
        for state, found in took.items():
            found.append(_changed_s(lab, path.stem, state, at_s) - at_s)
    for state, found in took.items():
        yield _row(f"guest powered off, to '{state}'", found)


def panicked(lab: Lab) -> Iterator[Row]:
    """A guest that panics; likewise."""
    path = lab.group(1, "panic")
    path.write_text(path.read_text().replace("<memballoon", "<panic model='isa'/><memballoon"))
    took: list[float] = []
    for _ in range(lab.rounds):
        at_s = _happened_s(lab, path, "GUEST_PANICKED")
        took.append(_changed_s(lab, path.stem, "crashed", at_s) - at_s)
    yield _row("guest panicked, to 'crashed'", took)


def stopped(lab: Lab) -> Iterator[Row]:
    """A QEMU that a signal stops, until `list` has said so: a whole process."""
    path = lab.group(1)
    lab.run([*lab.qsuper, "up", "-d", str(path)])
    took: list[float] = []
    for _ in range(lab.rounds):
        pid = _pid(lab, path.stem)
        began_s = time.perf_counter()
        os.kill(pid, signal.SIGSTOP)
        wait(lambda: _state(lab, path.stem) == "unresponsive", "unresponsive member")
        took.append(time.perf_counter() - began_s)
        os.kill(pid, signal.SIGCONT)
        wait(lambda: _state(lab, path.stem) == "running", "member that goes on")
    lab.run([*lab.qsuper, "destroy", path.stem])
    yield _row("QEMU stopped, to 'unresponsive' in `list`", took)


def _happened_s(lab: Lab, path: Path, event: str) -> float:
    """Let a guest run; give when QEMU said that the event was there, by another monitor of it."""
    lab.run([*lab.qsuper, "up", "-d", "--paused", str(path)])
    monitor = str(lab.scratch / "run" / "domains" / path.stem / "monitor.sock")
    seen: list[Any] = []
    with Connection(monitor, "QEMU") as qemu:
        qemu.execute("query-status")
        lab.run([*lab.qsuper, "resume", path.stem])

        def happened() -> bool:
            seen.extend(each for each in qemu.arrived()[0] if each["event"] == event)
            return bool(seen)

        wait(happened, event)
    at = seen[0]["timestamp"]
    return float(at["seconds"] + at["microseconds"] / 1e6)


def _changed_s(lab: Lab, name: str, state: str, after_s: float) -> float:
    """Wait for a change to a state in the event log; give its time."""
    log = lab.scratch / "state" / "qsuper" / name / "events.jsonl"
    found: list[float] = []

    def changed() -> bool:
        events = map(json.loads, log.read_text().splitlines())
        found[:] = [
            each["time"]
            for each in events
            if each["time"] >= after_s and each["detail"].get("state") == state
        ]
        return bool(found)

    wait(changed, f"{state!r} of {name}")
    return found[0]


def _row_of(lab: Lab, name: str) -> Any:  # noqa: ANN401 - of a document
    return next(each for each in lab.json("list")["domains"] if each["name"] == name)


def _pid(lab: Lab, name: str) -> int:
    return int(_row_of(lab, name)["pid"])


def _state(lab: Lab, name: str) -> str:
    return str(_row_of(lab, name)["state"])


ENDS: Final[dict[str, Callable[[Lab], Iterator[Row]]]] = {
    "killed": killed,
    "powered off": powered_off,
    "panicked": panicked,
    "stopped": stopped,
}
