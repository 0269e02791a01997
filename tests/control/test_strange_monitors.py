"""Somebody else answers where a member's monitors were: the member is told from him."""

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from qsuper import paths
from qsuper.control.adopt import adopt
from qsuper.errors import QsuperError
from tests.support.orphans import kill
from tests.support.supervised import (
    Supervisor,
    events,
    leftovers,
    log,
    pair,
    supervised,
    wait_file,
    wait_ticks,
)

pytestmark = [pytest.mark.qemu, pytest.mark.usefixtures("nothing_left")]

_GREETING = b'{"QMP": {"version": {"qemu": {"major": 7}}, "capabilities": []}}\n'
Answer = Callable[[Any], bytes]
"""Gives the bytes for a command with that id."""


def plain(value: object) -> Answer:
    """Give what answers everything in the same way."""
    return lambda tag: json.dumps({"return": value, "id": tag}).encode() + b"\n"


class Stranger:
    """Somebody at a socket who greets as a QEMU does, and answers as he likes."""

    def __init__(self, path: Path, answer: Answer) -> None:
        """Take the place of who listens there."""
        self._path = path
        self._kept = path.with_suffix(".kept")
        self._answer = answer
        self._client: tuple[socket.socket, ...] = ()
        path.rename(self._kept)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def leave(self) -> None:
        """Give the place back."""
        self._kept.rename(self._path)
        while self._thread.is_alive():  # it may just have got one more client
            for each in (self._listener, *self._client):
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
            self._thread.join(0.1)
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                client = self._listener.accept()[0]
            except OSError:
                return
            self._client = (client,)
            with client, contextlib.suppress(ConnectionError):
                client.sendall(_GREETING)
                for message in _messages(client):
                    is_first = message["execute"] == "qmp_capabilities"
                    answer = plain({}) if is_first else self._answer
                    client.sendall(answer(message.get("id")))


def _messages(client: socket.socket) -> Iterator[Any]:
    """Give what comes until the end; a newline behind it is not always there."""
    text = ""
    while data := client.recv(65536):
        text += data.decode()
        with contextlib.suppress(json.JSONDecodeError):  # the rest is yet to come
            while text := text.lstrip():
                message, end = json.JSONDecoder().raw_decode(text)
                text = text[end:]
                yield message


@pytest.mark.parametrize(
    ("value", "who"),
    [
        ({}, "somebody who tells no UUID"),
        ([1], "somebody who tells no UUID"),
        ({"UUID": "1-2"}, "a domain with UUID 1-2"),
    ],
    ids=["none", "list", "another"],
)
def test_a_stranger_is_told_from_a_member(value: object, who: str) -> None:
    said = f"qmp.sock is answered by {who}"
    with supervised(pair()) as supervisor:
        pids = {name: supervisor.pid(name) for name in "AB"}
        kill(supervisor)
        stranger = Stranger(Path(paths.domain_dir("B"), "qmp.sock"), plain(value))
        try:
            adopt("A")
            wait_file(
                log("B", "events.jsonl"),
                lambda: said in [each["detail"].get("message") for each in events("B")],
            )
            assert supervisor.row("B")["state"] == "unresponsive"
            assert supervisor.row("A")["state"] == "running"
        finally:
            stranger.leave()
        wait_file(
            log("B", "events.jsonl"), lambda: events("B")[-1]["detail"].get("state") == "running"
        )
        assert {name: supervisor.pid(name) for name in "AB"} == pids
        wait_ticks("B", 2)
        supervisor.ask("suspend", domain="A")
        supervisor.ask("destroy", domain="A")
    assert leftovers() == []


@pytest.mark.parametrize("line", [b"nonsense\n", b"[]\n", b"7\n"])
def test_a_stranger_at_the_group_s_monitor(line: bytes) -> None:
    with supervised(pair()) as supervisor:
        kill(supervisor)
        stranger = Stranger(Path(paths.domain_dir("B"), "sync.sock"), lambda _: line)
        try:
            adopt("A")
            supervisor.ask("list")  # which asks there
            wait_file(
                log("B", "events.jsonl"),
                lambda: "MONITOR_LOST" in [each["event"] for each in events("B")],
            )
            assert supervisor.row("A")["state"] == "running"
        finally:
            stranger.leave()
        # It may have come to the stranger once more.
        wait_file(log("B", "events.jsonl"), lambda: _is_suspended(supervisor))
        supervisor.ask("destroy", domain="A")
    assert leftovers() == []


def _is_suspended(supervisor: Supervisor) -> bool:
    try:
        return set(supervisor.ask("suspend", domain="A")["domains"].values()) == {"paused"}
    except QsuperError:
        return False
