"""The smaller families: what is filled in, what is refused."""

import pytest

from qsuper.options import Access, Handle, OpenFile, SharedMemory
from tests.support.domains import FIRST_DEVICE_LINE, device, errors, options, translated
from tests.support.emulators import emulator

SHARED = "<memoryBacking><access mode='shared'/></memoryBacking>"
NUMA = (
    "<maxMemory slots='2' unit='GiB'>8</maxMemory>"
    "<cpu><numa><cell id='0' cpus='0' memory='64' unit='MiB'/></numa></cpu>"
)
DIMM = "<memory model='dimm'><target><size unit='MiB'>64</size><node>0</node></target></memory>"


def test_shared_memory_is_a_path_in_print_and_a_descriptor_at_launch() -> None:
    made = translated("<shmem name='box'><size unit='MiB'>2</size></shmem>")
    [option] = [option for option in made.plan.options if option.name == "object"][-1:]
    path = option.props["mem-path"]
    assert isinstance(path, Handle)
    assert path.resource == SharedMemory(name="shmmem-shmem0", share="box", size_bytes=2 << 20)
    assert '"mem-path":"/dev/shm/box"' in option.argv()[1]
    assert '"mem-path":"/proc/self/fd/7"' in option.argv({"shmmem-shmem0": 7})[1]


@pytest.mark.parametrize(
    ("inside", "driver"),
    [
        ("", "ivshmem-plain"),
        ("<model type='ivshmem'/>", "ivshmem-plain"),
        ("<server path='/run/s'/>", "ivshmem-doorbell"),
    ],
)
def test_the_model_that_is_no_more_becomes_todays(inside: str, driver: str) -> None:
    made = translated(f"<shmem name='m'>{inside}</shmem>", caps=emulator(types=["ivshmem"]))
    assert device(made, "shmem0")["driver"] == driver


def test_shared_memory_has_four_mebibytes_by_default() -> None:
    made = translated("<shmem name='m'><model type='ivshmem-plain'/></shmem>")
    assert options(made, "object")[-1]["size"] == 4 << 20


def test_q35_has_a_watchdog_anyway() -> None:
    made = translated("", machine="q35")
    assert {"ICH9-LPC.noreboot": "off"} in options(made, "global")
    assert options(made, "watchdog-action") == [{"reset": ""}]
    other = translated("<watchdog model='i6300esb' action='dump'/>", machine="q35")
    assert options(other, "watchdog-action") == [{"pause": ""}]
    assert not options(translated(""), "watchdog-action")


def test_a_vsock_address_is_derived_and_stays() -> None:
    made = [translated("<vsock><cid auto='yes'/></vsock>") for _ in range(2)]
    cids = [device(translation, "vsock0")["guest-cid"] for translation in made]
    assert cids[0] == cids[1] > 2


def test_a_device_of_the_host_is_opened_but_never_made() -> None:
    xml = "<vsock><cid address='3'/></vsock><tpm><backend type='passthrough'/></tpm>"
    resources = list(translated(xml).plan.resources())
    devices = [resource for resource in resources if isinstance(resource, OpenFile)]
    assert [resource.path for resource in devices] == [
        "/dev/tpm0",
        "/sys/class/tpm/tpm0/device/cancel",
        "/dev/vhost-vsock",
    ]
    assert {resource.access for resource in devices} == {Access.DEVICE}


def test_panic_devices_follow_the_machine() -> None:
    assert {"driver": "pvpanic"} in options(translated("<panic/>"), "device")
    arm = translated("<panic/>", arch="aarch64", machine="virt")
    [panic] = [row for row in options(arm, "device") if row["driver"] == "pvpanic-pci"]
    assert panic["bus"] == "pcie.0"


def test_dimms_take_the_slots_that_are_free() -> None:
    placed = DIMM.replace("</memory>", "<address type='dimm' slot='0'/></memory>")
    made = translated(DIMM + placed, parts=NUMA)
    assert [device(made, f"dimm{slot}")["slot"] for slot in range(2)] == [0, 1]
    assert options(made, "m")[0]["size"] == "65536k"


def test_memory_devices_count_by_their_model() -> None:
    virtio = (
        "<memory model='virtio-mem'><target><size unit='MiB'>64</size><node>0</node>"
        "<block unit='MiB'>2</block><requested unit='MiB'>2</requested></target></memory>"
    )
    made = translated(virtio * 2, parts=NUMA)
    assert device(made, "virtiomem1")["memdev"] == "memvirtiomem1"


def test_host_cards_count_before_host_devices() -> None:
    pci = "<source><address type='pci' domain='0' bus='1' slot='{}' function='0'/></source>"
    device_xml = f"<hostdev mode='subsystem' type='pci'>{pci.format(1)}</hostdev>"
    card_xml = f"<interface type='hostdev'>{pci.format(2)}</interface>"
    made = translated(device_xml + card_xml)
    assert device(made, "hostdev0")["host"] == "0000:01:02.0"
    assert device(made, "hostdev1")["host"] == "0000:01:01.0"


def test_an_unassigned_device_is_not_the_guests() -> None:
    xml = (
        "<hostdev mode='subsystem' type='pci'><source><address domain='0' bus='1' slot='2'"
        " function='0'/></source><address type='unassigned'/></hostdev>"
    )
    assert not [row for row in options(translated(xml), "device") if "vfio" in row["driver"]]


def test_smartcards_get_a_reader_each() -> None:
    made = translated("<smartcard mode='host'/>" * 2)
    assert [device(made, f"smartcard{n}")["bus"] for n in range(2)] == ["ccid0.0", "ccid1.0"]


MDEV = "<hostdev mode='subsystem' type='mdev' model='vfio-pci'>{}</hostdev>"


@pytest.mark.parametrize(
    ("xml", "what"),
    [
        ("<shmem name='m'><size unit='MiB'>3</size></shmem>", "no power of two"),
        ("<shmem name='m'><size unit='KiB'>4</size></shmem>", "no power of two"),
        ("<shmem name='a/b'/>", "is no good"),
        ("<shmem/>", "'name' is missing"),
        ("<shmem name='m'><model type='ivshmem-plain'/><msi/></shmem>", "needs a server"),
        (
            "<shmem name='m'><model type='ivshmem-plain'/><server path='/s'/></shmem>",
            "takes no server",
        ),
        ("<watchdog model='itco'/>", "part of q35"),
        ("<watchdog model='ib700'/><watchdog model='ib700'/>", "one model='ib700'"),
        ("<watchdog model='ib700' action='bark'/>", "is unknown"),
        ("<watchdog model='ib700'/><watchdog model='i6300esb' action='none'/>", "differs from"),
        ("<rng model='virtio'/>", "<backend> is missing"),
        ("<rng model='virtio'><backend model='dice'/></rng>", "'dice' is unknown"),
        ("<rng model='virtio'><backend model='egd' type='pty'/></rng>", "not supported"),
        ("<rng model='virtio'><rate/><backend model='random'/></rng>", "'bytes' is missing"),
        ("<panic model='s390'/>", "has no model='s390'"),
        ("<panic model='isa'/><panic model='isa'/>", "one model='isa'"),
        ("<vsock/><vsock/>", "there can be one"),
        ("<vsock><cid address='2'/></vsock>", "out of range"),
        ("<vsock><cid/></vsock>", "'address' is missing"),
        ("<crypto model='virtio' type='qemu'/>", "<backend> is missing"),
        (
            "<crypto model='virtio' type='qemu'><backend model='builtin' queues='2'/></crypto>",
            "one queue",
        ),
        ("<pstore backend='acpi-erst'><path>/p</path><size>8</size></pstore>", "needs ACPI"),
        ("<pstore backend='acpi-erst'><path>/p</path><size>7</size></pstore>", "power of two"),
        ("<iommu model='intel'/>", "has no model='intel'"),
        ("<iommu model='virtio'><driver intremap='on'/></iommu>", "takes no <driver>"),
        ("<tpm><backend type='emulator' version='3'/></tpm>", "version='3' is unknown"),
        ("<tpm><backend type='external'/></tpm>", "<source> is missing"),
        (
            "<tpm model='tpm-crb'><backend type='emulator' version='1.2'/></tpm>",
            "needs version='2.0'",
        ),
        ("<filesystem type='block'/>", "type='block' is not supported"),
        ("<filesystem><source dir='/a'/></filesystem>", "<target> is missing"),
        ("<filesystem><source socket='/a'/><target dir='t'/></filesystem>", "is for virtiofs"),
        (
            "<filesystem fmode='9'><source dir='/a'/><target dir='t'/></filesystem>",
            "no file mode",
        ),
        (
            "<filesystem><driver type='virtiofs'/><source dir='/a'/><target dir='t'/></filesystem>",
            "needs shared memory",
        ),
        (DIMM, "need NUMA cells"),
        ("<memory model='nvdimm'/>", "<target> is missing"),
        ("<hostdev mode='capabilities' type='misc'/>", "mode='capabilities'"),
        ("<hostdev mode='subsystem' type='scsi'><source/></hostdev>", "<adapter> is missing"),
        (MDEV.format("<source><address uuid='x'/></source>"), "is no uuid"),
        (MDEV.format("<source/>"), "<address> is missing"),
        (
            "<hostdev mode='subsystem' type='usb'><source><address bus='1' device='2'/></source>"
            "</hostdev>" * 2,
            "stands here twice",
        ),
        ("<redirdev bus='usb'/>", "'type' is missing"),
        ("<redirfilter><usbdev version='x' allow='yes'/></redirfilter>", "no version"),
        ("<redirfilter><usbdev/></redirfilter>", "'allow' is missing"),
        ("<smartcard mode='host-certificates'/>", "three are needed"),
        ("<smartcard mode='passthrough'/>", "'type' is missing"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(xml: str, what: str) -> None:
    found = errors(xml)
    here = f"vm.xml:{FIRST_DEVICE_LINE}: "
    assert any(what in error and error.startswith(here) for error in found), found


@pytest.mark.parametrize(
    ("xml", "what"),
    [
        (DIMM * 3, "<maxMemory> has 2 slots"),
        (DIMM.replace("<node>0", "<node>5"), "no NUMA cell 5"),
        (DIMM.replace("dimm", "virtio-mem"), "needs <block> and <requested>"),
        (
            "".join(
                DIMM.replace("</memory>", f"<address type='dimm' base='{base}'/></memory>")
                for base in ("0x200000000", "0x200200000")
            ),
            "overlaps",
        ),
    ],
)
def test_what_is_wrong_with_memory_devices(xml: str, what: str) -> None:
    found = errors(xml, parts=NUMA)
    assert any(what in error for error in found), found
