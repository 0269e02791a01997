"""An XML element that can be changed and written; a copy of what was read, or a new one."""

import re
from collections.abc import Iterator, Mapping
from typing import Final, Self

from msgspec import Struct, field

from qsuper.translate.node import Node

_XML: Final = "http://www.w3.org/XML/1998/namespace"
_STEP: Final = "  "
_PREFIXES: Final = {
    "http://libvirt.org/schemas/domain/qemu/1.0": "qemu",
    "urn:qsuper:domain:1": "q",
    _XML: "xml",
}
"""The usual ones; others become `ns1`, `ns2`, ..."""
_ESCAPED: Final = re.compile('[&<>"\t\n\r]')
_ESCAPES: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"}


class Element(Struct, kw_only=True):
    """An element of the tree that is being written."""

    tag: str
    """With a namespace as `{uri}name`."""
    attributes: dict[str, str] = field(default_factory=dict[str, str])
    children: list["Element"] = field(default_factory=list["Element"])
    text: str = ""

    @classmethod
    def copied(cls, node: Node, tag: str = "") -> Self:
        """Copy what was read, however deep; with another *tag*, if one is given."""
        children = [cls.copied(part) for part in node.elements]
        return cls(
            tag=tag or node.tag,
            attributes={**node.attributes},
            children=list(children),
            text=node.content if node.text else "",
        )

    def child(self, tag: str) -> "Element":
        """Give the first element *tag*; a new one where there is none."""
        for child in self.children:
            if child.tag == tag:
                return child
        new = Element(tag=tag)
        self.children.append(new)
        return new

    def put(self, path: str, value: object) -> None:
        """Set an attribute (`target@dev`, `@type`) or a text (`os/type`) below; None leaves it."""
        if value is None:
            return
        steps, at, name = path.partition("@")
        element = self
        for tag in filter(None, steps.split("/")):
            element = element.child(tag)
        if at:
            element.attributes[name] = str(value)
        else:
            element.text = str(value)

    def put_early(self, tag: str, text: str) -> None:
        """Set the text of the element *tag*, which comes second where there is none yet."""
        if all(child.tag != tag for child in self.children):
            self.children.insert(1, Element(tag=tag))
        self.put(tag, text)

    def written(self) -> str:
        """Write the tree as a document."""
        prefixes: dict[str, str] = {}
        for uri in dict.fromkeys(_namespaces(self)):
            prefixes[uri] = _PREFIXES.get(uri) or f"ns{len(prefixes) + 1}"
        declared = {f"xmlns:{prefix}": uri for uri, prefix in prefixes.items() if uri != _XML}
        return "\n".join(_lines(self, prefixes, declared, "")) + "\n"


def _namespaces(element: Element) -> Iterator[str]:
    for name in (element.tag, *element.attributes):
        if name.startswith("{"):
            yield name[1:].partition("}")[0]
    for child in element.children:
        yield from _namespaces(child)


def _lines(
    element: Element, prefixes: Mapping[str, str], extra: Mapping[str, str], indent: str
) -> Iterator[str]:
    name = _name(element.tag, prefixes)
    attributes = {
        **{_name(key, prefixes): value for key, value in element.attributes.items()},
        **extra,
    }
    head = indent + "<" + name
    head += "".join(f' {key}="{_escaped(value)}"' for key, value in attributes.items())
    text = _escaped(element.text.strip() if element.children else element.text)
    if not element.children:
        yield f"{head}>{text}</{name}>" if text else f"{head}/>"
        return
    yield f"{head}>{text}"
    for child in element.children:
        yield from _lines(child, prefixes, {}, indent + _STEP)
    yield f"{indent}</{name}>"


def _name(name: str, prefixes: Mapping[str, str]) -> str:
    if not name.startswith("{"):
        return name
    uri, _, local = name[1:].partition("}")
    return f"{prefixes[uri]}:{local}"


def _escaped(text: str) -> str:
    return _ESCAPED.sub(lambda found: _ESCAPES.get(found[0]) or f"&#{ord(found[0])};", text)
