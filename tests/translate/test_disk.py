"""Disks: names, places, order, nodes, and what the guest sees."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsuper.translate.disk_target import DiskBus, drive_address
from qsuper.translate.places import DriveAddress
from qsuper.translate.site import HostData
from tests.support.disks import FILE, QCOW2, disk
from tests.support.domains import device, options, translated
from tests.support.emulators import NEW_IN_9, emulator


@pytest.mark.parametrize(
    ("target", "alias", "driver"),
    [
        ("vda", "virtio-disk0", "virtio-blk-pci"),
        ("vdaa", "virtio-disk26", "virtio-blk-pci"),
        ("hdd", "ide0-1-1", "ide-hd"),
        ("sdb", "scsi0-0-1", "scsi-hd"),
        ("sdg:sata", "sata1-0-0", "ide-hd"),
        ("sdc:usb", "usb-disk2", "usb-storage"),
    ],
)
def test_names_give_buses_places_and_aliases(target: str, alias: str, driver: str) -> None:
    controller = "<controller type='scsi' model='lsilogic'/>"
    assert device(translated(controller + disk(target)), alias)["driver"] == driver


def test_a_scsi_controller_gets_seven_disks() -> None:
    places = [drive_address(DiskBus.SCSI, index) for index in (6, 7, 14)]
    assert places == [
        DriveAddress(unit=6),
        DriveAddress(controller=1, unit=0),
        DriveAddress(controller=2, unit=0),
    ]


@given(st.sampled_from(["ide", "sata", "scsi", "fdc"]), st.integers(0, 2000))
def test_no_two_disks_of_a_bus_have_one_place(bus: str, index: int) -> None:
    others = [drive_address(DiskBus(bus), other) for other in range(max(0, index - 40), index)]
    assert drive_address(DiskBus(bus), index) not in others


def test_disks_of_a_bus_stand_together_by_name() -> None:
    xml = disk("hdc:ide") + disk("vdb:virtio") + disk("hda:ide") + disk("vda:virtio")
    ids = [props["id"] for props in options(translated(xml), "device") if "drive" in props]
    assert ids == ["ide0-0-0", "ide0-1-0", "virtio-disk0", "virtio-disk1"]


def test_disks_of_which_the_file_names_no_bus_stand_together_by_letter() -> None:
    xml = disk("vdb") + disk("vdc:virtio") + disk("hda") + disk("vda")
    ids = [props["id"] for props in options(translated(xml), "device") if "drive" in props]
    assert ids == ["ide0-0-0", "virtio-disk0", "virtio-disk1", "virtio-disk2"]


def test_node_numbers_are_dealt_from_the_last_disk() -> None:
    empty = disk("hdc:ide", "", head="device='cdrom'")
    drives = {
        props["id"]: props.get("drive")
        for props in options(translated(disk("hda:ide") + empty + disk("vda")), "device")
        if props["driver"].startswith(("ide", "virtio-blk"))
    }
    assert drives == {
        "ide0-0-0": "libvirt-3-storage",
        "ide0-1-0": None,
        "virtio-disk0": "libvirt-1-storage",
    }


def test_raw_images_need_no_format_node_on_a_new_qemu() -> None:
    assert options(translated(disk("vda")), "blockdev") == [
        {
            "driver": "file",
            "filename": "/vm/a.img",
            "node-name": "libvirt-1-storage",
            "read-only": False,
        }
    ]


def test_raw_images_have_a_format_node_on_an_old_qemu() -> None:
    storage, above = options(translated(disk("vda"), caps=emulator(paths=NEW_IN_9)), "blockdev")
    assert storage["auto-read-only"] is True
    assert storage["discard"] == "unmap"
    assert above == {
        "node-name": "libvirt-1-format",
        "read-only": False,
        "driver": "raw",
        "file": "libvirt-1-storage",
    }


def test_backing_images_come_first_and_are_read_only() -> None:
    chain = (
        f"{QCOW2}{FILE}<backingStore type='file'><format type='qcow2'/><source file='b.img'/>"
        "<backingStore type='block'><format type='raw'/><source dev='/dev/c'/></backingStore>"
        "</backingStore>"
    )
    nodes = {
        props["node-name"]: props for props in options(translated(disk("vda", chain)), "blockdev")
    }
    assert list(nodes) == [
        "libvirt-3-storage",
        "libvirt-2-storage",
        "libvirt-2-format",
        "libvirt-1-storage",
        "libvirt-1-format",
    ]
    assert nodes["libvirt-3-storage"]["driver"] == "host_device"
    assert nodes["libvirt-3-storage"]["read-only"] is True
    assert nodes["libvirt-2-format"]["backing"] == "libvirt-3-storage"
    assert nodes["libvirt-2-format"]["read-only"] is True
    assert nodes["libvirt-1-format"]["backing"] == "libvirt-2-format"


def test_a_chain_that_is_known_to_end_says_so() -> None:
    known = options(translated(disk("vda", f"{QCOW2}{FILE}<backingStore/>")), "blockdev")[-1]
    unknown = options(translated(disk("vda", QCOW2 + FILE)), "blockdev")[-1]
    assert known["backing"] is None
    assert "backing" not in unknown


@pytest.mark.parametrize(
    ("cache", "direct", "no_flush", "write_cache"),
    [
        ("none", True, False, "on"),
        ("writeback", False, False, "on"),
        ("writethrough", False, False, "off"),
        ("directsync", True, False, "off"),
        ("unsafe", False, True, "on"),
    ],
)
def test_cache_modes(cache: str, direct: bool, no_flush: bool, write_cache: str) -> None:
    translation = translated(disk("vda", f"<driver cache='{cache}'/>{FILE}"))
    expected = {"direct": direct, "no-flush": no_flush}
    assert [props["cache"] for props in options(translation, "blockdev")] == [expected]
    assert device(translation, "virtio-disk0")["write-cache"] == write_cache


def test_a_shared_disk_is_not_cached() -> None:
    translation = translated(disk("vda", f"{FILE}<shareable/>"))
    assert options(translation, "blockdev")[0]["cache"] == {"direct": True, "no-flush": False}
    assert device(translation, "virtio-disk0")["share-rw"] is True


@pytest.mark.parametrize(
    ("policies", "werror", "rerror"),
    [
        ("error_policy='stop'", "stop", "stop"),
        ("error_policy='enospace'", "enospc", None),
        ("error_policy='report' rerror_policy='ignore'", "report", "ignore"),
        ("rerror_policy='stop'", None, "stop"),
    ],
)
def test_error_policies(policies: str, werror: str | None, rerror: str | None) -> None:
    props = device(translated(disk("vda", f"<driver {policies}/>{FILE}")), "virtio-disk0")
    assert (props.get("werror"), props.get("rerror")) == (werror, rerror)


def test_detecting_zeroes_unmaps_only_together_with_discard() -> None:
    both = f"<driver discard='unmap' detect_zeroes='unmap'/>{FILE}"
    alone = f"<driver detect_zeroes='unmap'/>{FILE}"
    found = [options(translated(disk("vda", part)), "blockdev")[0] for part in (both, alone)]
    assert [props["detect-zeroes"] for props in found] == ["unmap", "on"]


def test_identity() -> None:
    inside = (
        f"{FILE}<serial>a b</serial><wwn>5000c50015ea71ac</wwn>"
        "<vendor>ACME</vendor><product>Disk</product>"
    )
    controller = "<controller type='scsi' model='virtio-scsi'/>"
    props = device(translated(controller + disk("sda", inside)), "scsi0-0-0-0")
    assert props["wwn"] == 0x5000C50015EA71AC
    assert props["serial"] == "a\\ b"
    assert (props["vendor"], props["product"]) == ("ACME", "Disk")
    assert (props["channel"], props["scsi-id"], props["lun"]) == (0, 0, 0)


def test_copy_on_read_stands_between_image_and_drive() -> None:
    translation = translated(disk("vda", f"<driver copy_on_read='on'/>{FILE}"))
    assert options(translation, "blockdev")[-1]["driver"] == "copy-on-read"
    assert device(translation, "virtio-disk0")["drive"] == "libvirt-CoR-vda"


def test_luks_needs_its_passphrase_first() -> None:
    secret = "<encryption format='luks'><secret type='passphrase' usage='a/b%'/></encryption>"
    source = f"<source file='a.img'>{secret}</source>"
    host = HostData(machine_id="m", credentials_dir="/keys")
    translation = translated(disk("vda", source), host=host)
    objects = [props for props in options(translation, "object") if props["qom-type"] == "secret"]
    assert [props["file"] for props in objects] == ["/keys/a%2Fb%25"]
    top = options(translation, "blockdev")[-1]
    assert (top["driver"], top["key-secret"]) == ("luks", objects[0]["id"])


def test_io_threads_and_queues() -> None:
    mapping = "<iothreads><iothread id='2'><queue id='0'/></iothread></iothreads>"
    xml = disk("vda", f"<driver iothread='1' queues='4'/>{FILE}")
    xml += disk("vdb", f"<driver queues='1'>{mapping}</driver>{FILE}")
    translation = translated(xml, parts="<iothreads>2</iothreads>")
    assert device(translation, "virtio-disk0")["iothread"] == "iothread1"
    assert device(translation, "virtio-disk0")["num-queues"] == 4
    expected = [{"iothread": "iothread2", "vqs": [0]}]
    assert device(translation, "virtio-disk1")["iothread-vq-mapping"] == expected


def test_a_floppys_boot_index_is_its_controllers() -> None:
    floppy = disk("fda", f"{FILE}<boot order='1'/>", head="device='floppy'")
    translation = translated(floppy)
    assert "bootindex" not in device(translation, "fdc0-0-0")
    assert {"isa-fdc.bootindexA": "1"} in options(translation, "global")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (
            "protocol='nbd' name='x'><host name='h'/>",
            {
                "driver": "nbd",
                "server": {"type": "inet", "host": "h", "port": "10809"},
                "export": "x",
            },
        ),
        (
            "protocol='iscsi' name='iqn.t/3'><host name='::1'/>",
            {
                "driver": "iscsi",
                "portal": "[::1]:3260",
                "target": "iqn.t",
                "lun": 3,
                "transport": "tcp",
            },
        ),
        (
            "protocol='https' name='/d/a.iso' query='k=v'><host name='h'/><ssl verify='no'/>",
            {"driver": "https", "url": "https://h:443/d/a.iso?k=v", "sslverify": False},
        ),
        (
            "protocol='rbd' name='pool/ns/image'><snapshot name='s'/>",
            {"driver": "rbd", "pool": "pool", "image": "ns/image", "snapshot": "s"},
        ),
    ],
)
def test_network_protocols(source: str, expected: dict[str, object]) -> None:
    xml = f"<disk type='network'><source {source}</source><target dev='vda'/></disk>"
    node = options(translated(xml), "blockdev")[0]
    assert {key: node[key] for key in node if key not in ("node-name", "read-only")} == expected


@pytest.mark.parametrize(
    ("inside", "target", "expected"),
    [
        ("<geometry cyls='1'/>", "dev='vda'", {"cyls": 1, "heads": None}),
        ("", "dev='sda' bus='sata' rotation_rate='0'", {"rotation_rate": None}),
        ("", "dev='sda' bus='sata' rotation_rate='65535'", {"rotation_rate": 65535}),
        ("<product/>", "dev='sda' bus='sata'", {"product": None}),
        ("<driver queues='0'/>", "dev='vda'", {"num-queues": None}),
        ("<driver queue_size='0'/>", "dev='vda'", {"queue-size": None}),
        ("", "dev='vda' tray='closed'", {"driver": "virtio-blk-pci"}),
    ],
)
def test_what_says_nothing_is_not_written(
    inside: str, target: str, expected: dict[str, object]
) -> None:
    made = translated(f"<disk type='file'>{inside}{FILE}<target {target}/></disk>")
    [row] = [row for row in options(made, "device") if "drive" in row]
    assert {key: row.get(key) for key in expected} == expected


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=40))
def test_a_path_stays_what_it_is(name: str) -> None:
    """Commas, quotes and blanks are the file's, never QEMU's."""
    quoted = name.replace("&", "&amp;").replace("<", "&lt;").replace("'", "&apos;")
    node = options(translated(disk("vda", f"<source file='/vm/{quoted}'/>")), "blockdev")[0]
    assert node["filename"] == f"/vm/{name}"
