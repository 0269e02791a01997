"""`<on_poweroff>`, `<on_reboot>`, `<on_crash>`: what follows when the guest ends by itself."""

from dataclasses import dataclass
from typing import Self

from qsuper.plan import Lifecycle, OnEnd
from qsuper.translate.node import Node


@dataclass(frozen=True, slots=True, kw_only=True)
class LifecyclePart:
    """What the XML says of the guest's end."""

    lifecycle: Lifecycle

    @classmethod
    def parse(cls, node: Node) -> Self:
        """Read the three elements of `<domain>`."""
        return cls(
            lifecycle=Lifecycle(
                on_poweroff=_word(node, "on_poweroff", OnEnd.DESTROY),
                on_reboot=_word(node, "on_reboot", OnEnd.RESTART),
                on_crash=_word(node, "on_crash", OnEnd.DESTROY),
            )
        )


def _word(node: Node, tag: str, default: OnEnd) -> OnEnd:
    found = node.child(tag)
    return default if found is None else found.enum_text(OnEnd)
