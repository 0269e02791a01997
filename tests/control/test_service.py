"""What systemd hears of a supervisor, and does to it."""

import signal
import time
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.support.service import Manager
from tests.support.supervised import domain, group, supervised

pytestmark = pytest.mark.qemu


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Manager]:
    listening = Manager(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", listening.address)
    yield listening
    listening.close()


def test_without_a_watchdog_nothing_is_pinged(manager: Manager) -> None:
    with supervised(group([(domain("A"), [])])) as supervisor:
        assert manager.message()[0] == "READY=1"
        assert not manager.hears(0.5)
        supervisor.process.send_signal(signal.SIGTERM)
        assert manager.message() == ["STOPPING=1"]


def test_the_watchdog_is_pinged(manager: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three times in the time it allows; not by a supervisor that is stuck."""
    monkeypatch.setenv("WATCHDOG_USEC", "300000")
    with supervised(group([(domain("A"), [])])) as supervisor:
        manager.until("READY=1")
        began_s = time.monotonic()
        for _ in range(5):
            assert manager.message() == ["WATCHDOG=1"]
        assert time.monotonic() - began_s > 0.3
        supervisor.process.send_signal(signal.SIGSTOP)
        while manager.hears(0.5):
            manager.message()
        supervisor.process.send_signal(signal.SIGCONT)
        manager.until("WATCHDOG=1")


def test_another_process_watchdog_is_not_ours(
    manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "300000")
    monkeypatch.setenv("WATCHDOG_PID", "1")
    with supervised(group([(domain("A"), [])])):
        manager.until("READY=1")
        assert not manager.hears(0.5)


def test_qemu_cannot_speak_for_the_supervisor(
    manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "300000")
    with supervised(group([(domain("A"), [])])) as supervisor:
        manager.until("READY=1")
        inherited = Path(f"/proc/{supervisor.pid('A')}/environ").read_bytes().split(b"\0")
        assert not [each for each in inherited if each.startswith((b"NOTIFY_", b"WATCHDOG_"))]
