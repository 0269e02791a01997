"""Disks: what is refused, and what is shown and not started."""

import re

import pytest

from tests.support.disks import FILE, QCOW2, disk
from tests.support.domains import device, errors, obstacles, options, translated

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
