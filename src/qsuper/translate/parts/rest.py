"""The rest of `<domain>`: what is passed over in silence and what is refused."""

from collections.abc import Iterator
from typing import Final

from qsuper.errors import ConfigError
from qsuper.translate.node import Node
from qsuper.translate.seclabel import label_problems

REFUSED: Final = {
    "launchSecurity": "encrypted guests are not supported yet",
    "keywrap": "only s390x guests have it, which are not supported",
    "bootloader": "only Xen guests have it",
    "bootloader_args": "only Xen guests have it",
}


def accept_harmless(node: Node) -> None:
    """Take as read what makes no difference to the guest; *node* is `<domain>`."""
    node.accept("title", "description", "metadata", "resource")
    node.ignore("id")


def refused(node: Node) -> Iterator[ConfigError]:
    """Give an error for each element of `<domain>` that the guest would miss."""
    for found in node.children(*REFUSED):
        yield found.error(REFUSED[found.tag], hint="remove it")
    title = node.child("title")
    if title is not None and "\n" in title.raw_text:
        yield title.error("it is more than one line", hint="<description>")
    yield from label_problems(node)
    yield from _resource_problems(node)
    for found in node.children("idmap"):
        yield from _idmap_problems(found)


def _resource_problems(node: Node) -> Iterator[ConfigError]:
    found = list(node.children("resource"))
    for extra in found[1:]:
        yield extra.error("there is only one", hint="one of each")
    for resource in found[:1]:
        channel = resource.child("fibrechannel")
        if not resource.child_text("partition") and (channel is None or not channel.get("appid")):
            yield resource.error("it says nothing", hint="<partition>/machine</partition>")


def _idmap_problems(node: Node) -> Iterator[ConfigError]:
    if (node.child("uid") is None) is not (node.child("gid") is None):
        yield node.error("users and groups must both be mapped", hint="<uid> and <gid>")
    for found in node.children("uid", "gid"):
        texts = [found.get(name) or "" for name in ("start", "target", "count")]
        if not all(text.isascii() and text.isdigit() for text in texts):
            yield found.error("start=, target= and count= are numbers")
        elif all(int(other.get("start") or "1") for other in node.children(found.tag)):
            yield found.error("the container's root must be mapped", hint="start='0'")
    node.accept()
