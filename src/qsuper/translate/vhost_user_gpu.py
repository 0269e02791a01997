"""vhost-user-gpu: the helper that draws for a graphics card outside of QEMU.

Source: QEMU `docs/interop/vhost-user-gpu.rst`, `contrib/vhost-user-gpu`.
"""

from collections.abc import Iterator
from typing import Final

from qsuper.options import Handle, HelperLink, Option, Word
from qsuper.plan import Helper

_PROGRAM: Final = "vhost-user-gpu"
_PACKAGE: Final = "qemu-system-gui"


def gpu_link(alias: str) -> HelperLink:
    """Give the connection with the QEMU of card *alias*."""
    return HelperLink(name=f"{alias}-{_PROGRAM}")


def gpu_helper(alias: str, *, has_virgl: bool, rendernode: str | None) -> Helper:
    """Give the process for card *alias*."""
    link = gpu_link(alias)
    words: list[Word] = [Handle(resource=link, shown=f"--fd=<{link.name}>", live="--fd={}")]
    if has_virgl:
        words.append("--virgl")
    if rendernode:
        words.append(f"--render-node={rendernode}")
    return Helper(
        name=link.name,
        serves=alias,
        program=_PROGRAM,
        package=_PACKAGE,
        words=tuple(words),
        link=link,
    )


def gpu_chardev(alias: str) -> Iterator[Option]:
    """Give QEMU's end."""
    link = gpu_link(alias)
    way = {"backend": "socket", "id": f"chr-vu-{alias}"}
    fd = Handle(resource=link, shown=f"<{link.name}>")
    yield Option.keyed("chardev", {**way, "fd": fd}, implied="backend")
