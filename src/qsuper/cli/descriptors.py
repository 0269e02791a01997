"""What `qsuper translate` shows of files that QEMU inherits: numbers, and who opens them.

In a shell that is a redirection, so that what is pasted runs; a program is told path and manner.
"""

import os
import shlex
from collections.abc import Iterator, Sequence
from typing import Final

from msgspec.structs import replace

from qsuper.options import Access, Handle, OpenFile, Option, Tap, Value, VhostNet

_FIRST: Final = 3
_REDIRECTIONS: Final = {
    Access.READ: "<",
    Access.WRITE: ">",
    Access.APPEND: ">>",
    Access.READ_WRITE: "<>",
    Access.DEVICE: "<>",
}


class Shown:
    """Options as they are shown, and the files that must be open for them."""

    def __init__(self, options: Sequence[Option]) -> None:
        """Number the files of *options*, but for those that have a place only while `up` runs."""
        handles = [handle for option in options for handle in option.handles()]
        resources = {handle.resource.name: handle.resource for handle in handles}
        files = (file for file in resources.values() if isinstance(file, OpenFile))
        self._files = dict(enumerate((file for file in files if os.path.isabs(file.path)), _FIRST))
        self._numbers = {file.name: number for number, file in self._files.items()}
        self._options = options
        self.missing = tuple(
            dict.fromkeys(
                handle.shown for handle in handles if isinstance(handle.resource, Tap | VhostNet)
            )
        )
        """What nothing but `up` can make, by the words that stand for it."""

    def options(self) -> Iterator[Option]:
        """Give the options, with the numbers in their places."""
        for option in self._options:
            props = {key: self._numbered(value) for key, value in option.props.items()}
            yield replace(option, props=props)

    def redirections(self) -> Iterator[str]:
        """Give the words by which a shell opens the files."""
        for number, file in self._files.items():
            yield f"{number}{_REDIRECTIONS[file.access]}{shlex.quote(file.path)}"

    def rows(self) -> list[dict[str, object]]:
        """Give the files for a program."""
        return [
            {"fd": number, "path": file.path, "access": str(file.access)}
            for number, file in self._files.items()
        ]

    def _numbered(self, value: Value) -> Value:
        if isinstance(value, Handle) and value.resource.name in self._numbers:
            return value.live.format(self._numbers[value.resource.name])
        return value
