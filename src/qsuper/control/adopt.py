"""Have a group adopted whose supervisor died: start a successor, and wait for its word.

Import budget: that of `control.client`, which loads this where nobody answers.
"""

import contextlib
import json
import os
import sys
from typing import Any, Final, NamedTuple

from qsuper.errors import QsuperError, TimedOutError

ADOPT_TIMEOUT_S: Final = 30.0
"""For loading trio, and for members that hang, on a busy machine."""


class Adoption(NamedTuple):
    """What became of a group whose supervisor died."""

    pid: int | None = None
    """The successor; None where another was faster, or nothing is left to supervise."""
    domains: tuple[str, ...] = ()
    """The members that live."""
    fate: str = ""
    """Why nothing is left."""
    lost: tuple[str, ...] = ()
    """What it could not take over of the fabric, in words."""


def adopt(group: str) -> Adoption:
    """Start a successor for a group, detached; come back once it answers.

    Several callers at once get one successor.

    Raises:
        TimedOutError: it does not get ready.
        QsuperError: it can't take over; the guests run on.
    """
    report_fd, report_end = os.pipe()
    try:
        os.set_inheritable(report_end, True)  # noqa: FBT003 - as os names it
        # A process of its own: nothing of ours, terminal or signal handlers, stays in it.
        argv = [sys.executable, "-P", "-m", "qsuper.control.successor", group, str(report_end)]
        os.posix_spawn(sys.executable, argv, os.environ)
    except OSError as error:
        os.close(report_fd)
        raise QsuperError(f"group {group}: no successor can be started: {error}") from error
    finally:
        os.close(report_end)
    return _adoption(group, _line(group, report_fd))


def adopt_aloud(group: str) -> Adoption:
    """Do as `adopt`, and say on stderr, in one line, what could not be taken over."""
    adoption = adopt(group)
    if adoption.lost:
        with contextlib.suppress(OSError):  # nobody reads it; the event log has it as well
            sys.stderr.write(f"qsuper: group {group}: {'; '.join(adoption.lost)}\n")
            sys.stderr.flush()
    return adoption


def _line(group: str, report_fd: int) -> bytes:
    import select  # noqa: PLC0415 - seldom needed

    with open(report_fd, "rb") as report:
        if not select.select([report], [], [], ADOPT_TIMEOUT_S)[0]:
            raise TimedOutError(f"group {group}: no successor within {ADOPT_TIMEOUT_S:g} s")
        return report.readline()  # it is written at once


def _adoption(group: str, line: bytes) -> Adoption:
    if not line:
        raise QsuperError(
            f"group {group}: the successor ended without a word"
            f" (see `qsuper logs {group}`, or supervisor.log beside it)"
        )
    said: dict[str, Any] = json.loads(line)
    if "error" in said:
        raise QsuperError(said["error"])
    status = said["ok"]
    if "domains" not in status:
        return Adoption(fate=status.get("fate", ""))
    names = tuple(row["name"] for row in status["domains"] if row["pid"] is not None)
    return Adoption(status["pid"], names, lost=tuple(status["lost"].values()))
