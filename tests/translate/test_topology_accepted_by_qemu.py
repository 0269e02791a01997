"""A real QEMU builds the buses that we describe, and finds the devices where we put them."""

import shutil
import subprocess
from pathlib import Path

import pytest

from qsuper.host.probe import capabilities
from qsuper.translate.node import parse_xml
from qsuper.translate.passes import translate
from qsuper.translate.places import PciAddress
from qsuper.translate.site import HostData
from tests.support.domains import domain

PATIENCE_S = 60
RNG = "<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>\n"
TABLET = "<input type='tablet' bus='usb'/>\n"
COMPANIONS = "".join(
    f"<controller type='usb' index='0' model='ich9-{name}'/>\n"
    for name in ("ehci1", "uhci1", "uhci2", "uhci3")
)
SCSI = "".join(
    f"<controller type='scsi' index='{index}' model='{model}'/>\n"
    for index, model in enumerate(
        ("lsilogic", "lsisas1068", "lsisas1078", "vmpvscsi", "virtio-scsi", "dc390", "am53c974")
    )
)
SWITCH = """<controller type='pci' index='1' model='pcie-root-port'/>
<controller type='pci' index='2' model='pcie-switch-upstream-port'/>
<controller type='pci' index='3' model='pcie-switch-downstream-port'/>
<controller type='pci' index='4' model='pcie-switch-downstream-port'/>
<controller type='pci' index='5' model='pcie-expander-bus'/>
<controller type='pci' index='6' model='pcie-root-port'><address type='pci' bus='5'/></controller>
<controller type='pci' index='7' model='dmi-to-pci-bridge'/>
<controller type='pci' index='8' model='pci-bridge'/>
<controller type='pci' index='9' model='pcie-root-port'/>
<controller type='pci' index='10' model='pcie-to-pci-bridge'/>
"""
DOMAINS = [
    ("x86_64", "pc", RNG * 40 + TABLET * 12 + SCSI),
    ("x86_64", "pc", COMPANIONS + TABLET * 8 + "<controller type='ccid'/>"),
    ("x86_64", "pc", "<controller type='pci' index='1' model='pci-expander-bus'/>" + RNG),
    ("x86_64", "q35", RNG * 12 + TABLET * 6 + SCSI),
    ("x86_64", "q35", COMPANIONS + SWITCH + RNG * 5 + "<controller type='sata' index='1'/>"),
    ("x86_64", "q35", "<controller type='usb' model='qemu-xhci' ports='15'/>" + TABLET * 40),
    ("aarch64", "virt", RNG * 9 + "<controller type='usb'/>" + TABLET * 5 + SCSI),
    ("riscv64", "virt", RNG * 9 + "<controller type='usb' model='qemu-xhci'/>" + SCSI),
]


@pytest.mark.qemu
@pytest.mark.parametrize(("arch", "machine", "devices"), DOMAINS)
def test_topology(
    arch: str, machine: str, devices: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    emulator = shutil.which(f"qemu-system-{arch}")
    if emulator is None:
        pytest.skip("QEMU is not installed")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    xml = domain(devices, machine=machine, arch=arch)
    found = translate(parse_xml(xml, "vm.xml"), capabilities(emulator), HostData(machine_id="m"))
    words = [word for option in found.plan.options for word in option.argv()]

    done = subprocess.run(
        [emulator, *words, "-S", "-monitor", "stdio"],
        input="info qtree\nquit\n",
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "error" not in done.stderr.lower(), done.stderr
    lines = [line.strip() for line in done.stdout.splitlines()]
    built = sorted(line.removeprefix("addr = ") for line in lines if line.startswith("addr = "))
    wanted = [
        f"{device.address.slot:02x}.{device.address.function:x}"
        for device in found.domain.devices
        if isinstance(device.address, PciAddress)
    ]
    for place in set(wanted):
        assert built.count(place) >= wanted.count(place)
