"""Start one QEMU: directories, descriptors, command line, process. Needs no trio.

The first start of a group's members happens here while trio is still being loaded.
"""

import contextlib
import json
import os
import socket
import time
from collections.abc import Generator, Mapping
from typing import Final, NamedTuple, Self

from qsuper import paths
from qsuper.errors import QsuperError, shortage
from qsuper.fabric.group import Fabric
from qsuper.plan import LaunchPlan, Member
from qsuper.runtime import rundir, snapshots
from qsuper.runtime.frame import framed
from qsuper.runtime.helpers import Helpers
from qsuper.runtime.log import Log
from qsuper.runtime.process import Process, Spawn
from qsuper.runtime.resources import Directories, Inherited, inherited
from qsuper.runtime.rundir import Rundir
from qsuper.runtime.seeds import plant
from qsuper.runtime.states import Reason, Standing, State

QEMU_LOG: Final = "qemu.log"
_OURS: Final = ("qmp", "sync")
"""The monitors that the supervisor connects to."""


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


class Past(NamedTuple):
    """What is known of a QEMU that another supervisor started."""

    standing: Standing
    """Where it stood last, as far as is known."""
    since: float
    """Since when, seconds since the epoch."""
    is_ending: bool = False
    """It was to be ended, or has ended already."""
    is_over: bool = False
    """It had ended, and its supervisor knew."""

    @property
    def end(self) -> Reason:
        """Why it ends, where it was to be ended."""
        last = self.standing
        if last.state in (State.SHUT_OFF, State.IN_SHUTDOWN) or last.reason is Reason.PANICKED:
            return last.reason
        return Reason.DESTROYED


class Launched:
    """A QEMU that was just started, paused; its monitors accept connections already."""

    def __init__(
        self,
        process: Process,
        monitors: Mapping[str, socket.socket],
        log: Log,
        helpers: Helpers,
        past: Past | None = None,
    ) -> None:
        """Take what `launch` made, or `adoption.take_members` found."""
        self.process = process
        self.monitors = monitors
        """Connected: `qmp` and `sync`; or empty."""
        self.log = log
        self.helpers = helpers
        self.past = past
        """What is known of one that another supervisor started."""
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
        self.helpers.end_now()


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
        helpers = Helpers(home.place, home.state_dir)
        stack.callback(helpers.end_now)
        helpers.start(plan.helpers, place.links, bind=bind)
        resources = {
            handle.resource.name: handle.resource
            for option in options
            for handle in option.handles()
        }
        numbers = place.open(resources.values())
        argv = (plan.emulator, *(word for option in options for word in option.argv(numbers)))
        monitors = {
            name: stack.enter_context(rundir.connect(home.path(f"{name}.sock"))) for name in _OURS
        }
        log = Log(os.path.join(home.state_dir, QEMU_LOG))
        try:
            if plan.saved is not None:
                snapshots.bring_back(plan.saved, log, home.place.path)
            process = _spawn(plan, argv, home, place, log, bind=bind)
        finally:
            log.close()
        stack.pop_all()
    home.outside = place.sockets
    return Launched(process, monitors, log, helpers)


def connect_monitors(home: Home) -> Mapping[str, socket.socket]:
    """Connect to the monitors of a QEMU that runs; empty where it listens no more."""
    with contextlib.ExitStack() as stack:
        try:
            monitors = {
                name: stack.enter_context(rundir.connect(home.path(f"{name}.sock")))
                for name in _OURS
            }
        except (OSError, QsuperError):
            return {}
        stack.pop_all()
    return monitors


def _spawn(
    plan: LaunchPlan, argv: tuple[str, ...], home: Home, place: Inherited, log: Log, *, bind: bool
) -> Process:
    home.place.write("argv.json", json.dumps(argv))
    log.begin(argv)
    pass_fds = tuple(place.descriptors)
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
        paths.make_private(path)
    except OSError as error:
        hint = "XDG_STATE_HOME says where logs are kept"
        raise QsuperError(f"{path}: {error.strerror} ({hint})") from error
