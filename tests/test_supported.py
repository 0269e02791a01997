"""docs/xml-support.md is current, and what the translation reads stands in some domain here."""

from pathlib import Path

from scripts.supported.__main__ import main, page
from scripts.supported.refusals import refusals
from scripts.supported.watch import path_of, watched
from scripts.supported.witness import Places

ROOT = Path(__file__).parents[1]


def in_no_domain(places: Places) -> set[str]:
    """Give the paths of elements and attributes that were asked for and never there."""
    elements = {path for path, place in places.items() if not place.is_met}
    attributes = {
        f"{path}@{name}"
        for path, place in places.items()
        for name, attribute in place.attributes.items()
        if not attribute.is_met
        and not (path.startswith("features/hyperv/") and name == "retries")  # only spinlocks has it
    }
    return elements | attributes


def test_the_page_is_current() -> None:
    """`scripts/supported-xml` makes it anew."""
    assert main(["--check"]) == 0


def test_what_is_read_is_in_some_domain() -> None:
    """Whoever reads a new element or attribute adds it to a domain in tests/domains."""
    places = watched((ROOT / "tests" / "domains").rglob("*.xml"))
    assert in_no_domain(places) == set()


def test_the_page_tells_what_is_what() -> None:
    text = page()
    assert "| `devices/watchdog` | `action` | reset, shutdown, poweroff, pause," in text
    assert "| `devices/controller` | `index` | 0..255 | supported |" in text
    assert "| `seclabel` | |  | no effect |" in text
    assert "| `keywrap` | |  | refused |" in text
    assert "| disk | &lt;transient> is not supported |" in text


def test_what_is_shared_stands_once() -> None:
    assert path_of("devices/rng/address") == "devices/*/address"
    assert path_of("devices/rng/backend/source/reconnect") == (
        "devices/[character device]/source/reconnect"
    )
    assert path_of("devices/disk/backingStore/backingStore/source") == "devices/[storage]/source"


def test_refusals_are_read_from_the_source(tmp_path: Path) -> None:
    (tmp_path / "thing.py").write_text('raise node.error(f"{x} is not supported here", hint="")\n')
    assert list(refusals(tmp_path)) == [("thing", "... is not supported here")]
