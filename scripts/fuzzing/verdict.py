"""What is wrong with the answer to a mutant, if anything is."""

import json
import re
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Final, cast

from qsuper.errors import ConfigError, ConfigErrors, QsuperError
from qsuper.host.load import LoadedDomain, Settings, load_domain
from qsuper.options import Form, Option
from scripts.fuzzing.mutation import MARK

_HANG_S: Final = 1.0
_KEY: Final = re.compile(r"[A-Za-z0-9_.:/+-]*")
_FIRST_PAIRS: Final = re.compile(r"(?:[^,]|,,)*")


class Hang(Exception):
    """The translation took longer than a second of processor time."""


def faults(path: str, settings: Settings) -> Iterator[str]:
    """Translate the file at *path* and give what must not be, whatever stands in the file.

    Any exception that is no `QsuperError` is a fault too, and is let through.
    """
    before = signal.signal(signal.SIGVTALRM, _hang)
    signal.setitimer(signal.ITIMER_VIRTUAL, _HANG_S)
    try:
        loaded = load_domain(path, settings)
    except ConfigErrors as several:
        for error in several.errors:
            yield from _error_faults(error)
        if not several.errors:
            yield "refused without a reason"
    except ConfigError as error:
        yield from _error_faults(error)
    except QsuperError as error:
        if not str(error).startswith(path):
            yield f"an error without a place: {error}"
    else:
        yield from _plan_faults(loaded, path)
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def _hang(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise Hang


def _error_faults(error: ConfigError) -> Iterator[str]:
    if error.at.line < 1:
        yield f"an error without a line: {error}"
    if "\n" in str(error):
        yield f"an error of several lines: {error!r}"
    if len(str(error)) > 2000:  # noqa: PLR2004
        yield f"an error of {len(str(error))} characters: {str(error)[:200]}"


def _plan_faults(loaded: LoadedDomain, path: str) -> Iterator[str]:
    for notice in loaded.notices:
        if notice.at.line < 1 and notice.at.path == path:
            yield f"a notice without a line: {notice}"
    with open(path, "rb") as file:
        overrides = b":override" in file.read()
    for option in loaded.plan.options:
        own = option.form is Form.RAW or (overrides and option.name == "device")
        if not own:  # what the user says to QEMU itself may be anything
            yield from option_faults(option)


def option_faults(option: Option) -> Iterator[str]:
    """Give what must not be of one option: more in it than the translation put there."""
    words: tuple[str, ...] = tuple(option.argv())
    if not re.fullmatch(r"-[a-z0-9_-]+", words[0]) or MARK in words[0]:
        yield f"a strange option: {words[0]!r}"
    if any("\0" in word for word in words):
        yield f"a NUL in {words!r}"
    if option.form is Form.FLAG and len(words) != 1:
        yield f"a flag with a value: {words!r}"
    if option.form is Form.JSON:
        yield from _json_faults(json.loads(words[-1]), words[-1])
    if option.form is Form.KEYED:
        yield from _keyed_faults(option, words[-1])


def _json_faults(value: object, text: str) -> Iterator[str]:
    if isinstance(value, dict):
        for key, part in cast("dict[str, object]", value).items():
            if MARK in key or not _KEY.fullmatch(key):
                yield f"a strange key {key!r} in {text}"
            yield from _json_faults(part, text)
    elif isinstance(value, list):
        for part in cast("list[object]", value):
            yield from _json_faults(part, text)


def _keyed_faults(option: Option, text: str) -> Iterator[str]:
    """Read an option as QEMU does: each pair must be one that the translation made."""
    made = sum(
        len(value) if isinstance(value, list | tuple) else 1
        for value in option.props.values()
        if value is not None
    )
    pairs = list(_pairs(text))
    if len(pairs) > made:
        yield f"{len(pairs)} pairs of {made} in {text!r}"
    for number, (key, _) in enumerate(pairs):
        if number == 0 and option.implied is not None and "=" not in text.partition(",")[0]:
            continue
        if MARK in key or not _KEY.fullmatch(key):
            yield f"a strange key {key!r} in {text!r}"
        if key not in option.props:
            yield f"a key {key!r} of nobody's in {text!r}"
    if option.name == "cpu" and ",," in text:  # which QEMU does not take for a comma there
        yield f"a comma in {text!r}"


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    """Split at single commas, as QEMU's `get_opt_value` does."""
    place = 0
    while place < len(text):
        found = _FIRST_PAIRS.match(text, place)
        end = found.end() if found else len(text)
        key, _, value = text[place:end].replace(",,", ",").partition("=")
        yield key, value
        place = end + 1
