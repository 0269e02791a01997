"""What libvirt's own schema says of a domain, where it is installed.

libxml2 says no more of an invalid domain than that it is: so the culprit is found by trying. Each
part of the domain is judged alone, in a domain that is valid; of a part that is not, the attribute
or element is looked for without which it would be.
"""

import os
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from lxml import etree
from lxml.etree import _Element  # pyright: ignore[reportPrivateUsage]  # lxml exports no other

from qsuper.host.files import XmlFile
from qsuper.location import Location, Notice
from qsuper.translate.node import Node

DEFAULT_PATH: Final = "/usr/share/libvirt/schemas/domain.rng"
_OURS: Final = "domaindependency"
_NEEDED: Final = ("name", "uuid", "memory", "currentMemory", "vcpu", "os", "devices")
"""Parts without which no domain is judged; the others are judged alone."""


def libvirt_notices(file: XmlFile, path: str = DEFAULT_PATH) -> Iterator[Notice]:
    """Say what stock libvirt would ignore or reject in a file.

    libvirt itself takes what its schema does not know, unless it is told to validate: so these are
    notices. Relative paths that translation resolved count as the absolute ones that they became.

    Args:
        file: The file, translated before.
        path: The schema; without it only what is ours is told.
    """
    tree = etree.fromstring(file.data, etree.XMLParser(remove_comments=True, remove_pis=True))
    for element, node in zip(tree.iter(etree.Element), _nodes(file.root), strict=True):
        for name, value in node.attributes.items():
            element.set(name, value)
        if node.text and not len(element):
            element.text = node.content
    for element in list(tree.iterfind(f"devices/{_OURS}")):
        yield _notice(file, element, "stock libvirt ignores it and starts the domain alone")
        _remove(element)
    if os.path.exists(path):
        judge = _Judge(_schema(path))
        for element, text in judge.findings(tree):
            yield _notice(file, element, f"not in libvirt's schema: {text}")


@lru_cache(maxsize=1)
def _schema(path: str) -> etree.RelaxNG:
    return etree.RelaxNG(etree.parse(path))


class _Judge:
    def __init__(self, schema: etree.RelaxNG) -> None:
        self._is_valid = schema.validate

    def findings(self, domain: _Element) -> Iterator[tuple[_Element, str]]:
        """Give the culprits and what is wrong with each; *domain* is changed on the way."""
        if self._is_valid(domain):
            return
        homes = [(part, domain) for part in domain if part.tag not in _NEEDED]
        for section in domain.iterfind("devices"):
            homes += [(part, section) for part in section]
        for part, home in homes:
            home.remove(part)
        yield from self._culprits(domain, domain)
        if not self._is_valid(domain):
            return  # then the other parts can't be judged
        for part, home in homes:
            home.append(part)
            yield from self._culprits(domain, part)
            home.remove(part)

    def _culprits(self, domain: _Element, part: _Element) -> Iterator[tuple[_Element, str]]:
        """Find that without which *part* of *domain* would be valid; it is left out."""
        while not self._is_valid(domain):
            found = self._attribute(domain, part) or self._element(domain, part)
            if found is None:
                yield part, "the element as it is"
                return
            yield found

    def _attribute(self, domain: _Element, part: _Element) -> tuple[_Element, str] | None:
        for element in part.iter(etree.Element):
            for name in map(str, element.attrib):
                value = element.attrib.pop(name)
                if self._is_valid(domain):
                    return element, f"attribute {name}='{value}'"
                element.set(name, value)
        return None

    def _element(self, domain: _Element, part: _Element) -> tuple[_Element, str] | None:
        for element in list(part.iterdescendants(etree.Element)):
            home = element.getparent()
            if home is None:
                continue
            place = home.index(element)
            home.remove(element)
            if self._is_valid(domain):
                return element, f"the element in <{etree.QName(home).localname}>"
            home.insert(place, element)
        return None


def _nodes(node: Node) -> Iterator[Node]:
    yield node
    for part in node.elements:
        yield from _nodes(part)


def _notice(file: XmlFile, element: _Element, text: str) -> Notice:
    name = etree.QName(element).localname
    return Notice(Location(file.path, element.sourceline or 0), f"<{name}>: {text}")


def _remove(element: _Element) -> None:
    home = element.getparent()
    if home is not None:
        home.remove(element)
