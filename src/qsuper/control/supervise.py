"""The supervisor's main function.

trio takes some 180 ms to load, more than QEMU takes to boot. So it loads in a thread while the
plan is awaited, the QEMUs are spawned without it, and only then it takes over.
"""

import contextlib
import gc
import json
import os
import sys
import threading
from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any, Final, NamedTuple

from qsuper import paths, planfile
from qsuper.control.takeover import take_over
from qsuper.errors import QsuperError, UsageError, shortage
from qsuper.fabric import ledger
from qsuper.fabric.group import Counter, Fabric
from qsuper.plan import GroupPlan
from qsuper.runtime import rundir
from qsuper.runtime.early import Early
from qsuper.runtime.launch import Home, Launched, launch
from qsuper.runtime.limits import allow_descriptors
from qsuper.runtime.meeting import Patience, launch_in_turn
from qsuper.runtime.policy import Policies
from qsuper.runtime.rundir import Rundir
from qsuper.runtime.tail import Tail, open_tails

_RUNNING: Final = "qsuper.control.running"
_SWITCH_S: Final = 0.0002
"""How long the loading thread keeps the interpreter when the main thread wants it back, as it does
after every system call. Python's own 5 ms would make the members' start take twice as long."""


class Settings(NamedTuple):
    """How a group is supervised."""

    detached: bool = False
    """In a session of its own, without terminal; errors go to STATE/<primary>/supervisor.log."""
    paused: bool = False
    """Members are left paused."""
    keep_dependencies: bool = False
    """Dependencies run on when their primary has ended by itself."""
    bind: bool = False
    """The members are killed when the supervisor ends, however it does."""
    timeout_s: float = 60.0
    """For the start."""
    grace_s: float = 10.0
    """Between a graceful shutdown and the destroy."""
    adopt: bool = False
    """A group of that name whose supervisor died is taken over as it runs."""
    exit_from: str | None = None
    """When this member ends, the group ends with its status."""
    show_consoles: bool = True
    """Print what the members print; never when detached."""


def supervise(settings: Settings, plan_fd: int, report_fd: int | None) -> int:
    """Run a group until all its members have ended, and give the exit status.

    To be called in the main thread.

    Args:
        settings: How.
        plan_fd: The group plan as JSON is read from it to the end. Nothing at all means that the
            translator failed and has said so itself: the status is 1 then.
        report_fd: Gets one line of JSON: `{"ok": STATUS}` (what the `status` command returns) once
            all members run, or `{"error": TEXT, "exit-status": N}`. Both descriptors are closed.

    Raises:
        QsuperError: it did not start, and there is no *report_fd* to say so. Nothing is left of it.
    """
    early = Early()
    report = Report(report_fd)
    try:
        return _supervise(settings, plan_fd, report, early)
    except (QsuperError, OSError, ExceptionGroup) as error:
        if (failure := shortage(error)) is None:
            raise
        if report_fd is None:
            raise failure from error
        report.send({"error": str(failure), "exit-status": failure.exit_status})
        return failure.exit_status
    finally:
        report.close()
        early.restore()


class Report:
    """The line to whoever waits for the start."""

    def __init__(self, descriptor: int | None) -> None:
        """Take the descriptor that it is written to, if anybody waits."""
        self._descriptor = descriptor
        if descriptor is not None:
            os.set_inheritable(descriptor, False)  # noqa: FBT003 - as os names it

    @property
    def descriptor(self) -> int | None:
        """What it is written to; None where nobody waits, or any more."""
        return self._descriptor

    def ok(self, status: Mapping[str, Any]) -> None:
        self.send({"ok": status})
        self.close()

    def send(self, line: Mapping[str, Any]) -> None:
        if self._descriptor is not None:
            with contextlib.suppress(BrokenPipeError):  # nobody waits any more
                os.write(self._descriptor, json.dumps(line).encode() + b"\n")

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _supervise(settings: Settings, plan_fd: int, report: Report, early: Early) -> int:
    loader = threading.Thread(target=preload, name="import", daemon=True)
    loader.start()
    with open(plan_fd, "rb") as file:
        text = file.read()
    if early.ending:
        return 128 + early.ending
    if not text:
        return 1
    plan = _parse(text, settings)
    allow_descriptors(len(plan.members))
    if settings.adopt:
        take_over(plan.name, report.descriptor)
    if settings.detached:
        detach(plan)
    if settings.bind:
        loader.join()  # a fork that runs Python code wants no other thread
    with contextlib.ExitStack() as stack:
        place = rundir.claim_group(plan.name)
        stack.callback(place.release)
        listener = stack.enter_context(rundir.bind_listener(place.file(rundir.CONTROL)))
        fabric = Fabric(plan)
        stack.callback(fabric.close)
        counters = counters_of(fabric, place, stack)
        homes = _claim(plan, stack)
        place.write(rundir.STARTING, "")
        place.write(rundir.SETTINGS, json.dumps(settings._asdict()))
        if (noted := fabric.ledger()).memory:
            place.write(rundir.FABRIC, ledger.dumps(noted))
        place.write(rundir.PLAN, text.decode())
        tails = _tails(homes.values(), settings)
        patience = Patience(early, settings.timeout_s)

        def spawn(home: Home) -> Launched:
            launched = launch(home, fabric, bind=settings.bind)
            stack.callback(launched.end_now)
            return launched

        started = launch_in_turn(plan, homes, spawn, patience)
        if early.ending and len(started) < len(homes):
            return 128 + early.ending
        loader.join()
        from qsuper.control import running  # noqa: PLC0415 - it loads trio; see above

        start = running.Start(
            plan=plan,
            policies=policies_of(settings),
            place=place,
            listener=listener,
            members=[(home, started[name]) for name, home in homes.items()],
            fabric=fabric,
            counters=counters,
            early=early,
            tails=tails,
            grace_s=settings.grace_s,
            foreground=not settings.detached,
            report=report.ok,
        )
        return running.run(start)


def policies_of(settings: Settings) -> Policies:
    """Give the group's policies as its settings have them."""
    return Policies(
        paused=settings.paused,
        keep_dependencies=settings.keep_dependencies,
        start_within_s=settings.timeout_s,
        exit_from=settings.exit_from,
        bind=settings.bind,
    )


def preload() -> None:
    """Import what needs trio, in a thread."""
    switch_s = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_S)
    gc.disable()  # what is being loaded is no garbage, and stays to the end
    try:
        with contextlib.suppress(Exception):  # the import in the main thread meets it again
            import_module(_RUNNING)
    finally:
        gc.freeze()
        gc.enable()
        sys.setswitchinterval(switch_s)


def _parse(text: bytes, settings: Settings) -> GroupPlan:
    try:
        plan = planfile.loads(text)
    except ValueError as error:
        raise QsuperError(f"the translator gave no plan: {error}") from error
    names = [member.plan.name for member in plan.members]
    for name in names:
        rundir.check_name(name)
        if names.count(name) > 1:
            raise UsageError(f"two members are named {name!r}")
    if settings.exit_from is not None and settings.exit_from not in names:
        raise UsageError(f"no domain {settings.exit_from!r} in the group")
    return plan


def detach(plan: GroupPlan) -> None:
    """Leave the terminal; what we have to say goes to a file."""
    with contextlib.suppress(PermissionError):  # we lead a session already
        os.setsid()
    path = os.path.join(paths.domain_state_dir(plan.name), "supervisor.log")
    try:
        paths.make_private(os.path.dirname(path))
        log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
        null = os.open(os.devnull, os.O_RDWR)
    except OSError as error:
        hint = "XDG_STATE_HOME says where logs are kept"
        raise QsuperError(f"{path}: {error.strerror} ({hint})") from error
    sys.stdout.flush()
    sys.stderr.flush()
    for number, descriptor in ((0, null), (1, null), (2, log)):
        os.dup2(descriptor, number)
    os.close(null)
    os.close(log)


def _claim(plan: GroupPlan, stack: contextlib.ExitStack) -> dict[str, Home]:
    """Own all names, in one order for everybody: of two that race, one gets all it needs.

    Returns:
        In the plan's order.
    """
    homes: dict[str, Home] = {}
    for member in sorted(plan.members, key=lambda member: member.plan.name):
        home = Home.claim(member, plan.name)
        stack.callback(home.release)
        homes[member.plan.name] = home
    return {member.plan.name: homes[member.plan.name] for member in plan.members}


def counters_of(fabric: Fabric, place: Rundir, stack: contextlib.ExitStack) -> dict[str, Counter]:
    """Listen for clients from outside, on a socket for each memory."""
    counters: dict[str, Counter] = {}
    for share in fabric.servers:
        path = place.file(f"{share}.ivshmem")
        listener = stack.enter_context(rundir.bind_listener(path))
        counters[share] = Counter(rundir.socket_path(path), listener)
    return counters


def _tails(homes: Iterable[Home], settings: Settings) -> list[Tail]:
    if settings.detached or not settings.show_consoles:
        return []
    try:
        return open_tails(homes)
    except OSError as error:
        raise QsuperError(f"{error.filename}: {error.strerror}") from error
