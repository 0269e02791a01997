"""A guest that writes to its console as fast as it can."""

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from qsuper.control.client import Connection
from qsuper.plan import LogLimits
from qsuper.runtime.rotation import base_of
from tests.support.supervised import (
    PATIENCE_S,
    Supervisor,
    domain,
    group,
    log,
    supervised,
    wait_file,
)

pytestmark = pytest.mark.qemu

LIMITS = LogLimits(max_bytes=1 << 16, keep=2)
FLOOD_S = float(os.environ.get("QSUPER_TEST_FLOOD_S", "5"))


def flooded() -> Supervisor:
    plan = group([(domain("A", "flood"), ["B"])], [domain("B")])
    return Supervisor(type(plan)(plan.members, LIMITS), detached=True)


def kept_bytes(path: Path) -> int:
    """Give how much there is of a log, in all pieces; one may be removed while we look."""
    total = 0
    for each in path.parent.glob(f"{path.name}*"):
        with contextlib.suppress(FileNotFoundError):
            total += each.stat().st_size
    return total


def test_it_blocks_nobody_and_fills_nothing() -> None:
    """Neither QEMU's monitor, nor the supervisor, nor the other guest, nor the disk."""
    with flooded() as supervisor:
        supervisor.wait_started()
        serial = log("A")
        slowest_s = most_bytes = asked = 0.0
        end_s = time.monotonic() + FLOOD_S
        while time.monotonic() < end_s:
            wait_file(serial, lambda: True)
            before_s = time.monotonic()
            assert supervisor.state("A") == "running"
            answer = supervisor.ask("qmp", domain="A", command={"execute": "query-status"})
            assert answer["status"] == "running"
            slowest_s = max(slowest_s, time.monotonic() - before_s)
            most_bytes = max(most_bytes, kept_bytes(serial))
            asked += 1
        assert asked > 10
        assert slowest_s < 1
        assert most_bytes < 8 * LIMITS.max_bytes
        assert (serial.parent / "serial0.log.2").exists()


def test_logs_follows_over_a_rotation(tmp_path: Path) -> None:
    """Every line in its order, none missing, none twice."""
    seen = tmp_path / "seen"
    with flooded() as supervisor, seen.open("wb") as output:
        supervisor.wait_started()
        follower = subprocess.Popen(
            [sys.executable, "-m", "qsuper", "logs", "A", "-f"], stdout=output
        )
        path = str(log("A"))
        first = base_of(path)
        wait_file(log("A"), lambda: base_of(path) > first + (1 << 17))
        supervisor.ask("destroy", domain="A")
        assert follower.wait(PATIENCE_S) == 0
        assert supervisor.wait_ended() == 0
    text = seen.read_bytes()

    whole = [line for line in text.split(b"\n")[1:-1] if line.startswith(b"flood ")]
    numbers = [int(line.removeprefix(b"flood ")) for line in whole]
    assert numbers == list(range(numbers[0], numbers[-1] + 1))
    assert len(text) > 1 << 17


def test_a_successor_of_a_dead_supervisor_cuts_at_once() -> None:
    """While nobody is there the file grows; the next start's first look cuts it."""
    serial = log("B")
    serial.parent.mkdir(parents=True)
    serial.write_bytes(b"x" * (10 * LIMITS.max_bytes))
    with flooded() as supervisor:
        supervisor.wait_started()
        wait_file(serial, lambda: serial.stat().st_size <= LIMITS.max_bytes)


def test_timestamps() -> None:
    """Those of the lines that came while it looked."""
    plan = group([(domain("A"), [])])
    with supervised(plan) as supervisor:
        follower = subprocess.Popen(
            [sys.executable, "-m", "qsuper", "logs", "A", "-f", "-t", "--lines", "0"],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert follower.stdout
        began_s = time.time()
        lines = [follower.stdout.readline() for _ in range(5)][1:]
        supervisor.ask("destroy", domain="A")
        follower.communicate(timeout=PATIENCE_S)

    for line in lines:
        stamp, word, _ = line.split(" ", 2)
        at_s = time.mktime(time.strptime(stamp[:19], "%Y-%m-%dT%H:%M:%S"))
        assert word == "tick"
        assert began_s - PATIENCE_S < at_s < time.time() + 1
    stamps = [line.split(" ")[0] for line in lines]
    assert stamps == sorted(stamps)


def test_a_connection_is_enough_for_the_state() -> None:
    """The control socket greets while the log is cut all the time."""
    with flooded() as supervisor:
        supervisor.wait_started()
        for _ in range(50):
            with Connection(f"{os.environ['QSUPER_RUNTIME_DIR']}/groups/A/control.sock", "A") as c:
                assert json.dumps(c.execute("list"))
