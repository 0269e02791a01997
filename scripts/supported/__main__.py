"""Write docs/xml-support.md: what of libvirt's XML is supported, ignored, warned about, refused."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from qsuper.translate.parts.rest import REFUSED
from scripts.supported.refusals import messages, refusals
from scripts.supported.watch import watched
from scripts.supported.witness import Attribute, Place, Places

_ROOT: Final = Path(__file__).parents[2]
_PAGE: Final = _ROOT / "docs" / "xml-support.md"
_DOMAINS: Final = _ROOT / "tests" / "domains"
"""Those in partial/ are wrong in part, those in refused/ hold what is refused and no more."""
_SOURCE: Final = _ROOT / "src" / "qsuper" / "translate"
_MOST_WORDS: Final = 30
Asked = tuple[str, str | None]
"""A path, and the name of an attribute there, or None for the element itself."""
_HEAD: Final = """\
# What of libvirt's domain XML qsuper supports

Made by `scripts/supported-xml` from what the translation asks of the domains in tests/domains.

*supported*: it is read and checked, and the guest gets what libvirt would give it. *no effect*: it
is checked at most, since the guest does not notice; where the user might, a warning says so.
*refused*: it is an error. What stands nowhere here is kept out with a warning that names it and its
line, where it is an attribute or an element within a known one; an unknown device is an error.

`devices/*/...` is common to all devices, `devices/[character device]/...` to serial, parallel,
console, channel, redirdev, smartcard and rng; `devices/[storage]/...` to disks, backing images and
firmware variables.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Write the page, or check it; 1 where it is not current."""
    parser = argparse.ArgumentParser(prog="scripts/supported-xml", description=__doc__)
    parser.add_argument("--check", action="store_true", help="only tell whether it is current")
    options = parser.parse_args(argv)
    text = page()
    if options.check:
        return 0 if _PAGE.read_text() == text else 1
    _PAGE.write_text(text)
    return 0


def page() -> str:
    """Give the page's text."""
    places = watched(_DOMAINS.rglob("*.xml"))
    taken = watched(path for path in _DOMAINS.rglob("*.xml") if path.parent.name != "refused")
    refused = set(_met(places)) - set(_met(taken))
    return "\n".join((_HEAD, *_tables(places, refused), *_warned(), *_refused())) + "\n"


def _met(places: Places) -> Iterator[Asked]:
    for path, place in places.items():
        if place.is_met:
            yield path, None
        yield from ((path, name) for name, known in place.attributes.items() if known.is_met)


def _tables(places: Places, refused: set[Asked]) -> Iterator[str]:
    heading = None
    for path in sorted(places):
        steps = path.split("/")
        section = "/".join(steps[:2]) if steps[0] == "devices" else steps[0]
        if section != heading:
            heading = section
            yield f"\n## {_code(section or 'domain')}\n"
            yield "| element | attribute | values | |"
            yield "|---|---|---|---|"
        yield from _rows(path, places[path], refused)


def _rows(path: str, place: Place, refused: set[Asked]) -> Iterator[str]:
    name = _code(path or "domain")
    is_idle = place.has_no_effect
    what = _status(is_idle=is_idle, is_refused=(path, None) in refused)
    values = _values(place.text) if place.text else ""
    yield f"| {name} | | {values} | {what} |"
    for attribute, known in sorted(place.attributes.items()):
        is_idle = place.has_no_effect or (known.is_idle and not known.values)
        what = _status(is_idle=is_idle, is_refused=(path, attribute) in refused)
        yield f"| {name} | {_code(attribute)} | {_values(known)} | {what} |"


def _status(*, is_idle: bool, is_refused: bool) -> str:
    if is_refused:
        return "refused"
    return "no effect" if is_idle else "supported"


def _values(known: Attribute) -> str:
    words = list(known.values)
    shown = [*words[:_MOST_WORDS], "..."] if len(words) > _MOST_WORDS else words
    return ", ".join(shown).replace("|", "\\|")


def _warned() -> Iterator[str]:
    yield "\n## Warned about\n"
    yield "| module | warning |"
    yield "|---|---|"
    for module, text in dict.fromkeys(messages(_SOURCE, "notice")):
        yield f"| {module} | {_cell(text)} |"


def _refused() -> Iterator[str]:
    yield "\n## Refused\n"
    yield "The guest would notice that these are missing.\n"
    yield "| module | error |"
    yield "|---|---|"
    for element, text in REFUSED.items():
        yield f"| rest | {_code(element)}: {text} |"
    for module, text in dict.fromkeys(refusals(_SOURCE)):
        yield f"| {module} | {_cell(text)} |"


def _code(text: str) -> str:
    return f"`{text}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    sys.exit(main())
