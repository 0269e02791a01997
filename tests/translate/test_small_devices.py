"""The smaller families: what is filled in, what is refused."""

import pytest

from qsuper.options import Access, Handle, OpenFile, SharedMemory
from qsuper.translate.site import HostData
from tests.support.domains import (
    FIRST_DEVICE_LINE,
    device,
    errors,
    obstacles,
    options,
    translated,
)
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


def test_a_smartcard_gets_a_reader() -> None:
    made = translated("<smartcard mode='host'/>")
    assert device(made, "ccid0")["driver"] == "usb-ccid"
    assert device(made, "smartcard0")["bus"] == "ccid0.0"


def test_certificates_have_a_database_anyway() -> None:
    certificates = "".join(f"<certificate>{name}</certificate>" for name in "abc")
    made = translated(f"<smartcard mode='host-certificates'>{certificates}</smartcard>")
    card = device(made, "smartcard0")
    assert (card["cert1"], card["cert3"], card["db"]) == ("a", "c", "/etc/pki/nssdb")


def tpm(kind: str, attributes: str, inside: str) -> str:
    return f"<tpm><backend type='{kind}' {attributes}>{inside}</backend></tpm>"


def filesystem(inside: str, attributes: str = "") -> str:
    return f"<filesystem {attributes}>{inside}<source dir='/a'/><target dir='t'/></filesystem>"


UUIDS = [f"c2177883-f1bb-47f0-914d-32a22e3a880{number}" for number in range(2)]
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
        (
            "<rng model='virtio'><backend model='egd'/></rng>",
            "<backend>: attribute 'type' is missing",
        ),
        ("<rng model='virtio'><rate bytes='x'/><backend model='random'/></rng>", "is not a number"),
        ("<panic model='s390'/>", "has no model='s390'"),
        ("<panic model='isa'/><panic model='isa'/>", "one model='isa'"),
        ("<vsock/><vsock/>", "there can be one"),
        ("<vsock><cid address='2'/></vsock>", "out of range"),
        ("<crypto model='virtio' type='qemu'/>", "<backend> is missing"),
        ("<panic model='isa'><address type='pci' slot='5'/></panic>", "has no such <address>"),
        ("<panic model='hyperv'><address type='isa' iobase='0x505'/></panic>", "no such <address>"),
        ("<panic model='isa'><address type='isa' iobase='zz'/></panic>", "no hexadecimal number"),
        (
            "<panic model='pvpanic'><address type='isa'/></panic>",
            "is not on a bus with such an <address>",
        ),
        ("<watchdog model='diag288'/>", "is part of s390x (i6300esb)"),
        (
            "<watchdog model='ib700'><address type='isa'/></watchdog>",
            "model='ib700' has no address",
        ),
        ("<redirfilter><usbdev allow='yes'/></redirfilter>" * 2, "<redirfilter>: there can be one"),
        ("<lease><target path='/x'/></lease>", "<lease>: <key> is missing"),
        ("<lease><lockspace>s</lockspace><key>k</key></lease>", "<lease>: <target> is missing"),
        ("<memballoon model='virtio'><stats period='x'/></memballoon>", "period='x' is not a"),
        (
            tpm("external", "", "<source type='unix' mode='bind' path='/s'/>"),
            "QEMU connects to an external TPM (mode='connect')",
        ),
        ("<tpm><backend type='emulator' debug='x'/></tpm>", "debug='x' is not a number"),
        (
            "<tpm><backend type='emulator' persistent_state='x'/></tpm>",
            "persistent_state='x' is unknown",
        ),
        (
            tpm("emulator", "version='2.0'", "<active_pcr_banks><md5/></active_pcr_banks>"),
            "<md5>: there is no such bank",
        ),
        (
            tpm("emulator", "version='1.2'", "<active_pcr_banks><sha256/></active_pcr_banks>"),
            "<profile> and <active_pcr_banks> need version='2.0'",
        ),
        (
            "<tpm><backend type='emulator'><encryption secret='x'/></backend></tpm>",
            "<encryption>: secret='x' is no uuid",
        ),
        ("<parallel type='null'><target port='x'/></parallel>", "port='x' is not a number"),
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
        (
            filesystem("<driver type='handle'/>", "accessmode='mapped'"),
            "driver type='handle' is always accessmode='passthrough'",
        ),
        (filesystem("<space_hard_limit>5</space_hard_limit>"), "QEMU limits no file system"),
        (filesystem("<boot order='1'/>"), "only virtiofs can be booted from (remove <boot>)"),
        (filesystem("", "fmode='700'"), "fmode= and dmode= need accessmode='mapped'"),
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
        (
            (
                "<hostdev mode='subsystem' type='usb'><source startupPolicy='x'><vendor id='0x1'/>"
                "<product id='0x2'/></source></hostdev>"
            ),
            "startupPolicy='x' is unknown",
        ),
        (
            (
                "<hostdev mode='subsystem' type='scsi_host'>"
                "<source protocol='vhost' wwpn='naa.12'/></hostdev>"
            ),
            "wwpn='naa.12' is no name",
        ),
        (
            (
                "<hostdev mode='subsystem' type='scsi' sgio='x'><source>"
                "<adapter name='scsi_host0'/><address bus='0' target='0' unit='0'/>"
                "</source></hostdev>"
            ),
            "sgio='x' is not supported by Linux (filtered)",
        ),
        (
            (
                "<hostdev mode='subsystem' type='pci'><source writeFiltering='no'>"
                "<address domain='0' bus='0' slot='1' function='0'/></source></hostdev>"
            ),
            "QEMU knows no writeFiltering=",
        ),
        (
            "<graphics type='vnc'/>"
            + "".join(
                MDEV.format(f"<source><address uuid='{UUIDS[n]}'/></source>") for n in (0, 1)
            ).replace("<hostdev", "<hostdev ramfb='on' display='on'"),
            "only one device can have ramfb='on'",
        ),
        (
            "<rng model='virtio'><backend model='random'/><boot order='1' loadparm='a_b'/></rng>",
            "loadparm='a_b' is none",
        ),
        ("<redirdev bus='usb'/>", "'type' is missing"),
        ("<redirfilter><usbdev version='x' allow='yes'/></redirfilter>", "no version"),
        ("<redirfilter><usbdev/></redirfilter>", "'allow' is missing"),
        ("<smartcard mode='host-certificates'/>", "three are needed"),
        ("<smartcard mode='passthrough'/>", "'type' is missing"),
        ("<smartcard mode='host'/>" * 2, "QEMU has room for one, in reader 0, slot 0"),
        (
            "<smartcard mode='host'><address type='ccid' controller='0' slot='1'/></smartcard>",
            "QEMU has room for one, in reader 0, slot 0",
        ),
        (
            (
                "<smartcard mode='host-certificates'><certificate>a</certificate><certificate>b"
                "</certificate><certificate>c</certificate><database>x/y</database></smartcard>"
            ),
            "<database> 'x/y' is no absolute path",
        ),
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


LASTING = (
    "<memory model='{}' {}>{}<source><path>/p</path></source>"
    "<target><size unit='MiB'>64</size>{}</target></memory>"
)
CELL = "<node>0</node>"


@pytest.mark.parametrize(
    ("xml", "what"),
    [
        (LASTING.format("virtio-pmem", "access='private'", "", ""), "virtio-pmem is always shared"),
        (LASTING.format("virtio-pmem", "", "", CELL), "virtio-pmem is in no NUMA cell"),
        (LASTING.format("nvdimm", "discard='yes'", "", CELL), "an nvdimm discards nothing"),
        (
            LASTING.format("nvdimm", "", f"<uuid>{UUIDS[0]}</uuid>", CELL),
            "an nvdimm has a uuid on pseries machines alone",
        ),
        (
            LASTING.format("nvdimm", "", "", f"{CELL}<label><size unit='KiB'>64</size></label>"),
            "<label> is below 128 KiB",
        ),
        (
            LASTING.format("nvdimm", "", "", f"{CELL}<label><size unit='MiB'>64</size></label>"),
            "<label> leaves no memory",
        ),
    ],
)
def test_what_is_wrong_with_memory_that_lasts(xml: str, what: str) -> None:
    [found] = errors(xml, parts=NUMA)
    assert found.startswith(f"vm.xml:{FIRST_DEVICE_LINE}: ")
    assert what in found


def test_a_label_may_be_on_memory_that_is_read_only() -> None:
    label = f"{CELL}<readonly/><label><size unit='KiB'>128</size></label>"
    made = translated(LASTING.format("nvdimm", "", "", label), parts=NUMA)
    row = device(made, "nvdimm0")
    assert (row["label-size"], row["unarmed"]) == (128 << 10, True)


def test_pmem_needs_no_cell() -> None:
    made = translated(LASTING.format("virtio-pmem", "", "", ""), parts=NUMA)
    assert device(made, "virtiopmem0")["memdev"] == "memvirtiopmem0"


@pytest.mark.parametrize(
    ("xml", "what"),
    [
        ("<iommu model='intel'><address type='pci' slot='9'/></iommu>", "has no address"),
        ("<iommu model='intel'><driver eim='on'/></iommu>", "eim='on' needs intremap='on'"),
        ("<iommu model='virtio'/>", "model='virtio' needs ACPI"),
        ("<watchdog model='ib700'/>", "only i440fx has an ISA bus for model='ib700'"),
    ],
)
def test_what_is_wrong_on_q35(xml: str, what: str) -> None:
    [found] = errors(xml, machine="q35")
    assert found.startswith(f"vm.xml:{FIRST_DEVICE_LINE}: ")
    assert what in found


@pytest.mark.parametrize(
    ("xml", "ident", "expected"),
    [
        (
            "<iommu model='intel'><driver intremap='on' aw_bits='39'/></iommu>",
            "iommu0",
            {"driver": "intel-iommu", "intremap": "on", "aw-bits": 39},
        ),
        (
            "<pstore backend='acpi-erst'><size>8</size></pstore>",
            "pstore0",
            {"memdev": "mempstore0"},
        ),
        (
            (
                "<hostdev mode='subsystem' type='mdev' model='vfio-pci'><source>"
                f"<address uuid='{UUIDS[0]}'/></source></hostdev>"
            ),
            "hostdev0",
            {"driver": "vfio-pci", "display": "off"},
        ),
        (
            (
                "<hostdev mode='subsystem' type='mdev' model='vfio-pci' ramfb='on'><source>"
                f"<address uuid='{UUIDS[0]}'/></source></hostdev>"
            ),
            "hostdev0",
            {"driver": "vfio-pci-nohotplug", "display": "off", "ramfb": True},
        ),
        (
            "<shmem name='m'><model type='ivshmem-doorbell'/><server path='/s'/></shmem>",
            "shmem0",
            {"ioeventfd": True},
        ),
        (
            (
                "<shmem name='m'><model type='ivshmem-doorbell'/><server path='/s'/>"
                "<msi ioeventfd='off'/></shmem>"
            ),
            "shmem0",
            {"ioeventfd": False},
        ),
    ],
)
def test_what_qemu_is_told(xml: str, ident: str, expected: dict[str, object]) -> None:
    row = device(translated(xml, machine="q35"), ident)
    assert {key: row.get(key) for key in expected} == expected


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("", {"driver": "pvpanic"}),
        ("<address type='isa'/>", {"driver": "pvpanic", "ioport": 0}),
        ("<address type='isa' iobase='505'/>", {"driver": "pvpanic", "ioport": 0x505}),
    ],
)
def test_a_panic_devices_port(address: str, expected: dict[str, object]) -> None:
    made = translated(f"<panic model='isa'>{address}</panic>")
    assert expected in options(made, "device")


def test_a_record_of_crashes_has_a_file_anyway() -> None:
    host = HostData(machine_id="m", nvram_dir="/nvram")
    made = translated("<pstore backend='acpi-erst'><size>8</size></pstore>", host=host)
    backend = options(made, "object")[-1]
    assert (backend["mem-path"], backend["size"]) == ("/nvram/vm_PSTORE.raw", 8192)


def test_two_cards_watch_the_guest() -> None:
    made = translated("<watchdog model='i6300esb'/>" * 2)
    places = [device(made, f"watchdog{number}")["addr"] for number in range(2)]
    assert len(set(places)) == 2


def test_a_builtin_crypto_device_has_one_queue() -> None:
    """Libvirt writes more, and QEMU does not start."""
    crypto = "<crypto model='virtio' type='qemu'><backend model='builtin' queues='{}'/></crypto>"
    text = "vm.xml:6: <crypto>: the back end 'builtin' has one queue (queues='1')"
    assert obstacles(crypto.format(2)) == [text]
    assert obstacles(crypto.format(1)) == []
    assert "queues" not in options(translated(crypto.format(0)), "object")[-1]


@pytest.mark.parametrize("kind", ["pty", "file"])
def test_random_numbers_come_by_any_character_device(kind: str) -> None:
    backend = f"<backend model='egd' type='{kind}'><source path='/x'/></backend>"
    made = translated(f"<rng model='virtio'>{backend}</rng>")
    assert options(made, "chardev")[0]["id"] == options(made, "object")[-1]["chardev"]


@pytest.mark.parametrize("rate", ["<rate/>", "<rate bytes='0'/>"])
def test_a_rate_of_nothing_is_no_limit(rate: str) -> None:
    made = translated(f"<rng model='virtio'>{rate}<backend model='random'/></rng>")
    assert "max-bytes" not in device(made, "rng0")


def test_a_vsock_address_is_derived_where_none_is_given() -> None:
    assert device(translated("<vsock><cid/></vsock>"), "vsock0")["guest-cid"] > 2


@pytest.mark.parametrize(
    ("attributes", "inside", "what"),
    [
        ("accessmode='mapped'", "", "virtiofs is always accessmode='passthrough'"),
        ("multidevs='remap'", "", "virtiofs has no multidevs="),
    ],
)
def test_what_virtiofs_has_not(attributes: str, inside: str, what: str) -> None:
    xml = filesystem(f"<driver type='virtiofs'/>{inside}", attributes)
    assert errors(xml, parts=SHARED) == [f"vm.xml:6: <filesystem>: {what} (remove it)"]


def test_a_lease_is_nobodys_here() -> None:
    xml = "<lease><lockspace>s</lockspace><key>k</key><target path='/x'/></lease>"
    said = [str(notice) for notice in translated(xml).notices]
    assert "vm.xml:6: <lease>: there is no lock manager here: nothing keeps others off" in said
