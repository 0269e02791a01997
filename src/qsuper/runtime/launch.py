"""Start one QEMU: directories, descriptors, command line, process. Needs no trio.

The first start of a group's members happens here while trio is still being loaded.
"""

import contextlib
import json
import os
import re
import shlex
import socket
import time
from collections.abc import Generator, Mapping
from typing import Final, Self

from qsuper import paths
from qsuper.errors import QsuperError, shortage
from qsuper.fabric.group import Fabric
from qsuper.plan import LaunchPlan, Member
from qsuper.runtime import rundir
from qsuper.runtime.frame import framed
from qsuper.runtime.process import Process, Spawn
from qsuper.runtime.resources import Directories, Inherited, inherited
from qsuper.runtime.rundir import Rundir
from qsuper.runtime.seeds import plant

QEMU_LOG: Final = "qemu.log"
_TAIL_BYTES: Final = 4096  # of QEMU's messages, for an error
_PREFIX: Final = re.compile(r"^(?:\d{4}-\d\d-\d\dT\S+Z )?(?:\S*qemu-\S+: )?", re.MULTILINE)
"""A timestamp, and QEMU's name."""
_CHATTER: Final = re.compile("char device redirected to |warning: ")
"""What explains no failure."""


class Home:
    """Where one member lives: its locked runtime directory and its state directory."""

    def __init__(self, member: Member, place: Rundir) -> None:
        """Take a claimed directory. Use `claim`."""
        self.member = member
        self.place = place
        self.state_dir = paths.domain_state_dir(member.plan.name)
        self.outside: list[str] = []
        """Sockets made outside the directory."""

    @classmethod
    def claim(cls, member: Member, group: str) -> Self:
        """Own the member's name and write down what it is.

        Raises:
            QsuperError: the name is taken, or the directories cannot be made.
        """
        place = rundir.claim_domain(member.plan.name, group)
        try:
            home = cls(member, place)
            _ensure_state_dir(home.state_dir)
            if member.xml:
                place.write("domain.xml", member.xml)
        except BaseException:
            place.release()
            raise
        return home

    def path(self, name: str) -> str:
        """Give the path of a file in the runtime directory."""
        return self.place.file(name)

    def release(self) -> None:
        """Remove the runtime files and give the name up."""
        for path in self.outside:
            rundir.remove_socket(path)
        self.outside.clear()
        self.place.release()


class Launched:
    """A QEMU that was just started, paused; its monitors accept connections already."""

    def __init__(self, process: Process, monitors: Mapping[str, socket.socket], log: "Log") -> None:
        """Take what `launch` made."""
        self.process = process
        self.monitors = monitors
        """Connected: `qmp` and `sync`."""
        self.log = log
        self.at = time.time()
        """Seconds since the epoch."""

    def end_now(self) -> None:
        """Kill it, when nobody took it over."""
        if self.process.is_closed:
            return
        self.process.end_now()
        for connection in self.monitors.values():
            connection.close()
        self.process.close()


class Log:
    """QEMU's own log, from this start on."""

    def __init__(self, path: str) -> None:
        """Open for appending.

        Raises:
            QsuperError: it cannot be opened.
        """
        self.path = path
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        try:
            self.fd = os.open(path, flags, 0o600)
        except OSError as error:
            raise QsuperError(f"{path}: {error.strerror}") from error
        self._start = 0

    def begin(self, argv: tuple[str, ...]) -> None:
        """Note a start; what is written from here on is QEMU's."""
        now = time.strftime("%Y-%m-%d %H:%M:%S%z")
        os.write(self.fd, f"{now}: starting: {shlex.join(argv)}\n".encode())
        self._start = os.fstat(self.fd).st_size

    def close(self) -> None:
        os.close(self.fd)

    def tail(self) -> str:
        """Give what QEMU has said since it was started, in one line; at most the last 4 KiB."""
        with open(self.path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(self._start, size - _TAIL_BYTES))
            lines = _PREFIX.sub("", file.read().decode(errors="replace")).split("\n")
        said = list(filter(None, lines))
        return "; ".join([line for line in said if not _CHATTER.match(line)] or said)


def launch(home: Home, fabric: Fabric, *, bind: bool = False) -> Launched:
    """Start a member's QEMU, paused.

    Args:
        home: Its directories.
        fabric: What the group's members share.
        bind: QEMU is killed when this process ends, however it does.

    Raises:
        QsuperError: something it inherits cannot be made, or it cannot be executed. Nothing is
            left but the directories.
    """
    with _named(home.member.plan.name):
        return _launch(home, fabric, bind=bind)


@contextlib.contextmanager
def _named(name: str) -> Generator[None]:
    """Have all errors name the member."""
    try:
        yield
    except QsuperError as error:
        raise type(error)(f"{name}: {error}") from error
    except OSError as error:
        if (lack := shortage(error)) is None:
            raise
        raise QsuperError(f"{name}: {lack}") from error


def _launch(home: Home, fabric: Fabric, *, bind: bool) -> Launched:
    plan = home.member.plan
    plant(plan.seeds)
    options = framed(plan)
    directories = Directories(home.place.path, home.state_dir)
    with inherited(directories, fabric, plan.name) as place, contextlib.ExitStack() as stack:
        resources = {
            handle.resource.name: handle.resource
            for option in options
            for handle in option.handles()
        }
        numbers = place.open(resources.values())
        argv = (plan.emulator, *(word for option in options for word in option.argv(numbers)))
        monitors = {
            name: stack.enter_context(rundir.connect(home.path(f"{name}.sock")))
            for name in ("qmp", "sync")
        }
        log = Log(os.path.join(home.state_dir, QEMU_LOG))
        try:
            process = _spawn(plan, argv, home, place, log, bind=bind)
        finally:
            log.close()
        stack.pop_all()
    home.outside = place.sockets
    return Launched(process, monitors, log)


def _spawn(
    plan: LaunchPlan, argv: tuple[str, ...], home: Home, place: Inherited, log: Log, *, bind: bool
) -> Process:
    home.place.write("argv.json", json.dumps(argv))
    log.begin(argv)
    pass_fds = tuple(place.numbers.values())
    spawn = Spawn(argv, plan.env, home.place.path, log.fd, pass_fds, bind)
    process = Process.spawn(spawn)
    try:
        home.place.write(rundir.QEMU_PID, f"{process.identity}\n")
    except BaseException:  # a full disk
        process.end_now()
        process.close()
        raise
    return process


def _ensure_state_dir(path: str) -> None:
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
    except OSError as error:
        hint = "XDG_STATE_HOME says where logs are kept"
        raise QsuperError(f"{path}: {error.strerror} ({hint})") from error
