"""The control socket of a real supervisor."""

import asyncio
import json
import os
import socket
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from qemu.qmp import ExecuteError, QMPClient

from qsuper import __version__, paths
from qsuper.control.client import Connection
from qsuper.errors import QsuperError
from tests.support.supervised import (
    PATIENCE_S,
    Supervisor,
    domain,
    group,
    pair,
    supervised,
    wait_ticks,
)

pytestmark = pytest.mark.qemu


@pytest.fixture
def two() -> Generator[Supervisor]:
    """A needs B."""
    with supervised(pair()) as supervisor:
        yield supervisor


def control() -> str:
    return os.path.join(paths.group_dir("A"), "control.sock")


Json: TypeAlias = Any  # what the other side says


class Raw:
    """A client that may say anything."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(PATIENCE_S)
        self.socket.connect(control())
        self._file = self.socket.makefile("rb")
        self.greeting = self.read()

    def read(self) -> Json:
        return json.loads(self._file.readline())

    def at_end(self) -> bool:
        return self._file.readline() == b""

    def say(self, line: bytes) -> Json:
        self.socket.sendall(line + b"\n")
        return self.read()

    def ready(self) -> "Raw":
        assert self.say(b'{"execute": "qmp_capabilities"}') == {"return": {}}
        return self

    def close(self) -> None:
        self._file.close()
        self.socket.close()


@pytest.fixture
def raw(two: Supervisor) -> Generator[Raw]:
    client = Raw()
    yield client
    client.close()


def test_greeting_and_status(two: Supervisor, raw: Raw) -> None:
    assert raw.greeting["QMP"]["version"]["package"] == f"qsuper {__version__}"
    raw.ready()
    status = raw.say(b'{"execute": "status", "id": [1, {"x": null}]}')
    assert status["id"] == [1, {"x": None}]
    assert status["return"] == two.ask("status")
    (b, a) = status["return"]["domains"]
    assert (a["name"], a["role"], a["group"], b["role"]) == ("A", "primary", "A", "dependency")
    assert set(a) == {"name", "uuid", "state", "reason", "pid", "group", "role", "since"}


def test_the_socket_is_ours_alone(two: Supervisor) -> None:
    assert Path(control()).stat().st_mode & 0o777 == 0o600


def test_qemus_own_client(two: Supervisor) -> None:
    async def talk() -> None:
        client = QMPClient("qsuper")
        await client.connect(control())
        await client.execute("events")
        suspended: Any = await client.execute("suspend", {"domain": "A"})
        assert suspended["domains"] == {"A": "paused", "B": "paused"}
        names: set[str] = set()
        while not {"STATE_CHANGED", "STOP", "GROUP_SUSPENDED"} <= names:
            event: Json = await client.events.get()
            names.add(event["event"])
            if event["event"] == "GROUP_SUSPENDED":
                assert event["data"]["skew_us"] == suspended["skew_us"]
        with pytest.raises(ExecuteError, match="no domain 'X' in group 'A'"):
            await client.execute("resume", {"domain": "X"})
        inner = {"execute": "query-status"}
        answer: Any = await client.execute("qmp", {"domain": "B", "command": inner})
        assert answer["status"] == "paused"
        await client.disconnect()

    asyncio.run(asyncio.wait_for(talk(), PATIENCE_S))


def test_info_and_console(two: Supervisor) -> None:
    info = two.ask("info", domain="A")
    assert info["needs"] == ["B"]
    assert info["emulator"] == "/usr/bin/qemu-system-x86_64"
    assert info["memory_bytes"] > 1 << 20
    (console,) = info["consoles"]
    assert console["log"] == os.path.join(paths.domain_state_dir("A"), "serial0.log")
    assert two.ask("console", domain="A")["alias"] == "serial0"
    with pytest.raises(QsuperError, match=r"no console 'serial7' \(it has serial0\)"):
        two.ask("console", domain="A", alias="serial7")
    with Connection(info["monitor"], "QEMU") as monitor:
        assert monitor.execute("query-name") == {"name": "A"}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"hello", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[1, 2]", "not a JSON object"),
        (b'"execute"', "not a JSON object"),
        (b"{}", "'execute' is missing"),
        (b'{"execute": 7}', "'execute' is missing, or no string"),
        (b'{"execute": "list", "arguments": []}', "'arguments' is no object"),
        (b'{"execute": "list", "extra": 1}', "unknown member 'extra'"),
        (b'{"execute": "nothing"}', "no command 'nothing'"),
        (b'{"execute": "list", "arguments": {"x": 1}}', "unknown argument 'x'"),
        (b'{"execute": "info"}', "'domain' is missing"),
        (b'{"execute": "info", "arguments": {"domain": {"a": 1}}}', "'domain' is missing"),
        (b'{"execute": "info", "arguments": {"domain": "../A"}}', "no domain '../A'"),
        (b'{"execute": "down", "arguments": {"domain": "A", "timeout": "x"}}', "must be a number"),
        (b'{"execute": "down", "arguments": {"domain": "A", "timeout": NaN}}', "timeout must be"),
        (b'{"execute": "reset", "arguments": {"domain": "A", "group": 1}}', "must be a boolean"),
        (b'{"execute": "qmp", "arguments": {"domain": "A", "command": 1}}', "must be an object"),
        (b"[" * 100_000, "not JSON"),
        (b'{"execute": "list", "id": ' + b"9" * 5000 + b"}", "not JSON"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_malformed_input_is_answered(two: Supervisor, raw: Raw, line: bytes, said: str) -> None:
    raw.ready()
    error = raw.say(line)["error"]
    assert said in error["desc"]
    assert error["exit-status"] in (1, 2)
    assert raw.say(b'{"execute": "list"}')["return"]["domains"]
    assert two.state("A") == "running"


def test_commands_before_negotiation(raw: Raw) -> None:
    assert raw.say(b'{"execute": "list"}')["error"]["class"] == "CommandNotFound"


def test_a_line_without_end(two: Supervisor, raw: Raw) -> None:
    raw.ready()
    raw.socket.sendall(b"x" * ((1 << 20) + 1))
    assert "bytes" in raw.read()["error"]["desc"]
    assert raw.at_end()
    assert two.state("A") == "running"


def test_a_client_that_reads_no_events(two: Supervisor) -> None:
    """It is hung up on when its queue is full; nobody else notices."""
    wait_ticks("A", 1)
    deaf = Raw().ready()
    deaf.say(b'{"execute": "events"}')
    with Connection(control(), "A") as other:
        for _ in range(400):
            other.execute("suspend", {"domain": "A"}, timeout_s=PATIENCE_S)
            other.execute("resume", {"domain": "A"}, timeout_s=PATIENCE_S)
    wait_ticks("A", 1)
    deaf.close()


def test_fifty_clients_at_once(two: Supervisor) -> None:
    for name in "AB":
        wait_ticks(name, 1)
    verbs = ("list", "suspend", "resume", "info", "status")
    results: list[Any] = []

    def client(number: int) -> None:
        with Connection(control(), "A") as connection:
            for turn in range(5):
                verb = verbs[(number + turn) % len(verbs)]
                arguments = {} if verb in ("list", "status") else {"domain": "A"}
                results.append(connection.execute(verb, arguments, timeout_s=PATIENCE_S))

    threads = [threading.Thread(target=client, args=(number,)) for number in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert len(results) == 250
    two.ask("resume", domain="A")
    wait_ticks("A", 2)
    wait_ticks("B", 2)


def test_events_of_one_domain(two: Supervisor, raw: Raw) -> None:
    raw.ready()
    raw.say(b'{"execute": "events", "arguments": {"domain": "B"}}')
    two.ask("suspend", domain="A")
    seen: list[str] = []
    while "GROUP_SUSPENDED" not in seen:
        event = raw.read()
        seen.append(event["event"])
        data = event["data"]
        assert data["domain"] == "B" or "B" in data["domains"]
        assert event["timestamp"]["seconds"] > 0


def test_an_answer_to_the_end() -> None:
    """Who ends the group hears so, and others on the line see the last events."""
    with supervised(group([(domain("A"), [])])) as supervisor:
        watcher = Raw().ready()
        watcher.say(b'{"execute": "events"}')
        assert supervisor.ask("destroy", domain="A")["domains"] == {"A": "shut off"}
        states: list[str] = []
        while "shut off" not in states:
            states.append(watcher.read()["data"].get("state", ""))
        watcher.close()
        assert supervisor.wait_ended() == 0
