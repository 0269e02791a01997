"""`dumpxml`: what is filled in, and that the result is the same domain."""

import os
from pathlib import Path

import pytest
from lxml import etree

from qsuper.errors import ConfigError, ConfigErrors
from qsuper.host.schema import DEFAULT_PATH
from qsuper.translate.dump import dump
from qsuper.translate.model import Context
from qsuper.translate.node import parse_xml
from qsuper.translate.passes import translate
from qsuper.translate.site import HostData
from tests.support.emulators import emulator

DOMAINS = sorted((Path(__file__).parents[1] / "domains").glob("*.xml"))
HOST = HostData(machine_id="m")
SMALL = """
<domain type='qemu'>
  <name>web &amp; db</name>
  <memory unit='MiB'>64</memory>
  <os><type machine='q35'>hvm</type></os>
  <metadata><x:note xmlns:x='urn:example' x:by="it's">kept, <x:b/> as it is</x:note></metadata>
  <devices>
    <domaindependency>b.xml</domaindependency>
    <disk type='file'>
      <source file='a.img'/>
      <target dev='vda' bus='virtio'/>
      <unheard><of level='1'/></unheard>
    </disk>
    <console type='pty'/>
    <interface type='user'><alias name='ua-card'/></interface>
    <input type='tablet'/>
    <video><model type='qxl' extra='1'/></video>
  </devices>
</domain>
"""


def dumped(xml: bytes, arch: str = "x86_64") -> tuple[str, list[str]]:
    root = parse_xml(xml, "vm.xml", "/vm")
    made = translate(root, emulator(arch), HOST)
    words = [word for option in made.plan.options for word in option.argv()]
    return dump(root, Context(made.domain, made.site)), words


def check_same(xml: bytes, arch: str) -> None:
    """Translating the dump gives the same command line, and the same dump."""
    first, words = dumped(xml, arch)
    assert dumped(first.encode(), arch) == (first, words)


@pytest.mark.parametrize("path", DOMAINS, ids=lambda path: path.stem)
def test_a_dump_is_the_same_domain(path: Path) -> None:
    kind = etree.parse(path).find("os/type")
    check_same(path.read_bytes(), "x86_64" if kind is None else kind.get("arch", "x86_64"))


def test_the_corpus(corpus: Path) -> None:
    """So it is for every domain of the corpus that this emulator takes."""
    tried = 0
    for path in sorted((corpus / "dev").glob("*.xml")):
        try:
            first, words = dumped(path.read_bytes())
        except (ConfigError, ConfigErrors):
            continue
        assert dumped(first.encode()) == (first, words), path.name
        tried += 1
    assert tried > 300


@pytest.mark.skipif(not os.path.exists(DEFAULT_PATH), reason="no libvirt schema here")
def test_what_is_in_libvirts_schema_stays_in_it(corpus: Path) -> None:
    schema = etree.RelaxNG(etree.parse(DEFAULT_PATH))
    tried = 0
    for path in sorted((corpus / "dev").glob("*.xml")):
        try:
            first, _ = dumped(path.read_bytes())
        except (ConfigError, ConfigErrors):
            continue
        if schema.validate(etree.parse(path)):
            assert schema.validate(etree.fromstring(first)), (path.name, schema.error_log)
            tried += 1
    assert tried > 250


def test_what_is_filled_in() -> None:
    tree = etree.fromstring(dumped(SMALL.encode())[0])

    def one(path: str) -> dict[str, str]:
        found = tree.find(path)
        assert found is not None, path
        return {str(key): str(value) for key, value in found.attrib.items()}

    assert len(tree.findtext("uuid", "")) == 36
    assert one("os/type") == {"machine": "pc-q35-9.2", "arch": "x86_64"}
    assert one("devices/disk/alias") == {"name": "virtio-disk0"}
    assert one("devices/disk/source") == {"file": "/vm/a.img"}
    assert one("devices/interface/alias") == {"name": "ua-card"}
    assert one("devices/interface/mac")["address"].startswith("52:54:00:")
    assert one("devices/interface/model") == {"type": "rtl8139"}
    assert one("devices/serial/target") == {"type": "isa-serial", "port": "0"}
    assert one("devices/input/address") == {"type": "usb", "bus": "0", "port": "1"}
    assert one("devices/video/model") == {
        "type": "qxl",
        "extra": "1",
        "ram": "65536",
        "vram": "65536",
        "vgamem": "16384",
        "heads": "1",
        "primary": "yes",
    }
    assert one("devices/memballoon") == {"model": "virtio"}
    buses = [each.get("model") for each in tree.iterfind("devices/controller[@type='pci']")]
    assert buses[:2] == ["pcie-root", "pcie-root-port"]
    assert one("devices/disk/address") == {
        "type": "pci",
        "domain": "0x0000",
        "bus": "0x04",
        "slot": "0x00",
        "function": "0x0",
    }


def test_what_qsuper_does_not_know_stays() -> None:
    text = dumped(SMALL.encode())[0]
    assert "<domaindependency>/vm/b.xml</domaindependency>" in text
    assert '<of level="1"/>' in text
    assert "<name>web &amp; db</name>" in text
    note = etree.fromstring(text).find("metadata/{urn:example}note")
    assert note is not None
    assert note.get("{urn:example}by") == "it's"
    assert note.find("{urn:example}b") is not None
