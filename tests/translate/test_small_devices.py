"""The smaller families: what is filled in, what is refused."""

import pytest

from qsuper.options import Access, Handle, OpenFile, SharedMemory
from tests.support.domains import (
    FIRST_DEVICE_LINE,
    device,
    errors,
    options,
    translated,
)
from tests.support.emulators import emulator

SHARED = "<memoryBacking><access mode='shared'/></memoryBacking>"


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
        ("<filesystem><source/><target dir='t'/></filesystem>", "'dir' is missing"),
        (
            filesystem("<driver type='mtp'/>", "accessmode='mapped'"),
            "driver type='mtp' is always accessmode='passthrough' (remove it)",
        ),
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
    ("attributes", "inside", "what"),
    [
        ("accessmode='mapped'", "", "virtiofs is always accessmode='passthrough'"),
        ("multidevs='remap'", "", "virtiofs has no multidevs="),
    ],
)
def test_what_virtiofs_has_not(attributes: str, inside: str, what: str) -> None:
    xml = filesystem(f"<driver type='virtiofs'/>{inside}", attributes)
    assert errors(xml, parts=SHARED) == [f"vm.xml:6: <filesystem>: {what} (remove it)"]
