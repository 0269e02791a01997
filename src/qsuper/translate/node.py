"""An XML element with typed getters, whose errors say where it stands.

The tree remembers what was read of it, so that what nobody read can be reported: nothing in a
domain file is dropped silently.
"""

import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Final, TypeVar, overload

from lxml import etree
from lxml.etree import _Element  # pyright: ignore[reportPrivateUsage]  # lxml exports no other

from qsuper.errors import ConfigError, plain
from qsuper.location import Location, Notice
from qsuper.units import to_bytes

E = TypeVar("E", bound=StrEnum)

MAX_DEPTH: Final = 64
_HEXADECIMAL: Final = re.compile(r"(0[xX])?[0-9a-fA-F]{1,16}", re.ASCII)
_NUMBER: Final = re.compile(r"[+-]?(0[xX][0-9a-fA-F]+|[0-9]+)", re.ASCII)


class Document:
    """What all nodes of a file share."""

    __slots__ = ("base_dir", "path", "resolved")

    def __init__(self, path: str, base_dir: str) -> None:
        self.path = path
        self.base_dir = base_dir
        self.resolved: dict[tuple[int, str], str] = {}
        """Of each element, by its id, the relative paths and what they were made."""


class Node:
    """One element of a domain XML file.

    A getter marks what it reads. `unread` gives what no getter asked for.
    """

    __slots__ = (
        "_attributes",
        "_document",
        "_elements",
        "_read",
        "_seen",
        "line",
        "raw_text",
        "tag",
        "text",
    )

    def __init__(
        self,
        document: Document,
        tag: str,
        line: int,
        *,
        attributes: Mapping[str, str],
        elements: Sequence["Node"] = (),
        text: str = "",
    ) -> None:
        self._document = document
        self._attributes = attributes
        self._elements = elements
        self._read: set[str] = set()
        self._seen = False
        self.tag = tag
        """With a namespace as `{uri}name`."""
        self.line = line
        self.raw_text = text
        """With the white space around it."""
        self.text = text.strip()
        """Stripped of white space."""

    @property
    def at(self) -> Location:
        return Location(self._document.path, self.line)

    def error(self, message: str, *, hint: str = "") -> ConfigError:
        """Make an error that names this element and its line."""
        return ConfigError(f"<{_local(self.tag)}>: {message}", at=self.at, hint=hint)

    def notice(self, message: str) -> Notice:
        """Make a notice that names this element and its line."""
        return Notice(self.at, plain(f"<{_local(self.tag)}>: {message}"))

    # For those who only copy: nothing counts as read. Paths that were resolved are absolute.

    @property
    def attributes(self) -> Mapping[str, str]:
        return {name: self._absolute(value) for name, value in self._attributes.items()}

    @property
    def content(self) -> str:
        """The text with the white space around it, a path without."""
        path = self._absolute(self.text)
        return self.raw_text if path == self.text else path

    def _absolute(self, text: str) -> str:
        return self._document.resolved.get((id(self), text), text)

    @property
    def elements(self) -> Sequence["Node"]:
        return self._elements

    # Elements

    def children(self, *tags: str) -> Iterator["Node"]:
        """Give the elements with one of *tags*, in document order; with no tag, all."""
        for element in self._elements:
            if not tags or element.tag in tags:
                element._seen = True  # noqa: SLF001 - of the same class
                yield element

    def child(self, tag: str) -> "Node | None":
        """Give the first element *tag*, as libvirt does; further ones count as read."""
        found: Node | None = None
        for element in self._elements:
            if element.tag == tag:
                element._seen = True  # noqa: SLF001 - of the same class
                found = found or element
        return found

    def required_child(self, tag: str) -> "Node":
        """Give the element *tag*.

        Raises:
            ConfigError: there is none.
        """
        found = self.child(tag)
        if found is None:
            raise self.error(f"<{_local(tag)}> is missing")
        return found

    def child_text(self, tag: str) -> str | None:
        """Give the text of the element *tag*; None without the element."""
        found = self.child(tag)
        return found.text if found is not None else None

    # Attributes

    def has(self, name: str) -> bool:
        """Tell whether attribute *name* is there, without reading it."""
        return name in self._attributes

    def get(self, name: str) -> str | None:
        """Read attribute *name*."""
        self._read.add(name)
        return self._attributes.get(name)

    def required(self, name: str) -> str:
        """Read attribute *name*.

        Raises:
            ConfigError: it is missing or empty.
        """
        text = self.get(name)
        if not text:
            raise self.error(f"attribute '{name}' is missing")
        return text

    @overload
    def enum(self, name: str, kind: type[E]) -> E: ...
    @overload
    def enum(self, name: str, kind: type[E], default: E) -> E: ...
    @overload
    def enum(self, name: str, kind: type[E], default: None) -> E | None: ...
    def enum(self, name: str, kind: type[E], default: object = ...) -> E | None:
        """Read attribute *name* as one of the words of *kind*; required without a *default*.

        Raises:
            ConfigError: it is another word, or missing.
        """
        text = self.get(name)
        if text is None:
            if default is ...:
                raise self.error(f"attribute '{name}' is missing", hint=_words(kind))
            return default  # type: ignore[return-value]  # the overloads say what it is
        return self._word(text, kind, f"{name}=")

    def enum_text(self, kind: type[E]) -> E:
        """Read the element's text as one of the words of *kind*.

        Raises:
            ConfigError: it is another word.
        """
        return self._word(self.text, kind, "")

    def integer(self, name: str, *, low: int | None = None, high: int | None = None) -> int | None:
        """Read attribute *name* as a decimal or 0x-hexadecimal number, *low* to *high*.

        Raises:
            ConfigError: it is no number, or out of range.
        """
        text = self.get(name)
        if text is None:
            return None
        return self._number(text, f"{name}=", low, high)

    def required_integer(
        self, name: str, *, low: int | None = None, high: int | None = None
    ) -> int:
        """Read attribute *name* as `integer` does.

        Raises:
            ConfigError: it is missing, no number, or out of range.
        """
        return self._number(self.required(name), f"{name}=", low, high)

    def hexadecimal(self, name: str) -> int | None:
        """Read attribute *name* as a hexadecimal number, with or without 0x.

        Raises:
            ConfigError: it is none.
        """
        text = self.get(name)
        if text is None:
            return None
        if not _HEXADECIMAL.fullmatch(text):
            raise self.error(f"{name}='{text[:60]}' is no hexadecimal number")
        return int(text, 16)

    def integer_text(self, *, low: int | None = None, high: int | None = None) -> int:
        """Read the element's text as `integer` reads an attribute."""
        return self._number(self.text, "", low, high)

    def yes_no(self, name: str) -> bool | None:
        """Read attribute *name*: `yes` or `no`; None where it is missing."""
        return self._either(name, "yes", "no")

    def required_yes_no(self, name: str) -> bool:
        """Read attribute *name*: `yes` or `no`.

        Raises:
            ConfigError: it is another word, or missing.
        """
        value = self.yes_no(name)
        if value is None:
            raise self.error(f"attribute '{name}' is missing", hint="yes or no")
        return value

    def on_off(self, name: str) -> bool | None:
        """Read attribute *name*: `on` or `off`; None where it is missing."""
        return self._either(name, "on", "off")

    def bytes_text(self, default_unit: str = "KiB") -> int:
        """Read the element's text as a quantity in the unit of its `unit` attribute, in bytes.

        Raises:
            ConfigError: it is no number, or the unit is none of libvirt's.
        """
        return self._quantity(self.text, "", default_unit)

    def quantity(self, name: str, default_unit: str = "KiB") -> int | None:
        """Read attribute *name* as a quantity in the unit of the `unit` attribute, in bytes.

        Raises:
            ConfigError: it is no number, or the unit is none of libvirt's.
        """
        text = self.get(name)
        return None if text is None else self._quantity(text, f"{name}=", default_unit)

    def file(self, name: str) -> str | None:
        """Read attribute *name* as a file's path; a relative one is taken from the XML file."""
        text = self.get(name)
        return self.resolve(text) if text else None

    def file_text(self) -> str:
        """Read the element's text as `file` reads an attribute."""
        return self.resolve(self.text) if self.text else ""

    def resolve(self, path: str) -> str:
        """Make *path* absolute, from the directory of the XML file."""
        if not self._document.base_dir or posixpath.isabs(path):
            return path
        result = posixpath.normpath(posixpath.join(self._document.base_dir, path))
        self._document.resolved[id(self), path] = result
        return result

    # What was not read

    def ignore(self, *names: str) -> None:
        """Take attributes as read: they make no difference to the guest."""
        self._read.update(names)

    def accept(self, *tags: str) -> None:
        """Take the elements *tags* with all that is in them as read; without tags, this node."""
        if not tags:
            self._seen = True
            self._read.update(self._attributes)
        for element in self._elements:
            if not tags or element.tag in tags:
                element.accept()

    def unread(self) -> Iterator[Notice]:
        """Give a notice for every element and attribute below that nobody read."""
        for name in self._attributes.keys() - self._read:
            if not name.startswith("{"):  # of a foreign namespace
                yield self.notice(f"attribute '{name}' is not supported and has no effect")
        for element in self._elements:
            if element._seen:  # noqa: SLF001 - of the same class
                yield from element.unread()
            elif not element.tag.startswith("{"):
                yield element.notice("not supported here, has no effect")

    # Conversions

    def _word(self, text: str, kind: type[E], where: str) -> E:
        try:
            return kind(text)
        except ValueError:
            raise self.error(f"{where}'{text}' is unknown", hint=_words(kind)) from None

    def _number(self, text: str, where: str, low: int | None, high: int | None) -> int:
        if not _NUMBER.fullmatch(text) or len(text) > 40:  # noqa: PLR2004 - far over 64 bits
            raise self.error(f"{where}'{text[:60]}' is not a number")
        value = int(text, 0) if "x" in text.lower() else int(text)
        if (low is not None and value < low) or (high is not None and value > high):
            span = f"{'' if low is None else low}..{'' if high is None else high}"
            raise self.error(f"{where}'{text}' is out of range", hint=span)
        return value

    def _either(self, name: str, true: str, false: str) -> bool | None:
        text = self.get(name)
        if text is None:
            return None
        if text not in (true, false):
            raise self.error(f"{name}='{text}' is unknown", hint=f"{true} or {false}")
        return text == true

    def _quantity(self, text: str, where: str, default_unit: str) -> int:
        unit = self.get("unit") or default_unit
        value = self._number(text, where, 0, None)
        try:
            return to_bytes(value, unit)
        except ValueError as error:
            raise self.error(str(error), hint="b, KiB, MiB, GiB, TiB, KB, MB, ...") from None


def parse_xml(data: bytes, path: str, base_dir: str = "") -> Node:
    """Parse a file's content.

    Args:
        data: The file's bytes.
        path: How errors name the file.
        base_dir: Where relative paths in the file are taken from; empty leaves them as they are.

    Raises:
        ConfigError: it is no well-formed XML, has a DOCTYPE, or is nested deeper than MAX_DEPTH.
    """
    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )
    try:
        root = etree.fromstring(data, parser)
    except etree.XMLSyntaxError as error:
        line = error.lineno or 1
        raise ConfigError(f"not well-formed XML: {error.msg}", at=Location(path, line)) from None
    except ValueError as error:
        raise ConfigError(f"not well-formed XML: {error}", at=Location(path, 1)) from None
    if root.getroottree().docinfo.doctype:
        raise ConfigError("a DOCTYPE is refused", at=Location(path, 1), hint="remove it")
    return _convert(root, Document(path, base_dir), 0)


def _convert(element: _Element, document: Document, depth: int) -> Node:
    line = element.sourceline or 0
    if depth > MAX_DEPTH:
        raise ConfigError("elements are nested too deeply", at=Location(document.path, line))
    parts = list(element)
    text = element.text or ""
    if parts:
        text = "".join((text, *(part.tail or "" for part in parts)))
    return Node(
        document,
        str(element.tag),
        line,
        attributes=dict(element.items()),
        elements=[_convert(part, document, depth + 1) for part in parts],
        text=text,
    )


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]


def _words(kind: type[StrEnum]) -> str:
    return f"one of {', '.join(kind)}"
