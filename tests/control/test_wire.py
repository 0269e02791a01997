"""The control protocol's messages."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qsuper.control import wire
from qsuper.errors import TimedOutError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
MESSAGES = st.lists(st.dictionaries(st.text(), JSON), max_size=5)


@settings(max_examples=50)
@given(MESSAGES, st.sampled_from([None, 2]), st.integers(1, 20), st.sampled_from(["", "\n", " "]))
def test_messages_are_found_however_they_come(
    messages: list[Any], indent: int | None, size: int, between: str
) -> None:
    """With newlines in them, between them or not at all, in chunks of any size."""
    text = between.join(json.dumps(message, indent=indent) for message in messages).encode()
    splitter = wire.Splitter()
    found = [
        message
        for start in range(0, len(text), size)
        for message in splitter.feed(text[start : start + size])
    ]
    assert [json.loads(message) for message in found] == messages


@given(st.lists(st.binary(max_size=50)))
def test_nonsense_is_no_more_than_malformed(chunks: list[bytes]) -> None:
    splitter = wire.Splitter()
    for chunk in chunks:
        for message in splitter.feed(chunk):
            with contextlib.suppress(wire.MalformedError):
                wire.parse(message)


def test_a_broken_message_ends_with_its_line() -> None:
    splitter = wire.Splitter()
    assert splitter.feed(b'{"execute": "li\n{"execute": "list"}') == [
        b'{"execute": "li',
        b'{"execute": "list"}',
    ]


def test_a_message_has_an_end() -> None:
    splitter = wire.Splitter()
    with pytest.raises(wire.MalformedError, match="over 1048576 bytes"):
        splitter.feed(b'{"' + b"x" * wire.LINE_MAX_BYTES)


def test_an_error_has_its_exit_status() -> None:
    content = json.loads(wire.refusal(TimedOutError("late"), {"id": 1}))
    error = {"class": "GenericError", "desc": "late", "exit-status": 75}
    assert content == {"error": error, "id": 1}


def test_an_event_has_its_domain_and_time() -> None:
    content = json.loads(wire.event("STOP", "A", {"x": 1}, 12.5))
    assert content == {
        "event": "STOP",
        "data": {"domain": "A", "x": 1},
        "timestamp": {"seconds": 12, "microseconds": 500_000},
    }
