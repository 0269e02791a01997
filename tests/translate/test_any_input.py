"""Whatever stands in a domain file, there is a command line or an error with a line; no crash."""

import contextlib
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lxml import etree

from qsuper.errors import ConfigError, ConfigErrors
from qsuper.translate.node import parse_xml
from qsuper.translate.passes import translate
from qsuper.translate.site import HostData
from tests.support.emulators import emulator

DOMAINS = [
    (Path(__file__).parents[1] / "domains" / f"{name}.xml").read_bytes()
    for name in ("network", "screens", "parts")
]
CAPS = emulator()
WORDS = ["", "-1", "0", "1", "9" * 30, "0x10", "yes", "on", "a,b=c", "::1", "1.2", "pci", "usb"]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Give one of the golden domains with up to three faults in its devices."""
    root = etree.fromstring(draw(st.sampled_from(DOMAINS)))
    for _ in range(draw(st.integers(1, 3))):
        elements = [part for part in root.iterfind("devices//*") if isinstance(part.tag, str)]
        element = elements[draw(st.integers(0, len(elements) - 1))]
        fault = draw(st.sampled_from(["attribute", "no attribute", "text", "no element", "twice"]))
        parent = element.getparent()
        names = sorted(map(str, element.attrib))
        if fault == "attribute" and names:
            element.set(draw(st.sampled_from(names)), draw(st.sampled_from(WORDS)))
        elif fault == "no attribute" and names:
            del element.attrib[draw(st.sampled_from(names))]
        elif fault == "text":
            element.text = draw(st.sampled_from(WORDS))
        elif fault == "no element" and parent is not None:
            parent.remove(element)
        elif fault == "twice" and parent is not None:
            parent.append(etree.fromstring(etree.tostring(element)))
    return etree.tostring(root)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(xml=damaged())
def test_a_damaged_domain_is_translated_or_refused(xml: bytes) -> None:
    with contextlib.suppress(ConfigError, ConfigErrors):
        made = translate(parse_xml(xml, "vm.xml", "/vm"), CAPS, HostData(machine_id="m"))
        assert all(option.argv()[0].startswith("-") for option in made.plan.options)
