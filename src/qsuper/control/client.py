"""The command line's side of the control protocol: blocking, standard library only.

Speaks QMP, so that the same `Connection` talks to a supervisor and to a QEMU's monitor.

Import budget: json, os, signal, socket, struct, time; every verb that steers loads this.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import time

from qsuper import paths
from qsuper.errors import QsuperError, TimedOutError, UnavailableError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any, Final, Self, TypeAlias

    Json: TypeAlias = Any
    """What a supervisor says; docs/ARCHITECTURE.md has the shapes."""
else:
    Json = object  # what imports it needs it for annotations alone

REPLY_TIMEOUT_S: Final = 10.0
"""How long a supervisor may take for what it does at once. One that needs longer is stuck."""

_CHUNK_BYTES: Final = 1 << 16
_ADDRESS_BYTES: Final = 107  # struct sockaddr_un, less the null byte
_STATE: Final = 0  # fields of /proc/PID/stat, from the one behind the name; proc(5)
_START: Final = 19
_ERRORS: Final[dict[int, type[QsuperError]]] = {
    kind.exit_status: kind for kind in (UsageError, UnavailableError, TimedOutError)
}


class DisconnectedError(QsuperError):
    """The other side closed the connection before it answered."""


class Connection:
    """A QMP client.

    Args:
        path: The socket; may be longer than a socket's address can be.
        who: How errors call the other side.
        timeout_s: For the connection itself.

    Raises:
        OSError: nobody listens there.
    """

    def __init__(self, path: str, who: str, *, timeout_s: float = REPLY_TIMEOUT_S) -> None:
        self._who = who
        self._socket = _connect(path, timeout_s)
        self._buffer = bytearray()
        self._sent = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    @property
    def peer(self) -> int:
        """The process that listens, as a pid."""
        layout = "3i"  # struct ucred: pid, uid, gid
        size = struct.calcsize(layout)
        credentials = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
        return int(struct.unpack(layout, credentials)[0])

    def execute(
        self,
        command: str,
        arguments: Mapping[str, Json] | None = None,
        *,
        timeout_s: float = REPLY_TIMEOUT_S,
    ) -> Json:
        """Have one command executed and give what it returns; errors as of `send`, `receive`."""
        self.send(command, arguments)
        return self.receive(timeout_s)

    def send(self, command: str, arguments: Mapping[str, Json] | None = None) -> None:
        """Send a command, whose answer `receive` gives.

        Raises:
            DisconnectedError: the other side went away.
            TimedOutError: it reads nothing.
        """
        self._sent += 1
        message = {"execute": command, "arguments": arguments or {}, "id": self._sent}
        data = json.dumps(message).encode() + b"\n"
        if self._sent == 1:
            # Need not wait for the greeting: the commands queue up in the socket.
            data = b'{"execute": "qmp_capabilities", "id": 0}\n' + data
        try:
            self._socket.settimeout(REPLY_TIMEOUT_S)
            self._socket.sendall(data)
        except TimeoutError:
            raise TimedOutError(f"{self._who} reads nothing") from None
        except OSError:
            raise DisconnectedError(f"{self._who} hung up") from None

    def receive(self, timeout_s: float = REPLY_TIMEOUT_S) -> Json:
        """Give what the command sent last returns.

        Raises:
            TimedOutError: no answer in time.
            DisconnectedError: the other side went away.
            QsuperError: the error that was answered, with the exit status that it names.
        """
        try:
            for reply in self._messages(time.monotonic() + timeout_s):
                if "error" in reply:
                    error = reply["error"]
                    raise error_of(error["desc"], error.get("exit-status", 1))
                if "return" in reply and reply.get("id") == self._sent:
                    return reply["return"]
        except TimeoutError:
            raise TimedOutError(f"{self._who} gave no answer within {timeout_s:g} s") from None
        except ConnectionResetError:
            pass
        raise DisconnectedError(f"{self._who} hung up before it answered")

    def arrived(self) -> tuple[list[Json], bool]:
        """Give the events that have arrived, and whether more may come; does not wait."""
        goes_on = True
        try:
            self._socket.settimeout(0)
            while data := self._socket.recv(_CHUNK_BYTES):
                self._buffer += data
            goes_on = False
        except BlockingIOError:
            pass
        except ConnectionResetError:
            goes_on = False
        *lines, self._buffer = self._buffer.split(b"\n")
        messages = [self._parsed(line) for line in lines if line.strip()]
        return [message for message in messages if "event" in message], goes_on

    def _messages(self, deadline: float | None) -> Iterator[Json]:
        while True:
            line, newline, rest = self._buffer.partition(b"\n")
            if newline:
                self._buffer = rest
                if line.strip():
                    yield self._parsed(line)
                continue
            left_s = None if deadline is None else deadline - time.monotonic()
            if left_s is not None and left_s <= 0:
                raise TimeoutError
            self._socket.settimeout(left_s)
            data = self._socket.recv(_CHUNK_BYTES)
            if not data:
                return
            self._buffer += data

    def _parsed(self, line: bytearray) -> Json:
        try:
            return json.loads(line)
        except ValueError:
            raise QsuperError(f"{self._who} does not speak QMP") from None


def connect(name: str, stopped: Callable[[str, int], None] | None = None) -> Connection:
    """Connect to the supervisor of a domain; to a successor, where it died.

    Args:
        name: The domain.
        stopped: What to do with a supervisor that Ctrl-Z stopped, given *name* and its pid; None
            to fail.

    Raises:
        QsuperError: there is no such domain, or its supervisor is stopped, or died and can't be
            succeeded; or the runtime directory is not ours alone.
    """
    paths.check_private(paths.runtime_dir())
    directory = paths.domain_dir(name)
    if not is_name(name) or not os.path.isdir(directory):
        raise QsuperError(f"no such domain: {name}")
    try:
        connection = _connection(name, directory)
    except (FileNotFoundError, ConnectionRefusedError):
        _adopt(name, directory)
        try:
            connection = _connection(name, directory)
        except OSError:
            raise QsuperError(f"no such domain: {name} (it has just ended)") from None
    try:
        if is_stopped(connection.peer):
            (stopped or _refuse)(name, connection.peer)
    except BaseException:
        connection.close()
        raise
    return connection


def _connection(name: str, directory: str) -> Connection:
    path = os.path.join(directory, "group", "control.sock")
    try:
        return Connection(path, f"{name}: its supervisor")
    except TimeoutError:
        raise TimedOutError(f"{name}: its supervisor takes no connections") from None


def _adopt(name: str, directory: str) -> None:
    """Have a supervisor take over where the one before died."""
    if supervisor := living(os.path.join(directory, "group", "supervisor.pid")):
        raise QsuperError(f"{name}: its supervisor (pid {supervisor}) is starting or ending")
    from qsuper.control.adopt import adopt_aloud  # noqa: PLC0415 - seldom needed

    try:
        group = os.path.basename(os.readlink(os.path.join(directory, "group")))
    except OSError:  # it was killed before it had furnished the directory
        raise QsuperError(f"no such domain: {name} (clear up with `qsuper prune`)") from None
    if fate := adopt_aloud(group).fate:
        raise QsuperError(f"no such domain: {name} ({fate})")


def connect_group(group: str) -> Connection:
    """Connect to the supervisor of a group.

    Raises:
        OSError: it died, or takes no connections.
    """
    path = os.path.join(paths.group_dir(group), "control.sock")
    return Connection(path, f"group {group}: its supervisor")


def groups() -> list[str]:
    """Name the groups that have a runtime directory, whether their supervisors live or not.

    Raises:
        QsuperError: the runtime directory is not ours alone.
    """
    root = paths.check_private(paths.runtime_dir())
    try:
        return sorted(os.listdir(os.path.join(root, "groups")))
    except (FileNotFoundError, NotADirectoryError):
        return []


def error_of(message: str, exit_status: int) -> QsuperError:
    """Give an error of the kind that has that exit status."""
    return _ERRORS.get(exit_status, QsuperError)(message)


def supervisor(group: str) -> int | None:
    """Give the pid of a group's supervisor; None where it died."""
    return living(os.path.join(paths.group_dir(group), "supervisor.pid"))


def is_name(name: str) -> bool:
    """Tell whether a domain can have that name; one with a slash would lead to other places."""
    return bool(name) and name not in (".", "..") and not {"/", "\0"} & set(name)


def wake(_name: str, pid: int) -> None:
    """Let a supervisor that Ctrl-Z stopped go on; for `connect`."""
    pidfd = os.pidfd_open(pid)
    try:
        if is_stopped(pid):  # still the process that was meant, now that no other can take its pid
            signal.pidfd_send_signal(pidfd, signal.SIGCONT)
    finally:
        os.close(pidfd)


def living(path: str) -> int | None:
    """Give the pid that a pid file names; None where that process has ended.

    The file (`qemu.pid`, `supervisor.pid`) has the pid and the start time, for a pid is used again.
    """
    try:
        with open(path, encoding="ascii") as file:
            pid, start = file.read().split()
        found = _stat(int(pid))
    except (OSError, ValueError):
        return None
    alive = found[_STATE] not in "ZX" and found[_START] == start
    return int(pid) if alive else None


def is_stopped(pid: int) -> bool:
    """Tell whether a process is stopped, as by Ctrl-Z."""
    try:
        return _stat(pid)[_STATE] in "Tt"
    except OSError:
        return False


def _stat(pid: int) -> list[str]:
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        return file.read().rpartition(") ")[2].split()


def _refuse(name: str, pid: int) -> None:
    raise QsuperError(
        f"{name}: its supervisor (pid {pid}) is stopped, as by Ctrl-Z"
        f" (go on with `fg` there, or `qsuper resume {name}`)"
    )


def _connect(path: str, timeout_s: float) -> socket.socket:
    connected = socket.socket(socket.AF_UNIX)
    directory = None
    try:
        connected.settimeout(timeout_s)
        if len(os.fsencode(path)) > _ADDRESS_BYTES:
            parent, name = os.path.split(path)
            directory = os.open(parent, os.O_PATH)
            path = f"/proc/self/fd/{directory}/{name}"
        connected.connect(path)
    except BaseException:
        connected.close()
        raise
    finally:
        if directory is not None:
            os.close(directory)
    return connected
