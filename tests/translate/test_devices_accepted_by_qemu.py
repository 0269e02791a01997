"""A real QEMU takes the devices that we describe to it."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from qsuper.host.probe import capabilities
from qsuper.options import Option, SharedMemory
from qsuper.plan import LaunchPlan
from qsuper.translate.node import parse_xml
from qsuper.translate.passes import translate
from qsuper.translate.site import HostData
from tests.support.domains import domain

PATIENCE_S = 30
PARTS = (
    "<maxMemory slots='4' unit='GiB'>8</maxMemory><features><acpi/></features>"
    "<memoryBacking><access mode='shared'/></memoryBacking>"
    "<cpu><numa><cell id='0' cpus='0' memory='64' unit='MiB'/></numa></cpu>"
)
DEVICES = """
<interface type='user'><ip address='10.9.0.0' prefix='24'/>
  <portForward proto='tcp' address='127.0.0.1'><range start='39871' to='22'/></portForward>
  <model type='virtio'/><driver txmode='timer' event_idx='off' rx_queue_size='512' packed='on'>
  <host csum='off' gso='off'/><guest tso4='off'/></driver><rom bar='off'/>
  <boot order='1'/></interface>
<interface type='user'><model type='e1000e'/></interface>
<interface type='user'><model type='rtl8139'/><rom enabled='no'/></interface>
<interface type='user'><model type='virtio-transitional'/></interface>
<interface type='user'><model type='usb-net'/></interface>
<interface type='mcast'><source address='230.0.0.1' port='39872'/></interface>
<interface type='udp'><source address='127.0.0.1' port='39873'>
  <local address='127.0.0.1' port='39874'/></source></interface>
<graphics type='vnc' passwd='x' sharePolicy='ignore'><listen type='socket' socket='v,nc.sock'/>
</graphics>
<video><model type='vga' vram='32768' primary='yes'><resolution x='800' y='600'/></model></video>
<video><model type='virtio' heads='2'/></video>
<audio id='1' type='none' timerPeriod='500'><output mixingEngine='yes' fixedSettings='yes'>
  <settings frequency='44100' channels='2' format='s16'/></output></audio>
<audio id='2' type='file' path='out,put.wav'/>
<sound model='ich9'><codec type='micro'/></sound>
<sound model='ac97'><audio id='2'/></sound>
<sound model='usb' multichannel='yes'/>
<sound model='pcspk'/>
<input type='tablet' bus='usb'/>
<input type='keyboard' bus='virtio'/>
<rng model='virtio'><rate bytes='1024' period='500'/>
  <backend model='random'>/dev/urandom</backend></rng>
<rng model='virtio-non-transitional'><backend model='builtin'/></rng>
<watchdog model='i6300esb' action='pause'/>
<shmem name='box'><model type='ivshmem-plain'/><size unit='MiB'>1</size></shmem>
<panic model='isa'/>
<panic model='pvpanic'/>
<crypto model='virtio' type='qemu'><backend model='builtin' queues='1'/></crypto>
<pstore backend='acpi-erst'><path>last,words</path><size unit='KiB'>8</size></pstore>
<filesystem accessmode='mapped' fmode='0644' multidevs='remap'><driver type='path'/>
  <source dir='sha,re'/><target dir='share'/><readonly/></filesystem>
<filesystem accessmode='squash'><source dir='sha,re'/><target dir='loose'/></filesystem>
<memory model='dimm'><target><size unit='MiB'>32</size><node>0</node></target></memory>
<memory model='nvdimm'><source><path>pm,em</path></source>
  <target><size unit='MiB'>2</size><node>0</node><label><size>128</size></label></target></memory>
<iommu model='intel'><driver caching_mode='on' iotlb='on' aw_bits='48'/></iommu>
<smartcard mode='passthrough' type='unix'><source mode='connect' path='card.sock'>
  <reconnect enabled='yes' timeout='3'/></source></smartcard>
<redirfilter><usbdev class='0x08' allow='yes'/><usbdev allow='no'/></redirfilter>
<redirdev bus='usb' type='unix'><source mode='bind' path='redir.sock'/></redirdev>
"""
DEVICE_LIST = {"execute": "qom-list", "arguments": {"path": "/machine/peripheral"}}
MMIO = """
<interface type='user'/>
<rng model='virtio'><backend model='builtin'/></rng>
<input type='mouse' bus='virtio'/>
"""


def run(
    emulator: str, plan: LaunchPlan, directory: Path, *commands: str | dict[str, Any]
) -> list[Any]:
    """Give what a paused QEMU answers to the commands.

    Shared memory is a file here, since nothing is inherited.
    """
    memory = {part.name: part for part in plan.resources() if isinstance(part, SharedMemory)}
    words = [word for option in plan.options for word in option.argv()]
    for part in memory.values():
        shown = f"/dev/shm/{part.share}"
        path = directory / "memory" / part.name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(part.size_bytes))
        words = [word.replace(shown, str(path)) for word in words]
        ram = f"/var/lib/libvirt/qemu/ram/-1-vm/{part.name}"
        words = [word.replace(ram, str(path)) for word in words]
        words = [word.replace(ram.replace("/mem", "/"), str(path)) for word in words]
    session = ("qmp_capabilities", *commands, "quit")
    requests = [part if isinstance(part, dict) else {"execute": part} for part in session]
    done = subprocess.run(
        [emulator, *words, "-S", "-monitor", "none", "-qmp", "stdio"],
        input="".join(json.dumps(request) for request in requests),
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    replies = [
        json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"return"')
    ]
    return [reply["return"] for reply in replies[1:-1]]


@pytest.fixture
def emulator(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    found = shutil.which(f"qemu-system-{request.param}")
    if found is None:
        pytest.skip(f"qemu-system-{request.param} is not installed")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return found


@pytest.mark.qemu
@pytest.mark.parametrize("emulator", ["x86_64"], indirect=True)
@pytest.mark.parametrize("machine", ["q35", "pc"])
def test_a_pc_with_everything(emulator: str, machine: str, tmp_path: Path) -> None:
    home = tmp_path / "vm"
    (home / "sha,re").mkdir(parents=True)
    (home / "last,words").write_bytes(bytes(8192))
    (home / "pm,em").write_bytes(bytes(2 << 20))
    devices = DEVICES
    if machine == "pc":
        devices = devices[: devices.index("<iommu")] + devices[devices.index("<smartcard") :]
    xml = domain(devices, machine=machine, parts=PARTS).replace(b"'MiB'>64<", b"'MiB'>98<", 1)
    root = parse_xml(xml, "vm.xml", str(home))
    plan = translate(root, capabilities(emulator), HostData(machine_id="m")).plan

    dimms, vnc, made = run(emulator, plan, home, "query-memory-devices", "query-vnc", DEVICE_LIST)

    assert {row["data"]["id"] for row in dimms} == {"dimm0", "nvdimm1"}
    assert vnc["auth"] == "vnc"
    wanted = {row.get("id") for row in map(props, plan.options) if row} - {None}
    assert wanted <= {row["name"] for row in made}


def props(option: Option) -> dict[str, Any]:
    """Give the props of a front end; of another option, none."""
    return json.loads(option.argv()[1]) if option.name == "device" else {}


@pytest.mark.qemu
@pytest.mark.parametrize("emulator", ["aarch64"], indirect=True)
@pytest.mark.parametrize("machine", ["virt", "vexpress-a15"])
def test_an_arm_board(emulator: str, machine: str, tmp_path: Path) -> None:
    devices = MMIO if machine != "virt" else MMIO + "<panic/><video/><sound model='ich6'/>"
    xml = domain(devices, machine=machine, arch="aarch64")
    plan = translate(
        parse_xml(xml, "vm.xml", str(tmp_path)), capabilities(emulator), HostData(machine_id="m")
    ).plan
    [status] = run(emulator, plan, tmp_path, "query-status")
    assert status["status"] == "prelaunch"
