"""The unit of configs/systemd under a real systemd: a user's manager of its own."""

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Generator
from pathlib import Path

import pytest

from qsuper.runtime.inotify import IN_CREATE, IN_MOVED_TO, Inotify
from tests.support.lab import QSUPER, Lab, ends
from tests.support.supervised import PATIENCE_S, readable

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "configs" / "systemd" / "qsuper@.service"
SYSTEMD = "/lib/systemd/systemd"
CGROUPS = Path("/sys/fs/cgroup/systemd")

# A user's manager wants to see that systemd booted the machine, and takes the cgroup that it is in
# for its own, with all processes there: so it gets one, and sees no other.
START = f"""
mkdir "$1" && echo $$ >"$1/cgroup.procs" && exec unshare --cgroup --mount sh -c '
    mount -t tmpfs none /sys/fs/cgroup && mkdir {CGROUPS} &&
    mount -t cgroup -o none,name=systemd none {CGROUPS} &&
    mkdir -p /run/systemd && mount -t tmpfs none /run/systemd && mkdir /run/systemd/system &&
    exec {SYSTEMD} --user --log-target=console'
"""

pytestmark = [
    pytest.mark.qemu,
    pytest.mark.skipif(not os.path.exists(SYSTEMD), reason="no systemd here"),
    pytest.mark.skipif(os.path.exists("/run/systemd/system"), reason="systemd runs this machine"),
    pytest.mark.skipif(not os.access(CGROUPS, os.W_OK), reason="no cgroups to give away"),
]


class Systemd:
    """A user's manager with our unit, for domains in the lab."""

    def __init__(self, lab: Lab) -> None:
        self.directory = lab.root / "systemd"
        units = self.directory / "config" / "systemd" / "user"
        units.mkdir(parents=True)
        self._bus = self.directory / "run"
        self._bus.mkdir(mode=0o700)
        variables = ("QSUPER_RUNTIME_DIR", "XDG_STATE_HOME", "XDG_CACHE_HOME")
        given = " ".join(f"{name}={lab.environment[name]}" for name in variables)
        unit = UNIT.read_text()
        for old, new in (
            ("/usr/bin/env qsuper", QSUPER),
            ("/etc/qsuper/%i.xml", f"{lab.root}/%i.xml"),
            ("[Service]", f"[Service]\nEnvironment={given}"),
            ("WatchdogSec=30", "WatchdogSec=3"),
            ("RestartSec=1", "RestartSec=0"),
        ):
            assert old in unit
            unit = unit.replace(old, new)
        (units / UNIT.name).write_text(unit)
        self._environ = os.environ | {
            "XDG_RUNTIME_DIR": str(self._bus),
            "XDG_CONFIG_HOME": str(self.directory / "config"),
            "HOME": str(self.directory),
        }
        self._cgroup = CGROUPS / f"qsuper-test-{os.getpid()}"
        argv = ["sh", "-c", START, "sh", str(self._cgroup)]
        with Inotify() as changes:
            changes.watch(str(self._bus), IN_CREATE | IN_MOVED_TO)
            self._process = subprocess.Popen(
                argv, env=self._environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            while not (self._bus / "systemd" / "private").exists():
                readable(changes.fileno())
                changes.read()
                with contextlib.suppress(OSError):
                    changes.watch(str(self._bus / "systemd"), IN_CREATE | IN_MOVED_TO)

    def control(self, *words: str) -> str:
        """Run systemctl."""
        done = subprocess.run(
            ["systemctl", "--user", *words],
            env=self._environ, capture_output=True, text=True, timeout=PATIENCE_S, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def main_pid(self, unit: str) -> int:
        return int(self.control("show", "--value", "--property=MainPID", unit))

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(PATIENCE_S)
        below = [Path(path) for path, _, _ in os.walk(self._cgroup, topdown=False)]
        for path in below:  # systemd leaves some
            path.rmdir()


@pytest.fixture
def systemd(lab: Lab) -> Generator[Systemd]:
    if not shutil.which("systemctl"):
        pytest.skip("no systemctl here")
    before = cgroups()
    manager = Systemd(lab)
    yield manager
    manager.close()
    assert cgroups() == before


def cgroups() -> tuple[str, set[Path]]:
    """Give where we are among the cgroups, and which there are at the top."""
    return Path("/proc/self/cgroup").read_text(), set(CGROUPS.parent.glob("*/*/"))


def test_a_group_as_a_service(lab: Lab, systemd: Systemd) -> None:
    """Ready when it runs; replaced when it is stuck, and killed, with its guests left alone."""
    lab.domain("A", "B", guest="powerbutton")
    lab.domain("B", guest="powerbutton")
    systemd.control("start", "qsuper@A")  # comes back with READY=1
    assert lab.states() == {"A": "running", "B": "running"}
    guests = {name: row["pid"] for name, row in lab.rows().items()}
    first = systemd.main_pid("qsuper@A")
    assert first == lab.supervisor("A")

    os.kill(first, signal.SIGSTOP)  # the watchdog's to notice
    assert ends(first)
    systemd.control("start", "qsuper@A")  # waits for the one that is being started
    second = systemd.main_pid("qsuper@A")
    assert second == lab.supervisor("A") != first
    assert {name: row["pid"] for name, row in lab.rows().items()} == guests

    os.kill(second, signal.SIGKILL)
    assert ends(second)
    systemd.control("start", "qsuper@A")
    assert lab.supervisor("A") not in (first, second)
    assert {name: row["pid"] for name, row in lab.rows().items()} == guests
    assert lab.run("suspend", "A").status == lab.run("resume", "A").status == 0

    systemd.control("stop", "qsuper@A")
    assert systemd.control("show", "--value", "--property=Result", "qsuper@A") == "success"
    assert lab.rows() == {}
    lab.assert_nothing_left()
