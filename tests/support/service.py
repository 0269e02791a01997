"""What systemd does with a service, for tests."""

import select
import socket
from pathlib import Path

from tests.support.supervised import PATIENCE_S


class Manager:
    """Listens as systemd does."""

    def __init__(self, path: Path) -> None:
        self.address = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.address)

    def close(self) -> None:
        self._socket.close()

    def hears(self, within_s: float) -> bool:
        return bool(select.select([self._socket], [], [], within_s)[0])

    def message(self) -> list[str]:
        assert self.hears(PATIENCE_S), "nothing heard"
        return self._socket.recv(4096).decode().split("\n")

    def until(self, word: str) -> None:
        while word not in self.message():
            pass
