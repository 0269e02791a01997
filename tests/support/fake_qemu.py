"""A process that behaves as QEMUs do that are on no distributor's mirror: `fake_qemu.py FILE ARGS`.

It says of itself what the capabilities FILE says, has monitors, and meets others of its kind:

-   AMD's by a remote port, `-machine-path DIR`. Where there is a socket it connects, once; else, or
    if that fails, it removes what is there, listens, and waits before its monitors answer. It ends
    when the other hangs up.
-   Those of the series of 2016 by a socket, `-object multi-socket-backend`: with `listen` it makes
    it and waits for nobody, else it connects, once.

FAKE_QEMU_DELAY_S is the time that it takes to come to the socket, and then again to listen on it.
Source: hw/core/remote-port.c of AMD's QEMU.
"""

import contextlib
import json
import os
import selectors
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, Final, NoReturn

Json = Any  # what QMP says

PORT: Final = "qemu-rport-_pmu@0"
MEMORY: Final = "qemu-memory-ddr@0x0"
"""Each writes its pid there."""
_DELAY_S: Final = float(os.environ.get("FAKE_QEMU_DELAY_S", "0"))
_STATUS: Final = {"cont": "running", "stop": "paused", "system_reset": "running"}
_EVENTS: Final = {"cont": "RESUME", "stop": "STOP", "quit": "SHUTDOWN"}


def main(argv: list[str]) -> None:
    """Be a QEMU."""
    with open(argv[0], encoding="utf-8") as file:
        answers = {row["execute"]: row["return"] for row in json.load(file)["commands"]}
    words = argv[1:]
    answers["query-uuid"] = {"UUID": next(_values(words, "-uuid"), "")}
    monitors = {_props(word)["chardev"] for word in _values(words, "-mon")}
    devices = [_props(word) for word in _values(words, "-chardev")]
    sockets = [(int(each["fd"]), "server" in each) for each in devices if each["id"] in monitors]
    meet(words)
    Machine(answers, sockets).run()


def meet(words: list[str]) -> None:
    """Do what QEMU does while it makes its machine."""
    for directory in _values(words, "-machine-path"):
        with open(f"{directory}/{MEMORY}", "a", encoding="ascii") as memory:
            memory.write(f"{os.getpid()}\n")
        time.sleep(_DELAY_S)
        _PEERS.append(_remote_port(f"{directory}/{PORT}"))
    for word in _values(words, "-object"):
        props = _props(word)
        if "multi-socket-backend" in props:
            time.sleep(_DELAY_S)
            path = props["path"]
            _KEPT.append(_listening(path) if "listen" in props else _connected(path))


_PEERS: Final[list[socket.socket]] = []
"""It ends with one of these."""
_KEPT: Final[list[socket.socket]] = []


def _remote_port(path: str) -> socket.socket:
    if os.path.exists(path):
        with contextlib.suppress(ConnectionRefusedError):
            return _connected(path)
        _say(f"Failed to connect to '{path}': Connection refused")
        os.unlink(path)
    listener = _listening(path)
    _say(f"info: QEMU waiting for connection on: disconnected:unix:{path},server=on")
    _KEPT.append(listener)
    return listener.accept()[0]


def _listening(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    time.sleep(_DELAY_S)
    listener.listen(1)
    return listener


def _connected(path: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(path)
    except FileNotFoundError:
        _end(f"Failed to connect to '{path}': No such file or directory")
    return connection


class Machine:
    """Monitors, and the state that they tell."""

    def __init__(self, answers: Mapping[str, Json], sockets: list[tuple[int, bool]]) -> None:
        """Take what it says, and the descriptors that it inherited, with whether each listens."""
        self._answers = answers
        self._status = "prelaunch"
        self._clients: dict[socket.socket, str] = {}
        self._selector = selectors.DefaultSelector()
        for number, is_listener in sockets:
            inherited = socket.socket(fileno=number)
            if is_listener:
                self._selector.register(inherited, selectors.EVENT_READ, self._accept)
            else:
                self._greet(inherited)
        for peer in _PEERS:
            self._selector.register(peer, selectors.EVENT_READ, self._lose)

    def run(self) -> NoReturn:
        """Serve until told to quit."""
        while True:
            for key, _ in self._selector.select():
                key.data(key.fileobj)

    def _accept(self, listener: socket.socket) -> None:
        self._greet(listener.accept()[0])

    def _greet(self, client: socket.socket) -> None:
        self._clients[client] = ""
        self._selector.register(client, selectors.EVENT_READ, self._read)
        version = {"qemu": {"major": 8, "minor": 1, "micro": 0}, "package": "fake"}
        self._send(client, {"QMP": {"version": version, "capabilities": []}})

    def _lose(self, peer: socket.socket) -> None:
        if not peer.recv(1024):
            _end("/pmu@0: Disconnected clk=0 ns")

    def _read(self, client: socket.socket) -> None:
        try:
            data = client.recv(65536)
        except ConnectionResetError:
            data = b""
        if not data:
            self._selector.unregister(client)
            del self._clients[client]
            client.close()
            return
        text = (self._clients[client] + data.decode()).lstrip()
        with contextlib.suppress(json.JSONDecodeError):  # the rest is yet to come
            while text:  # messages follow each other with or without a newline
                message, end = json.JSONDecoder().raw_decode(text)
                text = text[end:].lstrip()
                self._do(client, message)
        self._clients[client] = text

    def _do(self, client: socket.socket, message: Mapping[str, Json]) -> None:
        command = message["execute"]
        self._status = _STATUS.get(command, self._status)
        if command in _EVENTS:
            now_us = time.time_ns() // 1000
            at = {"seconds": now_us // 1_000_000, "microseconds": now_us % 1_000_000}
            data = {"guest": False, "reason": "host-qmp-quit"} if command == "quit" else {}
            for each in self._clients:
                self._send(each, {"event": _EVENTS[command], "timestamp": at, "data": data})
        answer = {"status": self._status} if command == "query-status" else {}
        known = {"id": message["id"]} if "id" in message else {}
        self._send(client, {"return": self._answers.get(command, answer), **known})
        if command == "quit":
            sys.exit(0)

    @staticmethod
    def _send(client: socket.socket, message: Json) -> None:
        with contextlib.suppress(BrokenPipeError):
            client.sendall(json.dumps(message).encode() + b"\n")


def _values(words: list[str], option: str) -> Iterator[str]:
    return (value for word, value in pairwise(words) if word == option)


def _props(word: str) -> dict[str, str]:
    parts = (part.partition("=") for part in word.split(","))
    return {key: value for key, _, value in parts}


def _say(text: str) -> None:
    sys.stderr.write(f"qemu-system-fake: {text}\n")
    sys.stderr.flush()


def _end(text: str) -> NoReturn:
    _say(text)
    os._exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
