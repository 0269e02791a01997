"""What libvirt's schema says, where it is installed."""

import os
from pathlib import Path

import pytest

from qsuper.errors import UnavailableError
from qsuper.host.describe import describe_domain
from qsuper.host.files import read_xml
from qsuper.host.load import Accel, Settings
from qsuper.host.schema import DEFAULT_PATH, libvirt_notices

ROOT = Path(__file__).parents[2]
DOMAIN = """<domain type='qemu'>
  <name>vm</name>
  <memory unit='MiB' dumped='yes'>64</memory>
  <os><type machine='q35'>hvm</type></os>
  <metadata><q:fabric xmlns:q='urn:qsuper:domain:1'/></metadata>
  <devices>
    <!-- a remark -->
    <domaindependency>b.xml</domaindependency>
    <disk type='file' colour='red'><source file='/a.img'/><target dev='vda' bus='virtio'/></disk>
    <memballoon model='virtio'/>
    <panic model='isa'><alarm/></panic>
    <sound model='ich9'/>
  </devices>
</domain>
"""
installed = pytest.mark.skipif(not os.path.exists(DEFAULT_PATH), reason="no libvirt schema here")


def said(path: Path, schema: str = DEFAULT_PATH) -> list[tuple[int, str]]:
    return [
        (notice.at.line, notice.message) for notice in libvirt_notices(read_xml(str(path)), schema)
    ]


@installed
def test_each_culprit_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "vm.xml"
    path.write_text(DOMAIN)
    assert said(path) == [
        (8, "<domaindependency>: stock libvirt ignores it and starts the domain alone"),
        (3, "<memory>: not in libvirt's schema: attribute dumped='yes'"),
        (9, "<disk>: not in libvirt's schema: attribute colour='red'"),
        (11, "<alarm>: not in libvirt's schema: the element in <panic>"),
    ]


def test_without_the_schema_what_is_ours_is_told(tmp_path: Path) -> None:
    path = tmp_path / "vm.xml"
    path.write_text(DOMAIN)
    assert [line for line, _ in said(path, str(tmp_path / "none"))] == [8]


@installed
def test_a_domain_without_its_needed_parts_is_one_finding(tmp_path: Path) -> None:
    path = tmp_path / "vm.xml"
    path.write_text("<domain type='qemu'><title>a</title></domain>")
    assert said(path) == [(1, "<domain>: not in libvirt's schema: the element as it is")]


@installed
@pytest.mark.qemu
@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.xml")), ids=lambda p: p.stem)
def test_what_is_filled_in_is_in_the_schema(path: Path, tmp_path: Path) -> None:
    """A dump has no more in it that the schema does not know than its original."""
    dump = tmp_path / "dump.xml"
    try:
        dump.write_text(describe_domain(str(path), Settings(accel=Accel.TCG)).xml)
    except UnavailableError as error:
        pytest.skip(str(error))
    assert not [text for _, text in said(dump) if "schema" in text]
