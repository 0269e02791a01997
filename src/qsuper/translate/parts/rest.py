"""The rest of `<domain>`: what is passed over in silence and what is refused."""

from collections.abc import Iterator
from typing import Final

from qsuper.errors import ConfigError
from qsuper.translate.node import Node

REFUSED: Final = {
    "launchSecurity": "encrypted guests are not supported yet",
    "keywrap": "only s390x guests have it, which are not supported",
    "bootloader": "only Xen guests have it",
}


def accept_harmless(node: Node) -> None:
    """Take as read what makes no difference to the guest; *node* is `<domain>`."""
    node.accept("title", "description", "metadata", "seclabel", "resource", "idmap")
    node.ignore("id")


def refused(node: Node) -> Iterator[ConfigError]:
    """Give an error for each element of `<domain>` that the guest would miss."""
    for found in node.children(*REFUSED):
        yield found.error(REFUSED[found.tag], hint="remove it")
