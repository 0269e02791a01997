"""A tree of nodes that notes what is asked of it, and what was there to answer."""

from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import TypeVar

from msgspec import Struct, field

from qsuper.translate.node import Document, Node

E = TypeVar("E", bound=StrEnum)


class Attribute(Struct):
    """What is known of one attribute, or of an element's text."""

    values: dict[str, None] = field(default_factory=dict[str, None])
    """What it may be: words, or a kind of value."""
    is_idle: bool = False
    """It is taken in silence, without effect."""
    is_met: bool = False
    """A domain had it when it was asked for."""


class Place(Struct):
    """What is known of the elements of one path."""

    attributes: dict[str, Attribute] = field(default_factory=dict[str, Attribute])
    text: Attribute | None = None
    is_idle: bool = False
    is_met: bool = False
    met: int = 0
    """How many elements of the domains were asked something."""
    passed_over: int = 0
    """How many of them were no more than checked."""

    @property
    def has_no_effect(self) -> bool:
        return self.is_idle or 0 < self.met == self.passed_over


Places = dict[str, Place]
"""By path below `<domain>`, such as `devices/disk/driver`; the root is empty."""


class WitnessNode(Node):
    """An element that notes every question."""

    __slots__ = ("is_passed_over", "named", "path", "places", "raw_path")

    def __init__(
        self, original: Node, path: str, places: Places, named: Callable[[str], str]
    ) -> None:
        self.path = named(path)
        self.raw_path = path
        self.places = places
        self.named = named
        self.is_passed_over = False
        below = [
            WitnessNode(part, f"{path}/{part.tag}".lstrip("/"), places, named)
            for part in original.elements
        ]
        super().__init__(
            Document(original.at.path, "/vm"),
            original.tag,
            original.line,
            attributes=original.attributes,
            elements=below,
            text=original.raw_text,
        )

    @property
    def place(self) -> Place:
        place = self.places.setdefault(self.path, Place())
        place.is_met = True
        return place

    def _below(self, tag: str) -> Place:
        path = self.named(f"{self.raw_path}/{tag}".lstrip("/"))
        return self.places.setdefault(path, Place())

    def note(self, name: str, *values: str) -> None:
        attribute = self.place.attributes.setdefault(name, Attribute())
        attribute.values.update(dict.fromkeys(values))
        attribute.is_met = attribute.is_met or self.has(name)

    def note_text(self, *values: str) -> None:
        place = self.place
        place.text = place.text or Attribute()
        place.text.is_met = True
        place.text.values.update(dict.fromkeys(values))

    # The questions

    def _note_below(self, *tags: str) -> None:
        for tag in tags:
            place = self._below(tag)
            place.is_met = place.is_met or any(part.tag == tag for part in self.elements)

    def child(self, tag: str) -> Node | None:
        self._note_below(tag)
        return super().child(tag)

    def children(self, *tags: str) -> Iterator[Node]:
        self._note_below(*tags)
        return super().children(*tags)

    def child_text(self, tag: str) -> str | None:
        found = self.child(tag)
        if isinstance(found, WitnessNode):
            found.note_text("text")
        return super().child_text(tag)

    def has(self, name: str) -> bool:
        attribute = self.place.attributes.setdefault(name, Attribute())
        attribute.is_met = attribute.is_met or super().has(name)
        return super().has(name)

    def get(self, name: str) -> str | None:
        attribute = self.place.attributes.setdefault(name, Attribute())
        attribute.is_met = attribute.is_met or super().has(name)
        attribute.is_idle = False
        return super().get(name)

    def enum(self, name: str, kind: type[E], default: object = ...) -> E | None:  # type: ignore[override]  # the overloads of Node
        self.note(name, *kind)
        return super().enum(name, kind, default)  # type: ignore[call-overload,no-any-return]  # likewise

    def enum_text(self, kind: type[E]) -> E:
        self.note_text(*kind)
        return super().enum_text(kind)

    def integer(self, name: str, *, low: int | None = None, high: int | None = None) -> int | None:
        self.note(name, _span(low, high))
        return super().integer(name, low=low, high=high)

    def required_integer(
        self, name: str, *, low: int | None = None, high: int | None = None
    ) -> int:
        self.note(name, _span(low, high))
        return super().required_integer(name, low=low, high=high)

    def integer_text(self, *, low: int | None = None, high: int | None = None) -> int:
        self.note_text(_span(low, high))
        return super().integer_text(low=low, high=high)

    def yes_no(self, name: str) -> bool | None:
        self.note(name, "yes", "no")
        return super().yes_no(name)

    def on_off(self, name: str) -> bool | None:
        self.note(name, "on", "off")
        return super().on_off(name)

    def bytes_text(self, default_unit: str = "KiB") -> int:
        self.note_text("a size")
        self.note("unit", "a unit")
        return super().bytes_text(default_unit)

    def quantity(self, name: str, default_unit: str = "KiB") -> int | None:
        self.note(name, "a size")
        self.note("unit", "a unit")
        return super().quantity(name, default_unit)

    def file(self, name: str) -> str | None:
        self.note(name, "a path")
        return super().file(name)

    def file_text(self) -> str:
        self.note_text("a path")
        return super().file_text()

    # What has no effect

    def ignore(self, *names: str) -> None:
        for name in names:
            attribute = self.place.attributes.setdefault(name, Attribute(is_idle=True))
            attribute.is_met = attribute.is_met or super().has(name)
        super().ignore(*names)

    def accept(self, *tags: str) -> None:
        for tag in tags:
            place = self._below(tag)
            place.is_idle = not place.attributes and place.text is None
            place.is_met = place.is_met or any(part.tag == tag for part in self.elements)
        self.is_passed_over = self.is_passed_over or not tags
        super().accept(*tags)

    def tally(self) -> None:
        """Count the elements that have been read, once the translation is done."""
        if self.path in self.places:
            self.places[self.path].met += 1
            self.places[self.path].passed_over += self.is_passed_over
        for part in self.elements:
            if isinstance(part, WitnessNode):
                part.is_passed_over = part.is_passed_over or self.is_passed_over
                part.tally()


def _span(low: int | None, high: int | None) -> str:
    if low is None and high is None:
        return "a number"
    return f"{'' if low is None else low}..{'' if high is None else _short(high)}"


def _short(number: int) -> str:
    """Write a round number as a power of two."""
    for value, sign in ((number, ""), (number + 1, " - 1")):
        bits = value.bit_length() - 1
        if bits > 16 and value == 1 << bits:  # noqa: PLR2004 - smaller ones are read well
            return f"2^{bits}{sign}"
    return str(number)
