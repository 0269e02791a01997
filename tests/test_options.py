"""No value can become another option."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsuper.options import Handle, Option, UnixListener

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
values = st.one_of(texts, st.integers(), st.booleans())


def split_keyed(text: str) -> dict[str, str]:
    """Read key=value pairs as QEMU's option parser does: `,,` is a comma within a value."""
    pairs = re.findall(r"((?:[^,]|,,)*)(?:,|$)", text, re.DOTALL)
    return dict(pair.replace(",,", ",").partition("=")[::2] for pair in pairs if pair)


@given(texts, texts)
def test_a_keyed_value_stays_one_value(first: str, second: str) -> None:
    option = Option.keyed("chardev", {"backend": "file", "id": first, "path": second})

    name, text = option.argv()

    assert name == "-chardev"
    assert split_keyed(text) == {"backend": "file", "id": first, "path": second}


@given(texts)
def test_an_implied_key_is_written_out_unless_the_value_is_a_plain_word(value: str) -> None:
    option = Option.keyed("machine", {"type": value, "usb": False}, implied="type")

    text = option.argv()[1]

    if re.fullmatch(r"[A-Za-z0-9_.:+-]+", value):
        assert text == f"{value},usb=off"
    else:
        assert split_keyed(text) == {"type": value, "usb": "off"}


@given(st.dictionaries(texts.filter(bool), values))
def test_json_comes_back_as_it_went_in(props: dict[str, str | int | bool]) -> None:
    assert json.loads(Option.json("device", props).argv()[1]) == props


def test_none_is_left_out() -> None:
    assert Option.keyed("m", {"size": "1k", "slots": None}).argv() == ("-m", "size=1k")


def test_a_list_repeats_its_key() -> None:
    option = Option.keyed("netdev", {"type": "user", "hostfwd": ["tcp::1-:1", "tcp::2-:2"]})

    assert option.argv()[1] == "type=user,hostfwd=tcp::1-:1,hostfwd=tcp::2-:2"


LISTENER = Handle(
    resource=UnixListener(name="charserial0", path="/tmp/a,b"), shown="/tmp/a,b", live_key="fd"
)


def test_a_handle_is_a_path_to_paste_and_a_descriptor_to_launch() -> None:
    option = Option.keyed("chardev", {"backend": "socket", "path": LISTENER}, implied="backend")

    assert option.argv()[1] == "socket,path=/tmp/a,,b"
    assert option.argv({"charserial0": 7})[1] == "socket,fd=7"
    assert list(option.handles()) == [LISTENER]


def test_a_handle_deep_in_json_is_found_and_filled_in() -> None:
    option = Option.json("chardev", {"id": "x", "backend": {"data": {"addr": [LISTENER]}}})

    assert list(option.handles()) == [LISTENER]
    assert json.loads(option.argv({"charserial0": 7})[1])["backend"]["data"]["addr"] == ["7"]


def test_a_missing_descriptor_is_a_bug_and_not_a_wrong_option() -> None:
    with pytest.raises(KeyError):
        Option.keyed("chardev", {"path": LISTENER}).argv({})
