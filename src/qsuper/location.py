"""Places in domain XML files, and what is to be said of them.

Beside `errors`, which every command loads: `typing`, that this needs, takes 5 ms.
"""

from typing import NamedTuple


class Location(NamedTuple):
    """A place in a domain XML file."""

    path: str
    line: int
    """From 1; 0 where the file as a whole is meant."""

    def __str__(self) -> str:
        return f"{self.path}:{self.line}" if self.line else self.path


class Notice(NamedTuple):
    """Something the user should know about a file that is no error."""

    at: Location
    message: str

    def __str__(self) -> str:
        return f"{self.at}: {self.message}"
