"""Parts of a PC or of a pseries on other machines: written as libvirt does, and not started.

libvirt 11.3 was asked about each of these, by `domxml-to-native` on a QEMU 10.0.
"""

import pytest

from tests.support.domains import device, errors, options, translated
from tests.support.emulators import emulator

CARD = "<interface type='user'><mac address='52:54:00:00:00:01'/><model type='{}'/>{}</interface>"
BARE = "<controller type='usb' model='none'/><memballoon model='none'/>"


@pytest.mark.parametrize(
    ("xml", "obstacle"),
    [
        ("<sound model='pcspk'/>", "<sound>: model='pcspk' is part of a PC (virtio or usb)"),
        (
            "<sound model='sb16'/>",
            "<sound>: this QEMU has no model='sb16' (ich6, ich9, usb, virtio)",
        ),
        ("<parallel type='pty'/>", "<parallel>: machine virt-9.2 has no parallel ports"),
        (
            "<controller type='fdc'/><disk type='file' device='floppy'><target dev='fda'/></disk>",
            "<controller type='fdc'>: machine 'virt-9.2' has no floppy controller",
        ),
        (
            "<controller type='scsi' model='ibmvscsi'/>",
            "<controller type='scsi'>: only pseries machines have model='ibmvscsi' (virtio-scsi)",
        ),
    ],
)
def test_what_the_machine_lacks_is_written_and_keeps_the_guest_from_starting(
    xml: str, obstacle: str
) -> None:
    caps = emulator("aarch64", types=["sb16", "spapr-vscsi"])
    found = translated(xml, arch="aarch64", machine="virt", caps=caps)
    assert [str(error) for error in found.obstacles] == [f"vm.xml:6: {obstacle}"]


def test_a_virtual_scsi_adapter_has_registers() -> None:
    xml = "<controller type='scsi' model='ibmvscsi'/><controller type='scsi' model='ibmvscsi'/>"
    made = translated(xml)
    assert device(made, "scsi0") == {"driver": "spapr-vscsi", "id": "scsi0", "reg": 0x2000}
    assert device(made, "scsi1") == {"driver": "spapr-vscsi", "id": "scsi1", "reg": 0x3000}


@pytest.mark.parametrize(
    ("model", "is_express"),
    [
        ("rtl8139", False),
        ("vmxnet3", False),
        ("lan9118", False),
        ("e1000e", True),
        ("igb", True),
        ("pcnet", True),
        ("smc91c111", True),
    ],
)
@pytest.mark.parametrize(("arch", "machine"), [("x86_64", "q35"), ("aarch64", "virt")])
def test_a_card_that_libvirt_does_not_know_is_taken_for_express(
    arch: str, machine: str, model: str, *, is_express: bool
) -> None:
    made = translated(BARE + CARD.format(model, ""), arch=arch, machine=machine)
    drivers = {row["id"]: row["driver"] for row in options(made, "device") if "id" in row}
    bus = drivers[device(made, "net0")["bus"]]
    assert bus == ("pcie-root-port" if is_express else "pcie-pci-bridge")
    assert options(made, "net") == []


def test_virtio_options_are_for_virtio_cards() -> None:
    driver = "<driver iommu='on'/>"
    [found] = errors(CARD.format("e1000", driver))
    assert "<interface>: iommu=, ats=, packed= and page_per_vq= are of virtio" in found
    assert errors(CARD.format("virtio", driver)) == []


def test_queues_of_other_cards_than_virtio_have_any_size() -> None:
    driver = "<driver rx_queue_size='1000'/>"
    assert "rx_queue_size" not in device(translated(CARD.format("e1000", driver)), "net0")
    assert errors(CARD.format("virtio", driver)) == [
        "vm.xml:6: <driver>: rx_queue_size='1000' is no power of two"
    ]


@pytest.mark.parametrize("kind", ["mouse", "keyboard", "tablet"])
def test_what_is_on_no_bus_is_no_device(kind: str) -> None:
    xml = f"<input type='{kind}' bus='none'/>"
    made = translated(xml, arch="aarch64", machine="virt")
    assert options(made, "device") == options(
        translated("", arch="aarch64", machine="virt"), "device"
    )
    assert errors("<input type='passthrough' bus='none'><source evdev='/d'/></input>") == [
        "vm.xml:6: <input>: type='passthrough' can't be on bus='none' of this machine (virtio)"
    ]


def test_a_second_card_that_draws_in_3d_is_one_of_its_kind() -> None:
    plain = "<video><model type='virtio'/></video>"
    drawing = "<video><model type='virtio'><acceleration accel3d='yes'/></model></video>"
    assert device(translated(plain + drawing), "video1")["driver"] == "virtio-gpu-gl-pci"
    old = emulator(types=["virtio-gpu-gl-pci"])
    found = device(translated(plain + drawing, caps=old), "video1")
    assert (found["driver"], found["virgl"]) == ("virtio-gpu-pci", True)


def test_the_role_belongs_to_memory_without_a_server() -> None:
    plain = "<shmem name='a' role='peer'><model type='ivshmem-plain'/></shmem>"
    bell = "<shmem name='b' role='peer'><model type='ivshmem-doorbell'/><server path='/s'/></shmem>"
    made = translated(plain + bell)
    assert device(made, "shmem0")["master"] == "off"
    assert "master" not in device(made, "shmem1")
