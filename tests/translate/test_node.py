"""Reading XML: typed values, places, and what nobody read."""

from enum import StrEnum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsuper.errors import ConfigError
from qsuper.translate.node import MAX_DEPTH, Document, Node, parse_xml


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


def node(xml: str, base_dir: str = "") -> Node:
    return parse_xml(xml.encode(), "vm.xml", base_dir)


def message(xml: str) -> str:
    with pytest.raises(ConfigError) as caught:
        node(xml)
    return str(caught.value)


def test_errors_name_file_line_and_element() -> None:
    root = node("<a>\n\n  <b colour='green'/></a>")

    with pytest.raises(ConfigError) as caught:
        root.required_child("b").enum("colour", Colour)

    assert str(caught.value) == "vm.xml:3: <b>: colour='green' is unknown (one of red, blue)"


def test_a_word_may_be_left_out_where_there_is_a_default() -> None:
    root = node("<a/>")

    assert root.enum("colour", Colour, Colour.RED) is Colour.RED
    assert root.enum("colour", Colour, None) is None
    with pytest.raises(ConfigError, match="attribute 'colour' is missing"):
        root.enum("colour", Colour)


@pytest.mark.parametrize(("text", "value"), [("12", 12), ("0x1F", 31), ("010", 10), ("-3", -3)])
def test_numbers(text: str, value: int) -> None:
    assert node(f"<a n='{text}'/>").integer("n") == value


@given(st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1))
def test_a_text_is_a_number_or_an_error_with_a_line(text: str) -> None:
    root = Node(Document("vm.xml", ""), "a", 1, attributes={"n": text})

    try:
        value = root.integer("n", low=0, high=100)
    except ConfigError as error:
        assert str(error).startswith("vm.xml:1: <a>: n=")  # noqa: PT017 - either way is right
    else:
        assert value is not None
        assert 0 <= value <= 100


def test_quantities_have_units() -> None:
    root = node("<a><memory unit='GiB'>2</memory><memory>4</memory><bad unit='ell'>1</bad></a>")

    assert [part.bytes_text() for part in root.children("memory")] == [2 << 30, 4096]
    with pytest.raises(ConfigError, match="unknown unit: 'ell'"):
        root.required_child("bad").bytes_text()


def test_what_nobody_read_is_told_once() -> None:
    root = node("<a x='1' y='2'><b z='3'/>\n<c><d/></c><e f='4'/></a>")
    root.get("x")
    root.child("b")
    root.accept("e")

    assert sorted(str(notice) for notice in root.unread()) == [
        "vm.xml:1: <a>: attribute 'y' is not supported and has no effect",
        "vm.xml:1: <b>: attribute 'z' is not supported and has no effect",
        "vm.xml:2: <c>: not supported here, has no effect",
    ]


def test_relative_files_are_taken_from_the_xml_file() -> None:
    root = node("<a f='guests/x.img' g='/abs'>../k</a>", "/home/lab")

    assert root.file("f") == "/home/lab/guests/x.img"
    assert root.file("g") == "/abs"
    assert root.file("h") is None
    assert root.file_text() == "/home/k"


@pytest.mark.parametrize(
    ("xml", "expected"),
    [
        ("", "vm.xml:1: not well-formed XML"),
        ("<a>\n<b></a>", "vm.xml:2: not well-formed XML"),
        ("<!DOCTYPE a [<!ENTITY x 'y'>]>\n<a>&x;</a>", "vm.xml:1: a DOCTYPE is refused"),
        ("<a>" * (MAX_DEPTH + 2) + "</a>" * (MAX_DEPTH + 2), "nested too deeply"),
    ],
)
def test_xml_that_is_refused(xml: str, expected: str) -> None:
    assert expected in message(xml)


def test_an_entity_bomb_is_refused_at_once() -> None:
    entities = "".join(
        f"<!ENTITY l{n} '{f'&l{n - 1};' * 10}'>" if n else "<!ENTITY l0 'lol'>" for n in range(12)
    )

    assert "vm.xml:1" in message(f"<!DOCTYPE a [{entities}]><a>&l11;</a>")


def test_comments_and_text_around_elements() -> None:
    root = node("<a>one<!-- two --><b/>three</a>")

    assert root.text == "onethree"
