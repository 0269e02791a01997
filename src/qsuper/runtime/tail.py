"""Log files that grow, read line by line; needs no trio."""

import os
import re
from collections.abc import Iterable
from typing import Final

from qsuper.runtime.frame import log_name
from qsuper.runtime.launch import Home
from qsuper.runtime.logreader import LogReader

_LINE_MAX: Final = 8192  # what no newline ends becomes a line by itself
_CONTROL: Final = re.compile(
    rb"\x1b\[[0-?]*[ -/]*[@-~]"  # an escape sequence
    rb"|\x1b[^\[]"
    rb"|[\x00-\x08\x0b-\x1f\x7f]"  # a guest must not command our terminal
)


class Tail:
    """A file that grows, from where it ends now."""

    def __init__(self, path: str, name: str) -> None:
        """Open it, made if need be.

        Raises:
            OSError: it cannot be opened.
        """
        self.name = name
        self.path = path
        os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600))
        self._log = LogReader(path)
        self._rest = b""

    def close(self) -> None:
        self._log.close()

    def lines(self) -> list[bytes] | None:
        """Give the next lines, without control characters; None where there is nothing new."""
        chunk = self._log.read()
        if not chunk:
            return None
        *whole, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) > _LINE_MAX:
            whole.append(self._rest)
            self._rest = b""
        return [_CONTROL.sub(b"", line) for line in whole]

    def last(self) -> list[bytes]:
        """Give what no newline has ended."""
        rest, self._rest = self._rest, b""
        return [_CONTROL.sub(b"", rest)] if rest else []


def open_tails(homes: Iterable[Home]) -> list[Tail]:
    """Open the console logs of all members; before they start, so that nothing is missed.

    Raises:
        OSError: one cannot be opened.
    """
    return [
        Tail(os.path.join(home.state_dir, log_name(console)), home.member.plan.name)
        for home in homes
        for console in home.member.plan.consoles
        if not console.logged
    ]
