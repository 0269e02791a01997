"""`qsuper up`: one process translates, the other becomes the supervisor.

The supervisor never has XML or lxml in it, and loads trio while the other process translates.
Import budget: argparse and json, until the two have parted.
"""

import argparse
import contextlib
import gc
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from types import FrameType
from typing import TYPE_CHECKING, Final, NoReturn, TextIO

from qsuper import paths
from qsuper.cli import text
from qsuper.cli.loading import add_files, settings, warn
from qsuper.cli.main import guarded
from qsuper.cli.numbers import seconds
from qsuper.control.client import error_of
from qsuper.errors import QsuperError, TimedOutError, UsageError

if TYPE_CHECKING:  # loaded in one of the two processes only
    from qsuper.control.supervise import Settings
    from qsuper.plan import GroupPlan

_START_TIMEOUT_S: Final = 60.0
_SHORTEST_S: Final = 1e-6  # a timer of 0 s would never ring
_INTERRUPTING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `up` or `restore`."""
    if parser.get_default("verb") == "restore":
        _add_directory(parser)
        return
    add_files(parser)
    parser.add_argument("-d", "--detach", action="store_true", help="return when all members run")
    parser.add_argument("--paused", action="store_true", help="leave the members paused")
    parser.add_argument(
        "--wait",
        action="store_true",
        help="stay until the guests have ended, without showing their consoles",
    )
    parser.add_argument(
        "--timeout",
        type=seconds,
        metavar="SECONDS",
        help=f"for the start (default: {_START_TIMEOUT_S:g});"
        " with --wait for the whole run, which is then shut down",
    )
    parser.add_argument(
        "--grace",
        type=seconds,
        default=10.0,
        metavar="SECONDS",
        help="from SIGINT or SIGTERM, which shut down, to the destroy (default: %(default)g)",
    )
    parser.add_argument(
        "--exit-from",
        metavar="NAME",
        help="end all when that member ends, and exit with its QEMU's status",
    )
    parser.add_argument(
        "--keep-dependencies",
        action="store_true",
        help="let dependencies run on when their primary has ended by itself",
    )
    parser.add_argument(
        "--bind",
        action="store_true",
        help="kill the members when the supervisor dies, however it does",
    )
    parser.add_argument(
        "--adopt",
        action="store_true",
        help="take the group over as it runs where its supervisor died, as a service wants it",
    )
    text.add_format(parser)


def _add_directory(parser: argparse.ArgumentParser) -> None:
    """Add the options of `restore`; the others are as `up -d` has them."""
    parser.add_argument("directory", metavar="DIR", help="where `save` has put the group")
    parser.add_argument("--paused", action="store_true", help="leave the members paused")
    text.add_format(parser)
    parser.set_defaults(
        detach=True,
        wait=False,
        exit_from=None,
        keep_dependencies=False,
        bind=False,
        adopt=False,
        timeout=None,
        grace=10.0,
    )


def run(args: argparse.Namespace) -> int:
    """Start the files' domains with their dependencies, all or none."""
    if args.detach:
        for option, given in (("--wait", args.wait), ("--exit-from", args.exit_from)):
            if given:
                raise UsageError(f"{option} is for staying, -d for leaving")
        return _detached(args)
    if args.format != "plain":
        raise UsageError(f"--format {args.format} needs -d")
    return _foreground(args)


def _settings(args: argparse.Namespace) -> "Settings":
    from qsuper.control.supervise import Settings  # noqa: PLC0415 - the supervisor's process only

    return Settings(
        detached=args.detach,
        paused=args.paused,
        keep_dependencies=args.keep_dependencies,
        bind=args.bind,
        adopt=args.adopt,
        timeout_s=_START_TIMEOUT_S if args.timeout is None else args.timeout,
        grace_s=args.grace,
        exit_from=args.exit_from,
        show_consoles=not args.wait,
    )


def _load(args: argparse.Namespace) -> "GroupPlan":
    if args.verb == "restore":
        from qsuper.host.saved import load  # noqa: PLC0415 - seldom asked for

        return load(args.directory)
    gc.disable()  # what is being loaded is no garbage, and stays to the end
    from qsuper.host.helpers import with_helpers  # noqa: PLC0415 - the translator's process only
    from qsuper.host.load import load_group  # noqa: PLC0415 - likewise

    gc.freeze()
    gc.enable()
    group, notices = load_group(args.files, settings(args))
    warn(notices)
    return with_helpers(group)


def _write(group: "GroupPlan", plan: TextIO) -> None:
    from qsuper import planfile  # noqa: PLC0415 - the translator's process only

    plan.write(planfile.dumps(group))
    plan.flush()


def _translate(args: argparse.Namespace, plan: TextIO) -> int:
    _write(_load(args), plan)
    return 0


def _interrupter(interruption: Callable[[int], BaseException]) -> Callable[..., NoReturn]:
    """Give a signal handler that raises, for the process that calls this."""
    translator = os.getpid()

    def interrupt(number: int, _frame: FrameType | None) -> NoReturn:
        if os.getpid() != translator:  # between the fork and the exec of an emulator to be asked
            os._exit(128 + number)
        raise interruption(number)

    return interrupt


# In the foreground: this process becomes the supervisor, a child translates.


def _foreground(args: argparse.Namespace) -> int:
    plan_fd, plan_end = os.pipe()
    status_fd, status_end = os.pipe()

    def translate() -> int:
        os.close(plan_fd)
        os.close(status_fd)
        signal.signal(signal.SIGINT, _interrupter(lambda _: KeyboardInterrupt()))
        with open(plan_end, "w", encoding="utf-8") as plan:
            status = guarded(lambda: _translate(args, plan))
        with contextlib.suppress(BrokenPipeError):  # the supervisor has ended already
            os.write(status_end, bytes([status]))
        return 0

    _forget(translate)
    os.close(plan_end)
    os.close(status_end)
    timed_out = _alarm(args.timeout if args.wait else None)
    try:
        from qsuper.control.supervise import supervise  # noqa: PLC0415 - only after the fork

        status = supervise(_settings(args), plan_fd, None)
        if timed_out():
            raise TimedOutError(f"not ended within {args.timeout:g} s")
        # One byte, or none where a signal ended the translator.
        said = os.read(status_fd, 1)
    finally:
        os.close(status_fd)
    return (said[0] if said else QsuperError.exit_status) or status


def _forget(work: Callable[[], int]) -> None:
    """Run *work* in a process that init reaps: this one, as the supervisor, never looks for it."""
    if child := os.fork():
        os.waitpid(child, 0)
    else:
        _exit_with(lambda: 0 if os.fork() else work())


def _exit_with(work: Callable[[], int]) -> NoReturn:
    """Do *work* and end the process with the status it gives."""
    status = QsuperError.exit_status
    try:
        status = work()
    except BaseException:  # noqa: BLE001 - whatever it is, a forked process must not return
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _alarm(timeout_s: float | None) -> Callable[[], bool]:
    """Have the supervisor shut down, as by SIGTERM, after a time; tell whether that happened."""
    rung = False

    def ring(_number: int, _frame: FrameType | None) -> None:
        nonlocal rung
        rung = True
        if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:  # nothing has been started yet
            raise TimedOutError(f"not ended within {timeout_s:g} s")
        os.kill(os.getpid(), signal.SIGTERM)

    if timeout_s is not None:
        signal.signal(signal.SIGALRM, ring)
        signal.setitimer(signal.ITIMER_REAL, max(timeout_s, _SHORTEST_S))
    return lambda: rung


# Detached: a child becomes the supervisor, this process translates and waits for its report.


class _SignalledError(BaseException):
    """A signal asked for the end; nobody on the way may take it for an error of theirs."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def _detached(args: argparse.Namespace) -> int:
    plan_fd, plan_end = os.pipe()
    report_fd, report_end = os.pipe()

    def become_supervisor() -> int:
        os.close(plan_end)
        os.close(report_fd)
        os.setsid()  # Ctrl-C is ours to pass on
        _keep_only(plan_fd, report_end)
        from qsuper.control.supervise import supervise  # noqa: PLC0415 - only after the fork

        return supervise(_settings(args), plan_fd, report_end)

    supervisor = os.fork()
    if not supervisor:
        _exit_with(become_supervisor)
    os.close(plan_fd)
    os.close(report_end)
    with open(report_fd, encoding="utf-8") as report:
        return _started(args, supervisor, plan_end, report)


def _keep_only(*descriptors: int) -> None:
    """Close what a shell left open: `(flock 9; qsuper up -d a.xml) 9>lock` shall free its lock."""
    first = 3
    for kept in sorted(descriptors):
        os.closerange(first, kept)
        first = max(first, kept + 1)
    os.closerange(first, os.sysconf("SC_OPEN_MAX"))


def _started(args: argparse.Namespace, supervisor: int, plan_end: int, report: TextIO) -> int:
    """Have the plan executed and show what came of it; where it failed, nothing is left."""
    interrupt = _interrupter(_SignalledError)
    before = {number: signal.signal(number, interrupt) for number in _INTERRUPTING}
    is_up = False
    try:
        with open(plan_end, "w", encoding="utf-8") as plan:
            group = _load(args)
            with contextlib.suppress(BrokenPipeError):  # it ended; its report says why
                _write(group, plan)
        line = report.readline()
        is_up = line.startswith('{"ok"')
    except _SignalledError as signalled:
        os.kill(supervisor, signal.SIGQUIT)
        return 128 + signalled.number
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if not is_up:
            os.waitpid(supervisor, 0)
    if not is_up:
        raise _failure(group, line)
    _show(group, json.loads(line)["ok"], args)
    return 0


def _failure(group: "GroupPlan", line: str) -> QsuperError:
    if line:
        report = json.loads(line)
        return error_of(report["error"], report["exit-status"])
    log = os.path.join(paths.domain_state_dir(group.name), "supervisor.log")
    return QsuperError(f"the supervisor ended without a word; see {log}")


def _show(group: "GroupPlan", status: Mapping[str, object], args: argparse.Namespace) -> None:
    if args.format == "json":
        print(text.document({key: status[key] for key in ("group", "pid", "domains")}))
        return
    done = "restored" if args.verb == "restore" else "started"
    for primary in group.primaries:
        needs = f" (with {', '.join(primary.needs)})" if primary.needs else ""
        print(f"Domain '{primary.plan.name}' {done}{', paused' if args.paused else ''}{needs}")
