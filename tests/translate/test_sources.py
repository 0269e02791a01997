"""Where images are: volumes of pools, servers, secrets, and what is refused of them."""

from collections.abc import Mapping
from typing import Any, Final

import pytest

from qsuper.plan import Command
from qsuper.translate.site import HostData
from tests.support.disks import crumbs, network
from tests.support.domains import device, errors, obstacles, options, translated
from tests.support.emulators import NEW_IN_9, emulator

POOLS: Final[Mapping[str, Mapping[str, Any]]] = {
    "files": {"type": "dir", "path": "/pool"},
    "volumes": {"type": "logical", "path": "/dev/vg"},
    "san": {"type": "iscsi", "path": "/dev/by-path", "source": {"host": "h", "device": "iqn.t"}},
    "strange": {"type": "rbd"},
}
HOST = HostData(machine_id="m", pools=POOLS)
SECRET = "<secret type='passphrase' usage='s'/>"


def disk(kind: str, inside: str, *, target: str = "dev='vda'", head: str = "") -> str:
    return f"<disk type='{kind}' {head}>{inside}<target {target}/></disk>"


def volume(pool: str, name: str, more: str = "") -> str:
    return disk("volume", f"<source pool='{pool}' volume='{name}' {more}/>")


HELPER = "<source type='unix' path='/pr' mode='{}'/>"


def lun(inside: str = "", *, target: str = "dev='sda' bus='scsi'", head: str = "") -> str:
    """Give a unit that is passed through, and *inside* of its source."""
    source = f"<source dev='/d'>{inside}</source>"
    return disk("block", source, target=target, head=f"device='lun' {head}")


@pytest.mark.parametrize(
    ("pool", "name", "driver", "filename"),
    [
        ("files", "a.img", "file", "/pool/a.img"),
        ("volumes", "lv", "host_device", "/dev/vg/lv"),
        ("san", "unit:0:0:3", "host_device", "/dev/by-path/unit:0:0:3"),
    ],
)
def test_volumes_are_files_and_devices(pool: str, name: str, driver: str, filename: str) -> None:
    node = options(translated(volume(pool, name), host=HOST), "blockdev")[0]
    assert (node["driver"], node["filename"]) == (driver, filename)


def test_a_unit_of_an_iscsi_pool_can_be_reached_without_the_host() -> None:
    node = options(translated(volume("san", "unit:0:0:3", "mode='direct'"), host=HOST), "blockdev")[
        0
    ]
    assert (node["portal"], node["target"], node["lun"]) == ("h:3260", "iqn.t", 3)


def test_an_empty_drive_has_no_volume() -> None:
    xml = disk("volume", "<source/>", target="dev='hda' bus='ide'", head="device='cdrom'")
    assert "drive" not in device(translated(xml), "ide0-0-0")


def test_auth_may_stand_beside_the_source() -> None:
    auth = "<auth username='u'><secret type='iscsi' usage='s'/></auth>"
    source = "<source protocol='iscsi' name='iqn.t'><host name='h'/></source>"
    translation = translated(disk("network", auth + source))
    node = options(translation, "blockdev")[0]
    secrets = [row["id"] for row in options(translation, "object") if row["qom-type"] == "secret"]
    assert (node["user"], node["lun"]) == ("u", 0)
    assert secrets == [node["password-secret"]]


def test_a_helper_of_the_users_makes_reservations() -> None:
    inside = f"<reservations managed='no'>{HELPER.format('client')}</reservations>"
    found = translated(lun(inside))
    [node] = [row for row in options(found, "blockdev") if row["driver"] == "host_device"]
    helpers = [row for row in options(found, "object") if row["qom-type"] == "pr-manager-helper"]
    assert [(row["id"], row["path"]) for row in helpers] == [(node["pr-manager"], "/pr")]
    assert found.obstacles == ()


def test_one_helper_of_libvirts_is_for_all_disks() -> None:
    """The command line is shown with it; qsuper starts none."""
    inside = "<reservations managed='yes'/>"
    xml = lun(inside) + "\n" + lun(inside, target="dev='sdb' bus='scsi'")
    found = translated(xml)
    nodes = [row for row in options(found, "blockdev") if row["driver"] == "host_device"]
    helpers = [row for row in options(found, "object") if row["qom-type"] == "pr-manager-helper"]
    assert [row["id"] for row in helpers] == ["pr-helper0"]
    assert [row["pr-manager"] for row in nodes] == ["pr-helper0"] * 2
    hint = "(managed='no', and start qemu-pr-helper yourself)"
    assert obstacles(xml) == [
        f"vm.xml:{line}: <disk> '{name}': <reservations managed='yes'> is not supported {hint}"
        for line, name in ((6, "sda"), (7, "sdb"))
    ]


def test_a_vdpa_device_is_a_node() -> None:
    xml = disk("vhostvdpa", "<source dev='/dev/vhost-vdpa-0'/>")
    assert "needs <memoryBacking><access mode='shared'/>" in errors(xml)[0]
    shared = "<memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>"
    node = options(translated(xml, parts=shared), "blockdev")[0]
    assert (node["driver"], node["path"]) == ("virtio-blk-vhost-vdpa", "/dev/vhost-vdpa-0")
    lacking = emulator(paths=["blockdev-add/arg-type/+virtio-blk-vhost-vdpa"])
    assert errors(xml, parts=shared, caps=lacking) == [
        "vm.xml:6: this QEMU can't use type='vhostvdpa' disks"
    ]


def test_luks_any_needs_a_new_qemu() -> None:
    encryption = f"<encryption format='luks-any' engine='librbd'>{SECRET}</encryption>"
    xml = network("rbd", "p/i", encryption)
    assert options(translated(xml), "blockdev")[0]["encrypt"]["format"] == "luks-any"
    lacking = emulator(paths=["blockdev-add/arg-type/+rbd/encrypt/+luks-any"])
    found = errors(xml, caps=lacking)
    assert found == ["vm.xml:6: p/i: this QEMU's rbd can't decrypt format='luks-any'"]


def test_qcow2_decrypts_itself() -> None:
    inside = (
        f"<driver type='qcow2'/><source file='a'/><encryption format='luks'>{SECRET}</encryption>"
    )
    above = options(translated(disk("file", inside)), "blockdev")[-1]
    assert above["encrypt"]["format"] == "luks"


def test_an_image_may_keep_its_content_in_another_file() -> None:
    found = translated(data("qcow2", "raw"), caps=emulator(paths=NEW_IN_9))
    nodes = {row["node-name"]: row for row in options(found, "blockdev")}
    assert nodes["libvirt-1-format"]["data-file"] == "libvirt-2-format"
    assert nodes["libvirt-2-storage"]["filename"] == "/vm/b"
    assert nodes["libvirt-2-format"]["read-only"] is False


def test_a_slice_is_a_part_of_the_storage() -> None:
    """Slices of other types are none of ours, as none of libvirt's."""
    slices = "<slice type='x'/><slice type='storage' offset='4096' size='8192'/>"
    xml = disk("file", f"<source file='a'><slices>{slices}</slices></source>")
    part = options(translated(xml), "blockdev")[-1]
    assert (part["driver"], part["offset"], part["size"]) == ("raw", 4096, 8192)


def encrypted(attributes: str, inside: str = SECRET, driver: str = "") -> str:
    source = f"<source file='a'><encryption {attributes}>{inside}</encryption></source>"
    return disk("file", driver + source)


LUKS = f"<encryption format='luks'>{SECRET}</encryption>"
UNIX = "<host transport='unix' socket='/s'/>"
DATA = "<source file='b'/>"


def data(image: str, store: str, source: str = DATA) -> str:
    """Give a disk whose content is in another file."""
    kept = f"<dataStore type='file'><format type='{store}'/>{source}</dataStore>"
    return disk("file", f"<driver type='{image}'/><source file='a'>{kept}</source>")


RBD_AUTH = "<auth username='u'><secret type='ceph' usage='s'/></auth>"
FILE = "<source file='a'/>"


@pytest.mark.parametrize(
    ("xml", "expected"),
    [
        (volume("nowhere", "a"), "there is no storage pool 'nowhere' here (name the file itself"),
        (volume("strange", "a"), "pools of type 'rbd' are not supported"),
        (volume("san", "three", "mode='direct'"), "volume 'three' is no unit:N:N:N"),
        (disk("file", "<source fdgroup='x'/>"), "fdgroup= names descriptors"),
        (
            disk("block", "<source dev='/d'><reservations managed='yes'/></source>"),
            "<reservations> are for device='lun'",
        ),
        (lun("<reservations/>"), "<reservations>: attribute 'managed' is missing (yes or no)"),
        (lun("<reservations managed='no'/>"), "<reservations>: <source> is missing"),
        (
            lun(f"<reservations managed='no'>{HELPER.format('server')}</reservations>"),
            "to the helper",
        ),
        (disk("block", "<source/>"), "<source> is missing"),
        (disk("nvme", "<source/>"), "type='pci' is missing"),
        (disk("vhostuser", "<source type='tcp'/>"), "type='unix' is the only one"),
        (disk("network", "<source/>"), "attribute 'protocol' is missing"),
        (network("sheepdog"), "protocol='sheepdog' is no longer supported by QEMU"),
        (network("gopher"), "protocol='gopher' is unknown (one of nbd, rbd,"),
        (network("iscsi", "iqn.t", ""), "protocol='iscsi' needs a <host>"),
        (network("http", "x", "<host name='a'/><host name='b'/>"), "takes only one <host>"),
        (network("nbd", "x", "<host name='h' port='http'/>"), "port='http' is no port"),
        (network("iscsi", "iqn.t/1", "<host name='h' transport='iser'/>"), "transport='iser'"),
        (network("iscsi", "iqn.t/1", UNIX), "does not go by transport='unix'"),
        (network("nbd", "x", "<host name='h' socket='/s'/>"), "transport='tcp' has no socket="),
        (network("nfs", "x", "<host name='h' port='5'/>"), "protocol='nfs' takes no port="),
        (disk("network", "<source protocol='http'><host name='h'/></source>"), "'name' is missing"),
        (network("iscsi' tls='yes", "iqn.t"), "protocol='iscsi' has no tls= (remove it)"),
        (network("http", "x", crumbs("<cookie name='a b'>x</cookie>")), "has no such characters"),
        (network("http", "x", crumbs("<cookie name='a'>x;</cookie>")), "has no such characters"),
        (network("http", "x", crumbs("<cookie name='a'/>")), "<cookie>: there is no value"),
        (
            network("http", "x", crumbs("<cookie name='a'>1</cookie>" * 2)),
            "name='a' is given twice",
        ),
        (
            network("ssh", "x", "<host name='h'/><identity username='u'/>"),
            "<identity>: keyfile= or agentsock= is missing",
        ),
        (
            disk(
                "network",
                "<source protocol='nbd' startupPolicy='optional'><host name='h'/></source>",
            ),
            "startupPolicy='optional' is not for type='network'",
        ),
        (disk("file", "<source file='a' startupPolicy='x'/>"), "startupPolicy='x' is unknown"),
        (
            disk("file", "<source file='a' startupPolicy='requisite'/>"),
            "startupPolicy='requisite' is for CD-ROM and floppy drives",
        ),
        (disk("dir", "<source dir='/d'/><readonly/>"), "a directory is shown as format 'fat'"),
        (data("raw", "raw"), "<dataStore> is a raw image of a qcow2 image"),
        (data("qcow2", "qcow2"), "<dataStore> is a raw image of a qcow2 image"),
        (data("qcow2", "raw", ""), "<dataStore>: <source> is missing"),
        (
            disk("file", "<source file='a'><seclabel model='dac' relabel='yes'/></source>"),
            "<seclabel>: relabel='yes' needs a <label> (add it)",
        ),
        (
            disk(
                "file",
                "<source file='a'><seclabel relabel='no'><label>x</label></seclabel></source>",
            ),
            "<seclabel>: relabel='no' leaves no use for a <label>",
        ),
        (
            disk(
                "file", "<source file='a'><seclabel model='dac'/><seclabel model='dac'/></source>"
            ),
            "<seclabel>: model='dac' is given twice",
        ),
        (network("iscsi", "iqn.t/one"), "name='iqn.t/one' is no TARGET/LUN"),
        (network("gluster", "volume"), "name='volume' is no VOLUME/PATH"),
        (network("rbd", "image"), "name='image' is no POOL/IMAGE"),
        (
            network("iscsi", "t", f"<host name='h'/>{RBD_AUTH}"),
            "secret type='ceph' does not fit (iscsi)",
        ),
        (
            network("ssh", "x", "<host name='h'/>" + RBD_AUTH.replace("ceph", "iscsi")),
            "ssh with a password is not supported",
        ),
        (
            disk(
                "network",
                f"{RBD_AUTH}<source protocol='rbd' name='p/i'>{RBD_AUTH}</source>",
            ),
            "there is an <auth> here and one beside it",
        ),
        (
            network("nfs", "x", "<host name='h'/><identity user='me'/>"),
            "user='me' must be a number",
        ),
        (encrypted("format='luks'", f"{SECRET}<cipher/>"), "<cipher> makes sense only where"),
        (encrypted("format='luks2'"), "QEMU can't decrypt format='luks2' (luks)"),
        (encrypted("format='luks'", SECRET * 2), "it needs one <secret>"),
        (
            encrypted("format='luks'", "<secret type='ceph' usage='s'/>"),
            "<encryption>: its <secret> must be of another type (passphrase)",
        ),
        (
            disk("file", f"<source file='a'>{LUKS}</source>{LUKS}"),
            "<encryption>: there is one in the <source>, too (remove one)",
        ),
        (encrypted("format='luks' engine='librbd'"), "engine='librbd' is for protocol='rbd'"),
        (encrypted("format='luks'", SECRET, "<driver type='vmdk'/>"), "'vmdk' can't be encrypted"),
        (
            encrypted("format='luks'", "<secret type='passphrase'/>"),
            "it needs a uuid or a usage, and not both",
        ),
        (encrypted("format='luks'", "<secret type='passphrase' uuid='x'/>"), "uuid='x' is no uuid"),
        (
            disk("file", "<source file='a'><slices><slice type='storage'/></slices></source>"),
            "<slice>: attribute 'offset' is missing",
        ),
        (
            disk("file", f"{FILE}<backingStore type='file'><format type='raw'/></backingStore>"),
            "<backingStore>: <source> is missing",
        ),
        (
            disk(
                "file",
                f"<driver name='qemu' type='vdi'/>{FILE}"
                f"<backingStore type='file'><format type='raw'/>{FILE}</backingStore>",
            ),
            "format 'vdi' has no <backingStore>",
        ),
        (disk("file", f"<driver name='tap'/>{FILE}"), "name='tap' is not supported (qemu)"),
        (disk("file", FILE, target="dev='disk0'"), "dev='disk0' is no name of a disk"),
        (disk("file", FILE, target="dev='xvda'"), "dev='xvda' says nothing of the bus"),
        (disk("file", FILE, target="dev='vdzzzzzzz'"), "dev='vdzzzzzzz' is beyond the last disk"),
        (disk("file", FILE, head="sgio='filtered'"), "sgio= is for device='lun'"),
        (lun(head="sgio='unfiltered'"), "sgio='unfiltered' is no longer supported"),
        (
            disk("file", f"{FILE}<iotune/><throttlefilters/>"),
            "<iotune> and <throttlefilters> exclude each other",
        ),
        (
            disk(
                "file",
                f"{FILE}<iotune><total_iops_sec>1</total_iops_sec>"
                "<write_iops_sec>1</write_iops_sec></iotune>",
            ),
            "<total_iops_sec> excludes <read_iops_sec> and <write_iops_sec>",
        ),
        (disk("file", f"{FILE}<product>{'x' * 41}</product>"), "<product>: it is longer than 40"),
        (disk("file", f"{FILE}<vendor>\u00e9</vendor>"), "only printable ASCII characters"),
        (
            disk("file", f"{FILE}<product>{'x' * 17}</product>", target="dev='sda' bus='scsi'"),
            "<product> is longer than 16 characters",
        ),
        (disk("file", f"{FILE}<product>x</product>"), "disks have a <product>"),
        (disk("file", f"{FILE}<wwn>5000c50015ea71ac</wwn>"), "disks have a <wwn>"),
        (disk("file", FILE, target="dev='vda' rotation_rate='1'"), "disks have a rotation_rate"),
        (disk("file", FILE, target="dev='vda' removable='on'"), "removable= is for USB"),
        (disk("file", FILE, target="dev='vda' bus='fdc'"), "does not go with bus='fdc'"),
        (disk("file", FILE, target="dev='fda' bus='virtio'"), "only a floppy's name begins"),
        (
            disk("file", FILE, target="dev='vda' bus='fdc'", head="device='floppy'"),
            "begins with 'fd'",
        ),
        (
            disk("block", "<source dev='/d'/>", target="dev='hda' bus='ide'", head="device='lun'"),
            "device='lun' does not go with bus='ide'",
        ),
        (
            disk("file", f"<driver copy_on_read='on'/>{FILE}<readonly/>"),
            "copy_on_read= is not for read-only disks",
        ),
        (
            disk(
                "file",
                f"<driver iothread='1'><iothreads><iothread id='1'/></iothreads></driver>{FILE}",
            ),
            "iothread= and <iothreads> exclude each other",
        ),
        (
            disk("vhostuser", "<source type='unix' path='/s'/>", target="dev='sda' bus='usb'"),
            "a vhost-user disk goes with bus='virtio'",
        ),
    ],
)
def test_errors(xml: str, expected: str) -> None:
    found = errors(xml, host=HOST, parts="<iothreads>1</iothreads>")
    assert any(expected in message for message in found), found
    assert all(message.startswith("vm.xml:6: ") for message in found)


def test_a_lun_on_virtio_needs_a_qemu_that_passes_commands() -> None:
    xml = disk("block", "<source dev='/d'/>", head="device='lun'")
    assert errors(xml) == []
    found = errors(xml, caps=emulator(props="virtio-blk-pci.scsi"))
    assert found == [
        "vm.xml:6: <disk> 'vda': this QEMU's virtio-blk can't pass SCSI commands through"
    ]


def test_limits_are_set_by_qmp() -> None:
    limits = "<total_bytes_sec>1</total_bytes_sec><group_name>g</group_name>"
    [command] = translated(disk("file", f"{FILE}<iotune>{limits}</iotune>")).plan.setup
    assert command == Command(
        name="block_set_io_throttle",
        arguments={
            "id": "/machine/peripheral/virtio-disk0/virtio-backend",
            "bps": 1,
            "bps_rd": 0,
            "bps_wr": 0,
            "iops": 0,
            "iops_rd": 0,
            "iops_wr": 0,
            "group": "g",
        },
    )


def test_a_disk_is_held_to_the_limits_of_groups() -> None:
    """Each group is a node above the image; the last is the drive."""
    filters = "<throttlefilters><throttlefilter group='slow'/></throttlefilters>"
    assert "there is no throttle group 'slow'" in errors(disk("file", FILE + filters))[0]
    group = "<group_name>slow</group_name><read_bytes_sec>7</read_bytes_sec>"
    parts = f"<throttlegroups><throttlegroup>{group}</throttlegroup></throttlegroups>"
    found = translated(disk("file", FILE + filters), parts=parts)
    made = next(row for row in options(found, "object") if row["qom-type"] == "throttle-group")
    assert (made["id"], made["limits"]["bps-read"]) == ("throttle-slow", 7)
    node = options(found, "blockdev")[-1]
    assert (node["driver"], node["throttle-group"]) == ("throttle", "throttle-slow")
    assert options(found, "device")[-2]["drive"] == node["node-name"]
