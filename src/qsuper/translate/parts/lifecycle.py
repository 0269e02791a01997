"""`<on_poweroff>`, `<on_reboot>`, `<on_crash>`: what follows when the guest ends by itself."""

from enum import StrEnum, unique
from typing import Self

from msgspec import Struct

from qsuper.errors import ConfigError
from qsuper.plan import Lifecycle, OnEnd
from qsuper.translate.node import Node

_COREDUMPS = (OnEnd.COREDUMP_DESTROY, OnEnd.COREDUMP_RESTART)


@unique
class _OnLockFailure(StrEnum):
    """What follows when the lease of a disk is lost; QEMU guests know no leases without libvirt."""

    POWEROFF = "poweroff"
    RESTART = "restart"
    PAUSE = "pause"
    IGNORE = "ignore"


class LifecyclePart(Struct, frozen=True, kw_only=True):
    """What the XML says of the guest's end."""

    lifecycle: Lifecycle

    @classmethod
    def parse(cls, node: Node) -> Self:
        """Read the elements of `<domain>`.

        Raises:
            ConfigError: an unknown word, or a core dump where nothing has crashed.
        """
        lock = node.child("on_lockfailure")
        if lock is not None and lock.text:
            lock.enum_text(_OnLockFailure)
        return cls(
            lifecycle=Lifecycle(
                on_poweroff=_word(node, "on_poweroff", OnEnd.DESTROY),
                on_reboot=_word(node, "on_reboot", OnEnd.RESTART),
                on_crash=_word(node, "on_crash", OnEnd.DESTROY),
            )
        )


def _word(node: Node, tag: str, default: OnEnd) -> OnEnd:
    found = node.child(tag)
    if found is None:
        return default
    word = found.enum_text(OnEnd)
    if word in _COREDUMPS and tag != "on_crash":
        raise _misplaced(found, word)
    if word is OnEnd.RENAME_RESTART:
        raise found.error("only Xen guests are restarted under another name", hint="restart")
    return word


def _misplaced(found: Node, word: OnEnd) -> ConfigError:
    return found.error(f"'{word}' is for <on_crash> only", hint="destroy, restart or preserve")
