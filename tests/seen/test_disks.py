"""Disks as the guest finds them: on each bus, with what their elements promise.

Transient disks are not supported; NVMe controllers of QEMU's own are none of libvirt's before 11.5.
"""

from typing import Final

import pytest

from tests.support.seen import NOTHING, Boots, blocks, file, xml

pytestmark = pytest.mark.qemu

MIB: Final = 1 << 20


def test_every_bus(boot: Boots) -> None:
    """Each disk sits where it was put, and is called as it was called."""
    for name in ("vda", "vdb", "hda", "sda", "sdb", "sdc", "sdd"):
        boot.image(name, size="2M")
    boot.image("fda", size="1440K")
    boot.image("iso", size="64K")
    drive = "<address type='drive' controller='{}' bus='{}' target='{}' unit='{}'/>"
    devices = (
        file(
            "vda",
            "dev='vda' bus='virtio'",
            driver="type='raw' queues='2' queue_size='256' event_idx='off' ioeventfd='on'",
            more="<serial>over the fence</serial><boot order='2'/>"
            "<address type='pci' bus='0' slot='9' function='0'/>"
            "<blockio logical_block_size='512' physical_block_size='4096'"
            " discard_granularity='8192'/>",
        )
        + file("vdb", "dev='vdb' bus='virtio'", more="<readonly/>").replace(
            "<disk ", "<disk model='virtio-non-transitional' "
        )
        + file(
            "hda",
            "dev='hda' bus='ide'",
            more=f"<geometry cyls='4' heads='16' secs='63' trans='lba'/>{drive.format(0, 1, 0, 1)}"
            "<wwn>5000c50015ea71ac</wwn><serial>IDE</serial>",
        )
        + file(
            "sda",
            "dev='sda' bus='scsi' rotation_rate='7200'",
            more=f"<wwn>5000c50015ea71ad</wwn><vendor>ACME</vendor><product>ROADRUNNER</product>"
            f"<serial>S1</serial>{drive.format(0, 0, 3, 7)}",
        )
        + file("sdb", "dev='sdb' bus='sata'", more=drive.format(0, 0, 0, 4))
        + file(
            "sdc",
            "dev='sdc' bus='usb' removable='on'",
            more="<address type='usb' bus='0' port='2'/>",
        )
        + file("sdd", "dev='sdd' bus='scsi'", more=drive.format(1, 0, 0, 5))
        + file(
            "iso", "dev='sde' bus='scsi'", more=f"<readonly/>{drive.format(0, 0, 3, 1)}"
        ).replace("<disk ", "<disk device='cdrom' ")
        + "<disk type='file' device='cdrom'><target dev='hdc' bus='ide'/></disk>"
        + file("fda", "dev='fda' bus='fdc'", more="<boot order='1'/>").replace(
            "<disk ", "<disk device='floppy' "
        )
        + "<controller type='scsi' index='0' model='virtio-scsi'>"
        "<driver queues='4' cmd_per_lun='50' max_sectors='512'/></controller>"
        "<controller type='scsi' index='1' model='lsilogic'/>"
        "<controller type='sata' index='0'/>"
        "<controller type='usb' index='0' model='qemu-xhci'/><memballoon model='none'/>"
    )
    with boot(xml(devices, machine="pc")) as vm:
        tree = vm.tree()
        wanted = {
            "virtio-disk0": ("pci.0", "09.0"),
            "ide0-1-1": ("ide.1", "1 (0x1)"),
            "scsi0-0-3-7": ("scsi0.0", "7 (0x7)"),
            "sata0-0-4": ("sata0.4", "0 (0x0)"),
            "usb-disk2": ("usb.0", "2"),
            "scsi1-0-5": ("scsi1.0", "0 (0x0)"),
            "scsi0-0-3-1": ("scsi0.0", "1 (0x1)"),
            "ide0-1-0": ("ide.1", "0 (0x0)"),
            "fdc0-0-0": ("floppy-bus.0", "0 (0x0)"),
        }
        assert {
            name: (row["bus"], row.get("addr") or row.get("lun") or row.get("unit") or row["port"])
            for name, row in tree.items()
            if name in wanted
        } == wanted
        facts = {
            "virtio-disk0:num-queues": 2,
            "virtio-disk0:queue-size": 256,
            "virtio-disk0:event_idx": False,
            "virtio-disk0:ioeventfd": True,
            "virtio-disk0:serial": "over\\ the\\ fence",  # as libvirt writes it
            "virtio-disk0:bootindex": 2,
            "virtio-disk0:physical_block_size": 4096,
            "virtio-disk0:discard_granularity": 8192,
            "ide0-1-1:cyls": 4,
            "ide0-1-1:heads": 16,
            "ide0-1-1:secs": 63,
            "ide0-1-1:bios-chs-trans": "lba",
            "ide0-1-1:wwn": 0x5000C50015EA71AC,
            "ide0-1-1:serial": "IDE",
            "scsi0-0-3-7:scsi-id": 3,
            "scsi0-0-3-7:wwn": 0x5000C50015EA71AD,
            "scsi0-0-3-7:vendor": "ACME",
            "scsi0-0-3-7:product": "ROADRUNNER",
            "scsi0-0-3-7:serial": "S1",
            "scsi0-0-3-7:rotation_rate": 7200,
            "scsi0-0-3-7:device_id": "S1",
            "scsi1-0-5:scsi-id": 5,
            "scsi0:num_queues": 4,
            "scsi0:cmd_per_lun": 50,
            "scsi0:max_sectors": 512,
            "usb-disk2:removable": True,
        }
        assert vm.alike(facts) == facts
        assert vm.get(f"{vm.built_in('isa-fdc')}:bootindexA") == 1
        shown = blocks(vm)
        assert shown["virtio-disk0"]["inserted"]["image"]["virtual-size"] == 2 * MIB
        assert [shown[name]["inserted"]["ro"] for name in ("virtio-disk0", "virtio-disk1")] == [
            False,
            True,
        ]
        assert shown["scsi0-0-3-1"]["removable"]
        assert shown["scsi0-0-3-1"]["inserted"]["ro"]
        assert "inserted" not in shown["ide0-1-0"]
        models = {
            name: tree[name]["pci"] for name in ("virtio-disk0", "virtio-disk1", "scsi0", "scsi1")
        }
        assert models == {
            "virtio-disk0": "1af4:1001",
            "virtio-disk1": "1af4:1042",
            "scsi0": "1af4:1004",
            "scsi1": "1000:0012",
        }


def test_how_they_are_read_and_written(boot: Boots) -> None:
    """Caches, errors, zeroes, threads and limits."""
    tuning = (
        "<iotune><total_bytes_sec>5000000</total_bytes_sec>"
        "<total_bytes_sec_max>6000000</total_bytes_sec_max>"
        "<total_bytes_sec_max_length>3</total_bytes_sec_max_length>"
        "<read_iops_sec>70</read_iops_sec><write_iops_sec>80</write_iops_sec>"
        "<size_iops_sec>4096</size_iops_sec><group_name>both</group_name></iotune>"
    )
    ways = {
        "vda": "cache='none' io='native' discard='unmap' detect_zeroes='unmap' iothread='2'",
        "vdb": "cache='writethrough' io='threads' error_policy='stop' rerror_policy='ignore'",
        "vdc": "cache='unsafe' discard='ignore' detect_zeroes='on'",
        "vdd": "cache='directsync' io='io_uring' iothread='7'",
        "vde": "cache='writeback' copy_on_read='on'",
    }
    devices = NOTHING
    for name, way in ways.items():
        boot.image(name, form="qcow2")
        devices += file(
            name,
            f"dev='{name}' bus='virtio'",
            driver=f"type='qcow2' {way}",
            more=tuning if name in ("vda", "vdb") else "",
        )
    parts = (
        "<iothreads>3</iothreads><iothreadids><iothread id='7' thread_pool_min='1'"
        " thread_pool_max='9'><poll max='65536' grow='4' shrink='2'/></iothread></iothreadids>"
    )
    with boot(xml(devices, parts=parts)) as vm:
        shown = blocks(vm)
        keys = ("no-flush", "direct", "writeback")
        caches = {
            name: tuple(row["inserted"]["cache"][key] for key in keys)
            for name, row in shown.items()
        }
        assert caches == {
            "virtio-disk0": (False, True, True),
            "virtio-disk1": (False, False, False),
            "virtio-disk2": (True, False, True),
            "virtio-disk3": (False, True, False),
            "virtio-disk4": (False, False, True),
        }
        limits = {
            "bps": 5000000,
            "bps_max": 6000000,
            "bps_max_length": 3,
            "iops_rd": 70,
            "iops_wr": 80,
            "iops_size": 4096,
            "group": "both",
        }
        for name in ("virtio-disk0", "virtio-disk1"):
            inserted = shown[name]["inserted"]
            assert {key: inserted.get(key) for key in limits} == limits
        assert shown["virtio-disk4"]["inserted"]["bps"] == 0
        zeroes = [shown[f"virtio-disk{number}"]["inserted"]["detect_zeroes"] for number in range(3)]
        assert zeroes == ["unmap", "off", "on"]
        facts = {
            "virtio-disk0:iothread": "/objects/iothread2",
            "virtio-disk3:iothread": "/objects/iothread7",
            "virtio-disk1:werror": "stop",
            "virtio-disk1:rerror": "ignore",
            "virtio-disk1:write-cache": "off",
            "virtio-disk2:write-cache": "on",
            "/objects/iothread7:thread-pool-min": 1,
            "/objects/iothread7:thread-pool-max": 9,
        }
        assert vm.alike(facts) == facts
        threads = vm.rows("query-iothreads")
        assert threads.keys() == {"iothread1", "iothread2", "iothread7"}
        poll = {"poll-max-ns": 65536, "poll-grow": 4, "poll-shrink": 2}
        assert {key: threads["iothread7"][key] for key in poll} == poll
        drivers = {row["drv"] for row in vm.qmp("query-named-block-nodes", flat=True)}
        assert "copy-on-read" in drivers


def test_drives_that_a_q35_lacks(boot: Boots) -> None:
    """A floppy controller is added, and what limits a disk may be shared by name."""
    boot.image("fda", size="1440K")
    for name in ("vda", "vdb"):
        boot.image(name)
    filters = "<throttlefilters><throttlefilter group='slow'/></throttlefilters>"
    groups = (
        "<throttlegroups><throttlegroup><group_name>slow</group_name>"
        "<read_iops_sec>100</read_iops_sec></throttlegroup></throttlegroups>"
    )
    devices = (
        file("fda", "dev='fdb' bus='fdc'", more="<boot order='1'/>").replace(
            "<disk ", "<disk device='floppy' "
        )
        + file("vda", "dev='vda' bus='virtio'", more=filters)
        + file("vdb", "dev='vdb' bus='virtio'", driver="type='raw' packed='on' iommu='on'")
        + NOTHING
    )
    with boot(xml(devices, parts=groups)) as vm:
        wanted = {
            "fdc0-0-1:unit": 1,
            "virtio-disk1:packed": True,
            "virtio-disk1:iommu_platform": True,
        }
        assert vm.alike(wanted) == wanted
        controller = vm.kinds("/machine/peripheral-anon")
        assert list(controller.values()) == ["isa-fdc"]
        assert vm.get(f"/machine/peripheral-anon/{next(iter(controller))}:bootindexB") == 1
        drivers = {row["drv"] for row in vm.qmp("query-named-block-nodes", flat=True)}
        assert "throttle" in drivers
        [group] = [name for name, kind in vm.kinds("/objects").items() if kind == "throttle-group"]
        assert vm.get(f"/objects/{group}:limits")["iops-read"] == 100
