"""The errors that qsuper reports to its user, without a traceback.

    QsuperError               1   it failed
    ├── UsageError            2   the command line is wrong
    ├── ConfigError          65   one thing is wrong in a domain XML file
    ├── ConfigErrors         65   several are, each a ConfigError
    ├── UnavailableError     69   no such emulator, accelerator or feature here
    ├── TimedOutError        75   it took too long
    └── EmulatorError         1   QEMU did not start, or ended when nobody asked it to

The number is the exit status. A bug raises any other exception and keeps its traceback.

Import budget: `errno`, since every command loads this.
"""

from __future__ import annotations

import errno

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import ClassVar, Final

    from qsuper.location import Location

_LONGEST: Final = 600  # characters of a message


def plain(message: str) -> str:
    """Give a message that quotes a file as one line of bounded length that steers no terminal."""
    if len(message) > _LONGEST:
        message = f"{message[: _LONGEST // 2]} ... {message[-_LONGEST // 2 :]}"
    if message.isprintable():
        return message
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in message
    )


class QsuperError(Exception):
    """Root of the errors meant for the user."""

    exit_status: ClassVar[int] = 1


class UsageError(QsuperError):
    """The command line asks for something that makes no sense."""

    exit_status = 2


class ConfigError(QsuperError):
    """The domain XML is wrong, or asks for what qsuper can't do."""

    exit_status = 65

    def __init__(self, message: str, *, at: Location, hint: str = "") -> None:
        super().__init__(plain(message))
        self.at = at
        self.hint = plain(hint)

    @property
    def text(self) -> str:
        """What is wrong, without where."""
        return f"{self.args[0]} ({self.hint})" if self.hint else str(self.args[0])

    def __str__(self) -> str:
        return f"{self.at}: {self.text}"


class ConfigErrors(QsuperError):
    """Everything that is wrong in a file, one `ConfigError` each, in the order of the lines."""

    exit_status = 65

    def __init__(self, errors: Iterable[ConfigError]) -> None:
        self.errors = tuple(sorted(errors, key=lambda error: (error.at.path, error.at.line)))
        super().__init__("\n".join(map(str, self.errors)))


class UnavailableError(QsuperError):
    """This host has no such emulator, accelerator or feature."""

    exit_status = 69


class TimedOutError(QsuperError):
    """What was asked for did not happen in time."""

    exit_status = 75


class EmulatorError(QsuperError):
    """QEMU did not start, or ended when nobody asked it to."""


_LACKS: Final = frozenset(
    {
        errno.EACCES,
        errno.EAGAIN,
        errno.EDQUOT,
        errno.EIO,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
        errno.ENOSPC,
        errno.EPERM,
        errno.EROFS,
    }
)


def first(error: BaseException) -> BaseException:
    """Give the first error of a group of them, or itself."""
    while isinstance(error, BaseExceptionGroup):
        # isinstance knows no parameter
        several: BaseExceptionGroup[BaseException] = error  # pyright: ignore[reportUnknownVariableType]
        error = several.exceptions[0]
    return error


def shortage(error: BaseException) -> QsuperError | None:
    """Give a system error as the user's, where the host lacks or forbids something.

    Any other is a bug and keeps its traceback: None. Of a group, all must be such errors; the
    first one speaks for all.
    """
    if isinstance(error, QsuperError):
        return error
    if isinstance(error, BaseExceptionGroup):
        # isinstance knows no parameter
        several: BaseExceptionGroup[BaseException] = error  # pyright: ignore[reportUnknownVariableType]
        found = [shortage(each) for each in several.exceptions]
        return found[0] if all(found) else None
    if not isinstance(error, OSError) or error.errno not in _LACKS:
        return None
    return QsuperError(": ".join(str(word) for word in (error.filename, error.strerror) if word))
