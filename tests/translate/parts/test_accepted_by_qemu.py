"""Real QEMUs take the machines that we describe to them, and report them as described."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from qsuper.host.probe import capabilities
from tests.support.grounds import domain, host, translated

PATIENCE_S = 60
NUMA = (
    "<vcpu>4</vcpu><cpu><topology sockets='1' dies='2' cores='2' threads='1'/><numa>"
    "<cell cpus='0-1' memory='64' unit='MiB'><distances><sibling id='1' value='21'/></distances>"
    "</cell><cell cpus='2-3' memory='32' unit='MiB'/></numa></cpu>"
)
EVERYTHING = (
    "<vcpu current='1'>2</vcpu><genid/><iothreads>2</iothreads>"
    "<memoryBacking><nosharepages/><source type='memfd'/><access mode='shared'/>"
    "<allocation mode='immediate' threads='2'/></memoryBacking>"
    "<sysinfo type='smbios'><system><entry name='serial'>a,b=c</entry></system>"
    "<oemStrings><entry>x, y</entry></oemStrings></sysinfo>"
    "<sysinfo type='fwcfg'><entry name='opt/org.example/a'>b,c</entry></sysinfo>"
    "<features><acpi/><vmport state='off'/><smm state='on'><tseg unit='MiB'>16</tseg></smm>"
    "<vmcoreinfo/><ps2 state='on'/><pmu state='off'/><tcg><tb-cache unit='MiB'>64</tb-cache></tcg>"
    "</features><cpu><model>qemu64</model><feature name='pclmuldq' policy='optional'/>"
    "<feature name='svm' policy='disable'/><maxphysaddr mode='emulate' bits='40'/></cpu>"
    "<clock offset='variable' adjustment='3600'><timer name='rtc' tickpolicy='catchup'/>"
    "<timer name='hpet' present='no'/></clock><pm><suspend-to-mem enabled='no'/></pm>"
)


def asked(xml: str, arch: str, *commands: dict[str, Any]) -> list[Any]:
    """Start a real QEMU of *arch* on the domain, stopped, and give its replies to *commands*."""
    binary = {"armv7l": "arm"}.get(arch, arch)
    emulator = shutil.which(f"qemu-system-{binary}")
    if emulator is None:
        pytest.skip(f"there is no QEMU for {arch}")
    plan = translated(xml, caps=capabilities(emulator), data=host(arch)).plan
    words = [word for option in plan.options for word in option.argv()]
    session = [{"execute": "qmp_capabilities"}, *commands, {"execute": "quit"}]
    done = subprocess.run(
        [emulator, *words, "-S", "-monitor", "none", "-qmp", "stdio"],
        input="".join(map(json.dumps, session)),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    replies = [json.loads(line) for line in done.stdout.splitlines()]
    assert not [reply for reply in replies if "error" in reply]
    return [reply["return"] for reply in replies if "return" in reply][1:-1]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


@pytest.mark.qemu
@pytest.mark.parametrize(
    ("arch", "machine"),
    [
        ("x86_64", "pc"),
        ("x86_64", "q35"),
        ("x86_64", "isapc"),
        ("x86_64", "none"),
        ("aarch64", "virt"),
        ("aarch64", "none"),
        ("armv7l", "virt"),
        ("armv7l", "vexpress-a9"),
        ("riscv64", "virt"),
    ],
)
def test_boards(arch: str, machine: str) -> None:
    (status,) = asked(domain(arch=arch, machine=machine), arch, {"execute": "query-status"})
    assert status["status"] == "prelaunch"


@pytest.mark.qemu
def test_everything_at_once() -> None:
    cpus, memory, threads, rtc = asked(
        domain(EVERYTHING, system="<smbios mode='sysinfo'/><bootmenu enable='yes'/>"),
        "x86_64",
        {"execute": "query-cpus-fast"},
        {"execute": "query-memdev"},
        {"execute": "query-iothreads"},
        {"execute": "qom-get", "arguments": {"path": "/machine", "property": "rtc-time"}},
    )
    assert len(cpus) == 1
    assert [(row["id"], row["size"], row["share"]) for row in memory] == [
        ("pc.ram", 64 << 20, True)
    ]
    assert sorted(row["id"] for row in threads) == ["iothread1", "iothread2"]
    # One billion seconds after the epoch, and an hour.
    assert (rtc["tm_year"], rtc["tm_mon"], rtc["tm_mday"], rtc["tm_hour"]) == (101, 8, 9, 2)


@pytest.mark.qemu
def test_numa_cells() -> None:
    memory, cpus = asked(
        domain(NUMA), "x86_64", {"execute": "query-memdev"}, {"execute": "query-hotpluggable-cpus"}
    )
    assert {row["id"]: row["size"] for row in memory} == {
        "ram-node0": 64 << 20,
        "ram-node1": 32 << 20,
    }
    places = {(row["props"]["die-id"], row["props"]["core-id"]): row for row in cpus}
    assert {place: row["props"]["node-id"] for place, row in places.items()} == {
        (0, 0): 0,
        (0, 1): 0,
        (1, 0): 1,
        (1, 1): 1,
    }


@pytest.mark.qemu
def test_a_host_model_is_the_best_cpu_of_the_accelerator() -> None:
    """Word by word of CPUID."""
    words = {
        "execute": "qom-get",
        "arguments": {"path": "/machine/unattached/device[0]", "property": "feature-words"},
    }
    described = asked(domain("<cpu mode='host-model'/>"), "x86_64", words)
    assert described == asked(domain("<cpu mode='maximum'/>"), "x86_64", words)
    assert described != asked(domain(), "x86_64", words)
