"""`<q:machine-path>`: the directory in which the QEMUs of one machine meet.

AMD's QEMU (formerly Xilinx') runs a process for each architecture of a chip. They share memory by
files in the directory of `-machine-path`, and talk by remote ports: UNIX sockets there, on which
the first to come listens and waits, until the other has connected, before its monitor answers.

Source: hw/core/remote-port.c and hw/misc/amd-ddr-memory.c of that QEMU.
"""

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Final, Self

from msgspec import Struct

from qsuper.errors import ConfigError
from qsuper.options import AtLaunch, Option
from qsuper.plan import Meeting
from qsuper.translate.node import Node
from qsuper.translate.parts.passthrough import OURS, QEMU
from qsuper.translate.site import Site

_OPTIONS: Final = ("-machine-path", "--machine-path")
_PREFIX: Final = "qemu-rport-"
_TYPE: Final = "remote-port"
_NAME: Final = re.compile(r"\w[\w.-]{0,39}", re.ASCII)
"""Short: a socket's path has 107 bytes, and QEMU has a name for it as well."""


class MachinePath(Struct, frozen=True, kw_only=True):
    """A directory of the group's, or one of the user's in `<qemu:commandline>`."""

    node: Node
    """Where it stands."""
    name: str
    """Members that name the same one have the same directory; a path where it is the user's."""
    is_users: bool

    @classmethod
    def parse(cls, node: Node, fabric: Node | None) -> Self | None:
        """Read `<q:machine-path>` in `<q:fabric>`, or the option itself of `<domain>`'s words.

        Raises:
            ConfigError: there are two, or the name is none for a directory.
        """
        own = list(fabric.children(f"{OURS}machine-path")) if fabric is not None else []
        given = list(_given(node))
        if len(own) + len(given) > 1:
            again = given[0][0] if own and given else (own or [given[1][0]])[-1]
            raise again.error("there are two machine paths", hint="<q:machine-path>, or the option")
        if given:
            return cls(node=given[0][0], name=given[0][1].rstrip("/"), is_users=True)
        if not own:
            return None
        name = own[0].required("name")
        if not _NAME.fullmatch(name):
            text = f"name='{name[:60]}' is no good"
            raise own[0].error(text, hint="letters, digits, dots and dashes, 40 at most")
        return cls(node=own[0], name=name, is_users=False)

    @property
    def meeting(self) -> Meeting:
        """Where the QEMUs find each other."""
        return Meeting(directory=self.name if self.is_users else self._live, prefix=_PREFIX)

    @property
    def _live(self) -> str:
        return f"group/{self.name}.machine-path"

    def options(self) -> Iterator[Option]:
        """Give `-machine-path`, unless the user does."""
        if not self.is_users:
            path = AtLaunch(shown=f"/tmp/{self.name}", live=self._live)  # noqa: S108 - to be pasted
            yield Option.word("machine-path", path)

    def problems(self, site: Site) -> Iterator[ConfigError]:
        """Give what keeps QEMU from it."""
        if self.is_users and not self.name.startswith("/"):
            yield self.node.error("-machine-path is no absolute path", hint="<q:machine-path>")
        if not self.is_users and not site.caps.has_type(_TYPE):
            text = "the emulator has no remote port"
            yield self.node.error(text, hint="<emulator> of AMD's QEMU for this architecture")


def _given(node: Node) -> Iterator[tuple[Node, str]]:
    """Find the option among the user's own words."""
    words = [
        arg for line in node.children(f"{QEMU}commandline") for arg in line.children(f"{QEMU}arg")
    ]
    for option, value in pairwise(words):
        if option.get("value") in _OPTIONS:
            yield value, value.get("value") or ""
