"""Damage to domain XML: a mutant has a few faults, which follow from its seed alone."""

import copy
from collections.abc import Callable, Sequence
from random import Random
from typing import Final, NamedTuple

from lxml import etree
from lxml.etree import _Element  # pyright: ignore[reportPrivateUsage]  # lxml exports no other

MARK: Final = "injekt"
"""Stands in values only; as the name of an option or a key it has broken out of one."""

_WORDS: Final = (
    "",
    " ",
    "-1",
    "0",
    "1",
    "2",
    "7",
    "31",
    "255",
    "65536",
    str(1 << 31),
    str(1 << 63),
    "9" * 30,
    "0x10",
    "0xffffffffffffffff",
    "1e9",
    "1.5",
    "-0",
    "+1",
    "\u0663",
    "\uff11",
    f"a,{MARK}=on",
    f"a,,{MARK}=on",
    f"a=b,{MARK}",
    f"-{MARK}",
    f'","{MARK}":"',
    f"'; {MARK} #",
    f"a\n-{MARK}\n",
    f"a b\t{MARK}",
    "x" * 5000,
    "x," * 500,
    "\x7f",
    "\x85\u2028",
    "\u202eabc",
    "\ufeff",
    "日本語",
    "ümläut",
    "🦉",
    "%s%n{0}{}",
    "${HOME}`id`",
    "../../etc/passwd",
    "/",
    "/dev/null",
    "::1",
    "[::]:1",
    "1.2.3.4",
    "yes",
    "no",
    "on",
    "off",
    "none",
    "default",
    "auto",
    "pci",
    "usb",
    "virtio",
    "00:00:00:00:00:00",
    "00000000-0000-0000-0000-000000000000",
    "0-3,^1",
    "0-4294967295",
    "1-0",
)


class Mutant(NamedTuple):
    """A damaged file and what it was made of."""

    origin: str
    data: bytes
    arch: str


class Parent(NamedTuple):
    """A file to make mutants of."""

    name: str
    data: bytes
    arch: str


def mutant(parents: Sequence[Parent], seed: str) -> Mutant:
    """Make the mutant of *seed*: one of *parents* with one to four faults."""
    dice = Random(seed)
    parent = dice.choice(parents)
    if dice.random() < 0.02:  # noqa: PLR2004 - seldom: most such faults are no XML any more
        return Mutant(parent.name, _garbled(parent.data, dice), parent.arch)
    root = etree.fromstring(parent.data)
    donor = etree.fromstring(dice.choice(parents).data)
    for _ in range(dice.choice((1, 1, 1, 2, 2, 3, 4))):
        fault = dice.choice(_FAULTS)
        fault(_Patient(root, donor, dice))
    return Mutant(parent.name, etree.tostring(root), parent.arch)


class _Patient(NamedTuple):
    root: _Element
    donor: _Element
    dice: Random

    def element(self) -> _Element:
        return self.dice.choice(_elements(self.root))

    def words(self) -> str:
        """Give a value that some file has in such a place, or one that none has."""
        if self.dice.random() < 0.25:  # noqa: PLR2004
            element = self.dice.choice(_elements(self.donor))
            return str(self.dice.choice([*element.attrib.values(), element.text or ""]))
        return self.dice.choice(_WORDS)


def _elements(root: _Element) -> list[_Element]:
    return [part for part in root.iter() if isinstance(part.tag, str)]


def _value(patient: _Patient) -> None:
    element = patient.element()
    if element.attrib:
        name = patient.dice.choice(sorted(map(str, element.attrib)))
        element.set(name, patient.words())


def _no_attribute(patient: _Patient) -> None:
    element = patient.element()
    if element.attrib:
        del element.attrib[patient.dice.choice(sorted(map(str, element.attrib)))]


def _other_attribute(patient: _Patient) -> None:
    donor = patient.dice.choice(_elements(patient.donor))
    if donor.attrib:
        name = patient.dice.choice(sorted(map(str, donor.attrib)))
        patient.element().set(name, donor.attrib[name])


def _text(patient: _Patient) -> None:
    patient.element().text = patient.words()


def _drop(patient: _Patient) -> None:
    element = patient.element()
    parent = element.getparent()
    if parent is not None:
        parent.remove(element)


def _double(patient: _Patient) -> None:
    element = patient.element()
    parent = element.getparent()
    if parent is not None:
        for _ in range(patient.dice.choice((1, 1, 2, 40))):
            parent.insert(parent.index(element), copy.deepcopy(element))


def _swap(patient: _Patient) -> None:
    one, other = patient.element(), patient.element()
    one.tag, other.tag = other.tag, one.tag


def _move(patient: _Patient) -> None:
    element, target = patient.element(), patient.element()
    inside = element is target or element in target.iterancestors()
    if element.getparent() is not None and not inside:
        target.append(element)


def _transplant(patient: _Patient) -> None:
    """Put a part of another file where it stands there, or anywhere."""
    part = patient.dice.choice(_elements(patient.donor))
    parent = part.getparent()
    if parent is None:
        return
    places = [each for each in _elements(patient.root) if each.tag == parent.tag]
    target = patient.dice.choice(places) if places else patient.element()
    target.append(copy.deepcopy(part))


_FAULTS: Final[tuple[Callable[[_Patient], None], ...]] = (
    _value,
    _value,
    _value,
    _no_attribute,
    _other_attribute,
    _text,
    _drop,
    _double,
    _swap,
    _move,
    _transplant,
    _transplant,
)


def _garbled(data: bytes, dice: Random) -> bytes:
    """Change bytes, whatever they are."""
    result = bytearray(data)
    for _ in range(dice.randint(1, 4)):
        place = dice.randrange(len(result))
        piece = dice.choice((b"\0", b"&#0;", b"&#1;", b"\xff\xfe", b"]]>", b"<", b"&x;", b""))
        result[place : place + dice.randint(0, 3)] = piece
    return bytes(result)
