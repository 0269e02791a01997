"""Disks: names, places, order, nodes, what the guest sees, and what is refused."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsuper.translate.disk_target import DiskBus, drive_address
from qsuper.translate.places import DriveAddress
from qsuper.translate.site import HostData
from tests.support.domains import device, errors, obstacles, options, translated
from tests.support.emulators import NEW_IN_9, emulator

FILE = "<source file='a.img'/>"
QCOW2 = "<driver name='qemu' type='qcow2'/>"


def disk(target: str, inside: str = FILE, *, head: str = "") -> str:
    name, _, bus = target.partition(":")
    where = f" bus='{bus}'" if bus else ""
    return f"<disk type='file' {head}>{inside}<target dev='{name}'{where}/></disk>\n"


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


QUEUES = (
    "<driver queues='{}'><iothreads><iothread id='1'><queue id='0'/></iothread>{}"
    "<iothread id='2'/></iothreads></driver>"
)
SECOND = "<iothread id='1'><queue id='0'/></iothread>"
THIRD = "<iothread id='2'><queue id='5'/></iothread>"


def limited(target: str, count: int) -> str:
    limits = f"<total_bytes_sec>{count}</total_bytes_sec><group_name>g</group_name>"
    return disk(target, f"{FILE}<iotune>{limits}</iotune>")


@pytest.mark.parametrize(
    ("xml", "expected"),
    [
        (disk("vda") + disk("vda"), "<disk> 'vda': the name is used twice, also in line 6"),
        (disk("vda1"), "<target>: dev='vda1' names a partition (vda)"),
        (disk("hdaxxxxxxxxxx"), "<target>: dev='hdaxxxxxxxxxx' is beyond the last disk"),
        (disk("vda", ""), "can't be empty: <source> is missing"),
        (disk("sda:usb", "", head="device='cdrom'"), "can't be empty"),
        (disk("hda", f"{FILE}<readonly/>"), "can't be <readonly>"),
        (disk("vda", f"<driver type='iso'/>{FILE}"), "format 'iso' is not supported (use 'raw')"),
        (disk("vda", f"<driver type=''/>{FILE}"), "format '' is not supported"),
        (disk("vda", f"{QCOW2}{FILE}<shareable/>"), "can't have format 'qcow2'"),
        (disk("vda", f"<driver iothread='7'/>{FILE}"), "I/O thread 7 does not exist"),
        (disk("hda", f"<driver queues='2'/>{FILE}"), "for bus='virtio'"),
        (disk("vda", f"<driver io='native'/>{FILE}"), "io='native' needs cache='none'"),
        (disk("vda", FILE, head="rawio='yes'"), "rawio='yes' is for device='lun'"),
        (disk("hda", f"{FILE}<vendor>x</vendor>"), "only SCSI disks have a <vendor>"),
        (disk("hda", f"{FILE}<wwn>1</wwn>"), "is no World Wide Name"),
        (disk("hda", f"{FILE}<serial>a,b</serial>"), "<serial>: letters, digits"),
        (disk("vda", FILE, head="device='cdrom'"), "bus='virtio' has no CD-ROM drives"),
        (disk("vda", FILE, head="device='floppy'"), "does not go with bus='fdc'|begins with 'fd'"),
        (disk("vda", FILE, head="device='lun'"), "device='lun' is for type='block'"),
        (
            disk("sda", f"{FILE}<address type='drive' controller='1' unit='8'/>"),
            "its SCSI controller has no such place (model='virtio-scsi' has room for more)",
        ),
        (
            disk("hda") + disk("hdb", f"{FILE}<address type='drive'/>"),
            "its place is taken, by line 6",
        ),
        (disk("hda", f"{FILE}<address type='pci' slot='0x5'/>"), "the address does not fit"),
        (
            disk("sda:sata", f"{FILE}<address type='drive' bus='1'/>"),
            "a sata controller has one bus, number 0",
        ),
        (
            disk("hda", f"{FILE}<address type='drive' target='1'/>"),
            "a drive on bus='ide' has target 0",
        ),
        (disk("vda", f"{FILE}<transient/><readonly/>"), "only a disk that can be written to is"),
        (disk("sda:scsi", f"{FILE}<transient/>", head="device='cdrom'"), "can be written to is"),
        (
            (
                "<disk type='network'><source protocol='nbd'><host name='h'/></source><transient/>"
                "<target dev='vda'/></disk>"
            ),
            "only a disk of type='file' is <transient>",
        ),
        (
            disk("hda", f"{FILE}<transient shareBacking='yes'/>"),
            "<transient shareBacking='yes'> is not for bus='ide'",
        ),
        (disk("vda", FILE, head="snapshot='x'"), "snapshot='x' is unknown (one of no, internal,"),
        (
            f"<disk type='file'>{FILE}<target dev='sda' bus='scsi' tray='open'/></disk>",
            "<target>: tray='open' is for CD-ROM and floppy drives",
        ),
        (
            f"<disk type='file'>{FILE}<target dev='sda' bus='scsi' tray='x'/></disk>",
            "<target>: tray='x' is unknown (one of open, closed)",
        ),
        (
            (
                f"<disk type='file' device='cdrom'>{FILE}"
                "<target dev='sda' bus='sata' rotation_rate='7200'/></disk>"
            ),
            "rotation_rate= is for device='disk'",
        ),
        (disk("sda:scsi", FILE, head="model='virtio'"), "model= is for bus='virtio', not for 's"),
        (
            disk("vda", f"<driver type='qcow2' discard_no_unref='on'/>{FILE}<readonly/>"),
            "discard_no_unref= is not for read-only disks",
        ),
        (
            disk("vda", f"<driver discard_no_unref='on'/>{FILE}"),
            "discard_no_unref= is for format 'qcow2'",
        ),
        (
            (
                "<disk type='block' device='lun'><driver copy_on_read='on'/><source dev='/d'/>"
                "<target dev='sda' bus='scsi'/></disk>"
            ),
            "copy_on_read= is not for read-only disks, nor for device='lun'",
        ),
        (
            (
                "<disk type='block' device='lun'><source dev='/d'/><serial>x</serial>"
                "<target dev='sda' bus='scsi'/></disk>"
            ),
            "device='lun' has its own <serial> and <wwn>",
        ),
        (
            disk("vda", f"{FILE}<iotune><group_name>g</group_name></iotune>"),
            "<group_name>: a group needs limits",
        ),
        (limited("vda", 1) + limited("vdb", 2), "group 'g' has other limits, see line 6"),
        (disk("vda", f"{QUEUES.format(1, '')}{FILE}"), "either all I/O threads have their"),
        (disk("vda", f"{QUEUES.format(2, SECOND)}{FILE}"), "a queue has two I/O threads"),
        (disk("vda", f"{QUEUES.format(1, SECOND)}{FILE}"), "an I/O thread is named twice"),
        (disk("vda", f"{QUEUES.format(2, '').replace('queues', 'q')}{FILE}"), "needs queues="),
        (disk("vda", f"{QUEUES.format(2, THIRD)}{FILE}"), "queue 1 has no I/O thread"),
        (disk("vda", f"{QUEUES.format(2, THIRD)}{FILE}"), "queue 5 does not exist"),
    ],
)
def test_errors(xml: str, expected: str) -> None:
    controllers = "<controller type='scsi' index='1' model='lsilogic'/>"
    found = errors(xml + controllers, parts="<iothreads>2</iothreads>")
    assert any(part in message for message in found for part in expected.split("|")), found
    assert all(re.match(r"vm\.xml:[67]: <", message) for message in found)


VHOST_USER = "<disk type='vhostuser'>{}<source type='unix' path='/s'/>{}<target dev='vda'/></disk>"
SHARED = "<memoryBacking><access mode='shared'/></memoryBacking>"


@pytest.mark.parametrize(
    ("driver", "inside", "what"),
    [
        ("", "<readonly/>", "<readonly>"),
        ("", "<shareable/>", "<shareable>"),
        ("", "<serial>x</serial>", "<serial>"),
        ("", "<blockio logical_block_size='512'/>", "<blockio>"),
        ("", "<iotune><read_iops_sec>1</read_iops_sec></iotune>", "<iotune>"),
        ("<driver cache='none'/>", "", "<driver cache= io= discard= ...>"),
        ("<driver error_policy='stop'/>", "", "<driver error_policy=>"),
        ("<driver copy_on_read='on'/>", "", "<driver copy_on_read=>"),
    ],
)
def test_what_a_disk_of_another_process_has_not(driver: str, inside: str, what: str) -> None:
    found = errors(VHOST_USER.format(driver, inside), parts=SHARED)
    assert f"vm.xml:6: <disk> 'vda': a vhost-user disk has no {what}" in found
    assert errors(VHOST_USER.format("", ""), parts=SHARED) == []


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


def test_a_transient_disk_is_shown_and_not_started() -> None:
    xml = disk("vda", f"{FILE}<transient/>")
    hint = "(make an overlay with qemu-img)"
    assert obstacles(xml) == [f"vm.xml:6: <disk> 'vda': <transient> is not supported {hint}"]
    assert device(translated(xml), "virtio-disk0")["drive"] == "libvirt-1-storage"


def test_a_transient_disk_that_others_use_is_plugged_in_later() -> None:
    found = translated(disk("vda", f"{FILE}<transient shareBacking='yes'/>"))
    assert options(found, "blockdev") == []
    assert [row["id"] for row in options(found, "device")] == ["usb", "balloon0"]
    assert len(found.obstacles) == 1


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=40))
def test_a_path_stays_what_it_is(name: str) -> None:
    """Commas, quotes and blanks are the file's, never QEMU's."""
    quoted = name.replace("&", "&amp;").replace("<", "&lt;").replace("'", "&apos;")
    node = options(translated(disk("vda", f"<source file='/vm/{quoted}'/>")), "blockdev")[0]
    assert node["filename"] == f"/vm/{name}"
