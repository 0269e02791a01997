"""What a process of a domain says, in a file of the state directory."""

import os
import re
import shlex
import time
from typing import Final

from qsuper.errors import QsuperError

_TAIL_BYTES: Final = 4096  # for an error
_MOST_CHARS: Final = 1000
_PREFIX: Final = re.compile(r"^(?:\d{4}-\d\d-\d\dT\S+Z )?(?:\S*qemu-\S+: )?", re.MULTILINE)
"""A timestamp, and QEMU's name."""
_CHATTER: Final = re.compile(
    r"char device redirected to |warning: |Failed to send \d+ bytes to syslog"
)
"""What explains no failure."""


class Log:
    """A process's own log, from this start on."""

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
        """Note a start; what is written from here on is the process's."""
        now = time.strftime("%Y-%m-%d %H:%M:%S%z")
        os.write(self.fd, f"{now}: starting: {shlex.join(argv)}\n".encode())
        self._start = os.fstat(self.fd).st_size

    def skip(self) -> None:
        """Tell only what is written from here on."""
        self._start = os.fstat(self.fd).st_size

    def close(self) -> None:
        os.close(self.fd)

    @property
    def length(self) -> int:
        """How many bytes there are, for `tail` later on."""
        return os.stat(self.path).st_size

    def tail(self, since: int | None = None) -> str:
        """Give what it has said since it was started, in one line; at most the last 4 KiB.

        Args:
            since: Give what it has said since the file was so long.
        """
        with open(self.path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(self._start if since is None else since, size - _TAIL_BYTES))
            lines = _PREFIX.sub("", file.read().decode(errors="replace")).split("\n")
        said = list(filter(None, lines))
        text = "; ".join([line for line in said if not _CHATTER.match(line)] or said)
        return text if len(text) <= _MOST_CHARS else f"... {text[-_MOST_CHARS:]}"
