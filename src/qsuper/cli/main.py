"""The command line: find the verb, load its module alone, report errors.

A verb's module has `add_options(parser)` and `run(args) -> int`, the exit status. It is imported
only when its verb is asked for, and so are the options built.

Import budget: argparse, and what it needs, without `typing`; every command loads this.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import signal
import sys
from importlib import import_module

from qsuper import __version__
from qsuper.errors import QsuperError, UsageError, shortage

TYPE_CHECKING = False  # as `typing` has it, which takes 5 ms to load
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Final, NoReturn

_WIDTH: Final = 96  # argparse would import shutil to ask the terminal


class Command:
    """A verb: what it does, in which module of `qsuper.cli`, and how it is used."""

    def __init__(self, summary: str, module: str, examples: tuple[str, str]) -> None:
        self.summary = summary
        self.module = module
        self.examples = examples
        """Command line, a blank, a remark."""


COMMANDS: Final = {
    "up": Command(
        "start domains with their dependencies",
        "up",
        ("qsuper up a.xml             # stay with it; Ctrl-Z suspends", "qsuper up -d a.xml b.xml"),
    ),
    "down": Command(
        "shut domains down gracefully, destroy those that do not obey",
        "steer",
        ("qsuper down a --timeout 20", "qsuper down --all"),
    ),
    "destroy": Command(
        "end domains now",
        "steer",
        ("qsuper destroy a", "qsuper destroy --all"),
    ),
    "suspend": Command(
        "stop the processors of domains and their dependencies, all at once",
        "steer",
        ("qsuper suspend a", "qsuper suspend a b --format json"),
    ),
    "resume": Command(
        "let suspended domains and their dependencies run again",
        "steer",
        ("qsuper resume a", "qsuper resume a b"),
    ),
    "shutdown": Command(
        "ask the guest OS to power off, and return at once",
        "steer",
        ("qsuper shutdown a", "qsuper shutdown a b"),
    ),
    "reset": Command(
        "press the reset button",
        "steer",
        ("qsuper reset a", "qsuper reset a --group     # its dependencies too"),
    ),
    "reboot": Command(
        "ask the guest OS to reboot",
        "steer",
        ("qsuper reboot a", "qsuper reboot a --group    # its dependencies too"),
    ),
    "restart": Command(
        "end the domain's QEMU and start a new one, on the same shared memory",
        "steer",
        ("qsuper restart a", "qsuper restart a --group   # its dependencies too"),
    ),
    "save": Command(
        "save a domain with its dependencies to a directory, and end them",
        "save",
        ("qsuper save a /var/tmp/a", "qsuper save a ./a       # qsuper restore ./a"),
    ),
    "restore": Command(
        "let a saved domain and its dependencies go on where they were",
        "up",
        ("qsuper restore /var/tmp/a", "qsuper restore ./a --paused"),
    ),
    "signal": Command(
        "ring a domain's doorbell, as another guest would",
        "signal",
        ("qsuper signal a 0", "qsuper signal a 3 --shmem mailbox"),
    ),
    "adopt": Command(
        "take over domains whose supervisor died",
        "adopt",
        ("qsuper adopt                # all there are", "qsuper adopt a"),
    ),
    "prune": Command(
        "remove what dead supervisors left; touches nothing alive",
        "prune",
        ("qsuper prune", "qsuper prune --format json"),
    ),
    "list": Command(
        "show the domains that run",
        "list",
        ("qsuper list", "qsuper list --format json"),
    ),
    "info": Command(
        "show everything about a domain",
        "info",
        ("qsuper info a", "qsuper info a b --format json"),
    ),
    "domstate": Command(
        "show the state of a domain",
        "info",
        ("qsuper domstate a", "qsuper domstate a --reason"),
    ),
    "events": Command(
        "follow what happens to domains",
        "events",
        ("qsuper events", "qsuper events a --format jsonl"),
    ),
    "logs": Command(
        "show what the guest wrote to its console",
        "logs",
        ("qsuper logs a -f", "qsuper logs a --qemu --lines 20   # QEMU's own messages"),
    ),
    "console": Command(
        "attach the terminal to a console of the guest; Ctrl-] leaves",
        "console",
        ("qsuper console a", "qsuper console a serial1"),
    ),
    "qmp": Command(
        "send a command to the domain's QEMU",
        "qmp",
        ("qsuper qmp a query-status", """qsuper qmp a device_del '{"id": "net0"}'"""),
    ),
    "translate": Command(
        "print the QEMU command line that `up` would run",
        "translate",
        ("qsuper translate a.xml", "qsuper translate --format jsonl *.xml"),
    ),
    "validate": Command(
        "report everything that is wrong in domain XML files",
        "validate",
        ("qsuper validate a.xml", "qsuper validate *.xml"),
    ),
    "dumpxml": Command(
        "print domain XML with all defaults, names and addresses filled in",
        "dumpxml",
        ("qsuper dumpxml a.xml", "qsuper dumpxml --accel tcg a.xml > complete.xml"),
    ),
    "doctor": Command(
        "check what this host has and lacks for running domains",
        "doctor",
        ("qsuper doctor", "qsuper doctor --format json"),
    ),
    "capabilities": Command(
        "ask an emulator what it can do, for --capabilities FILE",
        "capabilities",
        (
            "qsuper capabilities aarch64",
            "qsuper capabilities /opt/qemu-system-arm --output arm.json",
        ),
    ),
}

ALIASES: Final = {
    "create": ("up", "-d"),
    "dominfo": ("info",),
    "domxml-to-native": ("translate",),
    "event": ("events",),
    "qemu-monitor-command": ("qmp",),
}
"""Names that virsh has for them."""


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are `UsageError`s."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see {self.prog} --help)")


class _Formatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=_WIDTH)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: The words after `qsuper`; None for the process's own.

    Returns:
        The exit status, as DESIGN has them: see `errors`, and 128+n where signal n ended it.
    """
    _fill_standard_streams()
    return guarded(lambda: _run(list(sys.argv[1:] if argv is None else argv)))


def run_process() -> NoReturn:
    """Run this process's own command, and end the process with its status.

    It ends as it stands: Python would take apart all that was loaded, which takes longer than many
    a command.
    """
    status = main()
    with contextlib.suppress(OSError):  # what can't be written has been reported
        sys.stdout.flush()
    os._exit(status)


def _fill_standard_streams() -> None:
    """Put /dev/null where stdin, stdout or stderr is closed, lest a pipe of ours gets its place."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
    sys.stdin = sys.stdin or os.fdopen(0, encoding="utf-8", closefd=False)
    sys.stdout = sys.stdout or os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", encoding="utf-8", closefd=False)


def guarded(work: Callable[[], int]) -> int:
    """Do *work* and give its exit status; errors meant for the user are shown and give theirs."""
    try:
        status = work()
        sys.stdout.flush()
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # The reader went away, as in `qsuper list | head -1`. Python flushes once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except QsuperError as error:
        sys.stdout.flush()
        report(str(error))
        return error.exit_status
    except OSError as error:
        if (lack := shortage(error)) is None:
            raise
        report(str(lack))
        return lack.exit_status
    return status


def report(message: str) -> None:
    """Print an error or a warning for the user, each of its lines as `qsuper: ...` on stderr."""
    try:
        for line in message.splitlines() or [""]:
            print(f"qsuper: {line}", file=sys.stderr)
    except OSError:  # nobody reads it; the exit status tells all the same
        return


def parser_of(verb: str) -> Parser:
    """Give the parser of one verb's options."""
    command = COMMANDS[verb]
    examples = "\n".join(f"  {example}" for example in command.examples)
    parser = Parser(
        prog=f"qsuper {verb}",
        description=f"{command.summary[0].upper()}{command.summary[1:]}.",
        epilog=f"examples:\n{examples}",
        allow_abbrev=False,
        formatter_class=_Formatter,
    )
    parser.set_defaults(verb=verb)
    import_module(f"qsuper.cli.{command.module}").add_options(parser)
    return parser


def _run(words: list[str]) -> int:
    if words and words[0] in ALIASES:
        words[:1] = ALIASES[words[0]]
    if not words or words[0] not in COMMANDS:
        return _without_verb(words)
    verb, *rest = words
    gc.disable()  # what is being loaded is no garbage, and stays to the end
    parser = parser_of(verb)
    gc.freeze()
    gc.enable()
    try:
        args, left = parser.parse_known_args(rest)
        if left:  # an option between names; slower, as it lays out the usage first
            args = parser.parse_intermixed_args(rest)
    except SystemExit as leaving:  # --help
        return int(leaving.code or 0)
    return int(import_module(f"qsuper.cli.{COMMANDS[verb].module}").run(args))


def _without_verb(words: list[str]) -> int:
    if words[:1] == ["--version"]:
        print(f"qsuper {__version__}")
        return 0
    if words and words[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0
    if not words:
        print(_overview(), file=sys.stderr)
        return UsageError.exit_status
    kind = "option" if words[0].startswith("-") else "verb"
    raise UsageError(f"no such {kind}: {words[0]} (see qsuper --help)")


def _overview() -> str:
    verbs = "\n".join(f"  {verb:14}{command.summary}" for verb, command in COMMANDS.items())
    aliases = "\n".join(f"  {alias:22}{' '.join(words)}" for alias, words in ALIASES.items())
    return f"""\
usage: qsuper VERB ...

Run libvirt domain XML as supervised QEMU processes.

verbs:
{verbs}

virsh's names for some of them:
{aliases}

`qsuper VERB --help` tells more; `qsuper --version` the version.
A verb on a domain is done to its dependencies too; reset, reboot and restart only with --group."""
