"""What in a domain file makes no difference to the guest and is passed over in silence."""

from qsuper.translate.node import Node


def accept_harmless(node: Node) -> None:
    """Take as read what needs no effect; *node* is `<domain>`."""
    node.accept("title", "description", "metadata", "seclabel", "resource", "bootloader")
    node.ignore("id")
