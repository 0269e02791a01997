"""A real QEMU builds the buses that we describe, and finds the devices where we put them."""

import json
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


def qtree(argv: list[str]) -> str:
    """Give the devices of a QEMU; it ends only once it has told all."""
    info = {"execute": "human-monitor-command", "arguments": {"command-line": "info qtree"}}
    with subprocess.Popen(
        [*argv, "-S", "-qmp", "stdio"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as qemu:  # fmt: skip
        assert qemu.stdin is not None
        assert qemu.stdout is not None
        qemu.stdin.write(f'{{"execute": "qmp_capabilities"}}\n{json.dumps(info)}\n')
        qemu.stdin.flush()
        answers = (json.loads(line).get("return") for line in qemu.stdout)
        told = next((answer for answer in answers if answer), "")
        _, said = qemu.communicate('{"execute": "quit"}\n', PATIENCE_S)
    assert qemu.returncode == 0, said
    assert "error" not in said.lower(), said
    return str(told)


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

    lines = [line.strip() for line in qtree([emulator, *words]).splitlines()]
    built = sorted(line.removeprefix("addr = ") for line in lines if line.startswith("addr = "))
    wanted = [
        f"{device.address.slot:02x}.{device.address.function:x}"
        for device in found.domain.devices
        if isinstance(device.address, PciAddress)
    ]
    for place in set(wanted):
        assert built.count(place) >= wanted.count(place)
