"""The same buses and places as libvirt gives on the same QEMU, asked of its embedded driver.

The domains are random, from a fixed seed. They avoid what has changed between libvirt's versions
(the order of controllers that are added) and what its conversion drops (addresses of interfaces).
"""

import json
import random
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from qsuper.errors import QsuperError
from qsuper.host.probe import capabilities
from qsuper.translate.node import parse_xml
from qsuper.translate.passes import translate
from qsuper.translate.site import HostData

PATIENCE_S = 300
EMBEDDED_DRIVER = "usr/lib/*/libvirt/connection-driver/libvirt_driver_qemu.so"
COUNT = 40
KEYS = ("driver", "bus", "addr", "port", "nr", "multifunction", "chassis", "chassis_nr", "bus_nr")
KEYS_OF_COMPANIONS = ("masterbus", "firstport")
MACHINES = (
    ("x86_64", "pc"),
    ("x86_64", "q35"),
    ("x86_64", "q35"),
    ("aarch64", "virt"),
    ("riscv64", "virt"),
)
ICH9 = ("ich9-ehci1", "ich9-uhci1", "ich9-uhci2", "ich9-uhci3")
DEVICES = (
    "<interface type='user'><mac address='{mac}'/><model type='virtio'/></interface>",
    "<interface type='user'><mac address='{mac}'/><model type='e1000'/></interface>",
    "<interface type='user'><mac address='{mac}'/><model type='e1000e'/></interface>",
    "<interface type='user'><mac address='{mac}'/><model type='virtio-transitional'/></interface>",
    "<rng model='virtio'><backend model='random'>/dev/urandom</backend>{pci}</rng>",
    "<controller type='scsi' model='virtio-scsi'>{pci}</controller>",
    "<controller type='scsi' model='lsilogic'>{pci}</controller>",
    "<controller type='virtio-serial'>{pci}</controller>",
    "<input type='tablet' bus='usb'>{usb}</input>",
    "<input type='mouse' bus='usb'/>",
    "<input type='keyboard' bus='virtio'>{pci}</input>",
    "<sound model='ich6'>{pci}</sound>",
    "<sound model='ich9'/>",
    "<channel type='pty'><target type='virtio' name='c'/></channel>",
    "<hub type='usb'/>",
)
USB_CONTROLLERS = ("qemu-xhci", "nec-xhci", "piix3-uhci", "ehci", "pci-ohci")


def random_domain(dice: random.Random, name: str) -> tuple[str, str]:
    """Give an architecture and a domain for it."""
    arch, machine = dice.choice(MACHINES)
    lines = [f"<controller type='usb' index='0' model='{dice.choice(USB_CONTROLLERS)}'/>"]
    more = range(1, dice.choice((1, 1, 2, 3)))
    lines += [f"<controller type='usb' index='{index}' model='ehci'/>" for index in more]
    if dice.random() < 0.3:
        lines += [f"<controller type='usb' index='7' model='{model}'/>" for model in ICH9]
    lines += [device(dice) for _ in range(dice.choice((1, 4, 9, 16, 40)))]
    if dice.random() < 0.4:
        lines.append("<video><model type='virtio'/></video>")
    return arch, "\n".join(
        (
            f"<domain type='qemu'><name>{name}</name><memory unit='MiB'>64</memory>",
            f"<os><type arch='{arch}' machine='{machine}'>hvm</type></os><devices>",
            f"<emulator>{shutil.which(f'qemu-system-{arch}')}</emulator>",
            *lines,
            "</devices></domain>",
        )
    )


def device(dice: random.Random) -> str:
    """Give a device, now and then with an address."""
    mac = ":".join(("52:54:00", *(f"{dice.randrange(256):02x}" for _ in range(3))))
    bus, slot = dice.choice(((0, 4), (0, 9), (0, 0x1D), (1, 0), (2, 1), (3, 5)))
    pci = f"<address type='pci' bus='{bus}' slot='{slot}'/>" if dice.random() < 0.08 else ""
    usb = "<address type='usb' bus='0' port='2'/>" if dice.random() < 0.1 else ""
    return dice.choice(DEVICES).format(mac=mac, pci=pci, usb=usb)


def places(argv: list[str]) -> list[dict[str, str]]:
    """Give what a command line says of the devices' buses and places."""
    pairs = pairwise(argv)
    rows = [json.loads(word) for option, word in pairs if option == "-device" and word[0] == "{"]
    keys = ("id", *KEYS, *KEYS_OF_COMPANIONS)
    found = [{key: str(row[key]) for key in keys if key in row} for row in rows]
    return sorted(found, key=lambda row: sorted(row.items()))


def by_libvirt(files: list[Path], root: Path) -> Iterator[list[dict[str, str]] | None]:
    """Ask libvirt for each file; None where it refuses."""
    script = "".join(f"echo @@\ndomxml-to-native qemu-argv --xml {path}\n" for path in files)
    done = subprocess.run(
        ["virsh", "-q", "-c", f"qemu:///embed?root={root}"],
        input=script + "quit\n",
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    if "@@" not in done.stdout:
        pytest.skip(f"libvirt's driver does not work here: {done.stderr[-200:]}")
    for answer in re.split(r"@@\n", done.stdout)[1:]:
        words = shlex.split(answer)
        yield places(words) if "-machine" in words else None


def by_us(path: Path, arch: str) -> list[dict[str, str]] | None:
    """Translate; None where it is refused."""
    emulator = shutil.which(f"qemu-system-{arch}")
    assert emulator is not None
    root = parse_xml(path.read_bytes(), str(path))
    try:
        plan = translate(root, capabilities(emulator), HostData(arch=arch)).plan
    except QsuperError:
        return None
    return places([word for option in plan.options for word in option.argv()])


@pytest.mark.qemu
def test_random_domains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not shutil.which("virsh") or not list(Path("/").glob(EMBEDDED_DRIVER)):
        pytest.skip("libvirt's QEMU driver is not installed")
    if not all(shutil.which(f"qemu-system-{arch}") for arch, _ in MACHINES):
        pytest.skip("a QEMU is not installed")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    dice = random.Random(20)
    cases: list[tuple[str, Path]] = []
    for number in range(COUNT):
        arch, xml = random_domain(dice, f"vm{number}")
        path = tmp_path / f"vm{number}.xml"
        path.write_text(xml)
        cases.append((arch, path))
    root = tmp_path / "libvirt"
    root.mkdir()
    answers = list(by_libvirt([path for _, path in cases], root))
    assert len(answers) == COUNT
    assert sum(answer is not None for answer in answers) > COUNT // 3
    for (arch, path), answer in zip(cases, answers, strict=True):
        assert by_us(path, arch) == answer, path.read_text()
