"""Which nodes an image has: by its format, its chain, its slice and the age of QEMU.

libvirt 11.3 was asked about each of these, by `domxml-to-native` on a QEMU 10.0 and a 7.2.
"""

from tests.support.domains import device, errors, options, translated
from tests.support.emulators import emulator

MASK = "block-commit/arg-type/backing-mask-protocol"
FILE = "<source file='a'/>"


def disk(inside: str, *, target: str = "dev='vda'", head: str = "") -> str:
    return f"<disk type='file' {head}>{inside}<target {target}/></disk>"


def test_a_raw_image_has_a_chain_where_it_needs_no_node_of_its_own() -> None:
    chain = f"<backingStore type='file'><format type='raw'/>{FILE}<backingStore/></backingStore>"
    xml = disk(f"<source file='top'/>{chain}")
    nodes = [row["node-name"] for row in options(translated(xml), "blockdev")]
    assert nodes == ["libvirt-2-storage", "libvirt-1-storage"]
    assert device(translated(xml), "virtio-disk0")["drive"] == "libvirt-1-storage"
    [found] = errors(xml, caps=emulator(paths=[MASK]))
    assert "format 'raw' has no <backingStore>" in found


def test_a_slice_is_a_node_below_the_formats() -> None:
    slices = "<slices><slice type='storage' offset='4096' size='8192'/></slices>"
    xml = disk(f"<source file='a'>{slices}</source>")
    nodes = options(translated(xml, caps=emulator(paths=[MASK])), "blockdev")
    assert [row["node-name"].removeprefix("libvirt-1-") for row in nodes] == [
        "storage",
        "slice-sto",
        "format",
    ]
    assert (nodes[2]["file"], nodes[2].get("offset")) == ("libvirt-1-slice-sto", None)


def test_a_cd_drive_on_usb_may_be_removable() -> None:
    xml = disk(FILE, head="device='cdrom'", target="dev='sdb' bus='usb' removable='on'")
    assert device(translated(xml), "usb-disk1")["removable"] is True


def test_what_is_passed_through_has_no_slice() -> None:
    slices = "<slices><slice type='storage' offset='0' size='512'/></slices>"
    xml = f"<disk type='block' device='lun'><source dev='/d'>{slices}</source>"
    [found] = errors(f"{xml}<target dev='sda' bus='scsi'/></disk>")
    assert "device='lun' is given whole, without a slice" in found


def test_a_cd_on_scsi_is_not_said_to_be_removable() -> None:
    [found] = errors(
        disk(FILE, head="device='cdrom'", target="dev='sda' bus='scsi' removable='on'")
    )
    assert "removable= is for USB and SCSI disks" in found
