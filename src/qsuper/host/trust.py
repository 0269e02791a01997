"""What a domain file from somebody else must not contain: `--no-qemu-namespace`.

Words for QEMU's command line are as good as code: `-chardev file`, `-fw_cfg`, `-plugin`. An
`<emulator>` is code, and is run to be asked what it can do, before anything else is looked at.
What remains is what a domain file is for: the files, devices and networks that it names
(docs/SECURITY.md).
"""

import os
import re
from collections.abc import Iterator
from typing import Final

from qsuper.errors import ConfigError, ConfigErrors
from qsuper.translate.node import Node
from qsuper.translate.parts.passthrough import QEMU

_ELEMENTS: Final = ("commandline", "override", "capabilities", "deprecation")
_EMULATOR: Final = re.compile(r"qemu-system-[a-z0-9_]+|qemu-kvm|kvm")
_OUTSIDE_PATH: Final = ("/usr/libexec",)


def check_untrusted(root: Node) -> None:
    """Check that a file brings no code of its own.

    Raises:
        ConfigErrors: it has elements of QEMU's namespace, or an emulator that is none of this
            host's.
    """
    if problems := list(_problems(root)):
        raise ConfigErrors(problems)


def _problems(root: Node) -> Iterator[ConfigError]:
    for node in root.children(*(f"{QEMU}{name}" for name in _ELEMENTS)):
        yield node.error("is refused by --no-qemu-namespace")
    for devices in root.children("devices"):
        for emulator in devices.children("emulator"):
            if emulator.text and not _is_of_the_host(emulator.text):
                hint = "without <emulator>, qemu-system-ARCH from PATH is taken"
                yield emulator.error("is refused by --no-qemu-namespace", hint=hint)


def _is_of_the_host(path: str) -> bool:
    directory, name = os.path.split(path)
    if not _EMULATOR.fullmatch(name):
        return False
    known = (*os.environ.get("PATH", os.defpath).split(":"), *_OUTSIDE_PATH)
    return not directory or directory in filter(os.path.isabs, known)
