"""Emulators and hosts made by hand, small enough to see what a test depends on."""

from collections.abc import Mapping
from typing import Final

import pytest

from qsuper.caps import Caps, Machine, Schema
from qsuper.errors import ConfigError, ConfigErrors
from qsuper.plan import LaunchPlan
from qsuper.translate.model import Translation
from qsuper.translate.node import parse_xml
from qsuper.translate.passes import translate
from qsuper.translate.site import HostData

_MACHINES: Final[Mapping[str, tuple[Machine, ...]]] = {
    "x86_64": (
        Machine(
            name="pc-i440fx-10.0",
            alias="pc",
            default_cpu="qemu64-x86_64-cpu",
            default_ram_id="pc.ram",
            max_cpus=255,
            numa_mem=False,
            acpi=True,
        ),
        Machine(
            name="pc-q35-10.0",
            alias="q35",
            default_cpu="qemu64-x86_64-cpu",
            default_ram_id="pc.ram",
            max_cpus=4096,
            numa_mem=False,
            acpi=True,
        ),
        Machine(
            name="pc-q35-4.2",
            default_cpu="qemu64-x86_64-cpu",
            default_ram_id="pc.ram",
            max_cpus=288,
            acpi=True,
        ),
        Machine(name="isapc", default_cpu="486-i386-cpu", default_ram_id="pc.ram", acpi=False),
        Machine(name="none", default_ram_id="ram", acpi=False),
    ),
    "aarch64": (
        Machine(
            name="virt-10.0",
            alias="virt",
            default_cpu="cortex-a15-arm-cpu",
            default_ram_id="mach-virt.ram",
            max_cpus=512,
            numa_mem=False,
            acpi=True,
        ),
        Machine(name="vexpress-a9", default_cpu="cortex-a9-arm-cpu", max_cpus=4),
    ),
    "riscv64": (
        Machine(
            name="virt",
            default_cpu="rv64-riscv-cpu",
            default_ram_id="riscv_virt_board.ram",
            max_cpus=512,
            acpi=True,
        ),
    ),
}
_TYPES: Final = frozenset({"thread-context", "vmgenid", "pcie-root-port", "usb-ehci"})
_PROPS: Final = {
    "x86_64": {
        "max-x86_64-cpu": frozenset({"migratable"}),
        "kvm-pit": frozenset({"lost_tick_policy"}),
    }
}
BEST_CPU: Final[Mapping[str, object]] = {
    "avx2": True,
    "svm": False,
    "pclmulqdq": True,
    "model": 107,
    "vendor": "AuthenticAMD",
}
"""What `emulator` says of its CPU."""


def emulator(arch: str = "x86_64") -> Caps:
    """Give what an emulator without devices can do."""
    machines = _MACHINES[arch]
    names = {machine.name: machine for machine in machines}
    aliases = {machine.alias: machine for machine in machines if machine.alias}
    expansion = {
        "arguments": {"type": "static", "model": {"name": "max"}},
        "return": {"model": {"name": "base", "props": BEST_CPU}},
    }
    return Caps(
        arch=arch,
        version=(10, 0, 0),
        types=_TYPES,
        props=_PROPS.get(arch, {}),
        machines=names | aliases,
        schema=Schema({}),
        command_line={
            "machine": frozenset({"hpet"}),
            "smp-opts": frozenset({"dies", "clusters"}),
            "run-with": frozenset({"async-teardown"}),
            "sandbox": frozenset({"enable"}),
        },
        cpu_expansions={"tcg": (expansion,), "kvm": (expansion,)} if arch == "x86_64" else {},
    )


def host(arch: str = "x86_64") -> HostData:
    """Give a host with huge pages, two NUMA nodes and a clock that stands."""
    return HostData(
        arch=arch,
        machine_id="0123456789abcdef0123456789abcdef",
        now_s=1_000_000_000,
        utc_offset_s=3600,
        hugepages={2 << 20: "/mnt/huge/{domain}", 1 << 30: "/mnt/giant"},
        numa_nodes=frozenset({0, 1}),
    )


def domain(
    inside: str = "",
    *,
    kind: str = "qemu",
    arch: str = "x86_64",
    machine: str = "q35",
    system: str = "",
    memory: str = "<memory unit='MiB'>64</memory>",
) -> str:
    """Give a domain's XML: *inside* stands on line 3, *system* in `<os>` on line 2."""
    devices = "<memballoon model='none'/>"
    if arch == "x86_64":
        devices += "<controller type='usb' model='none'/>"
    return (
        f"<domain type='{kind}' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>"
        f"<name>vm</name>{memory}\n"
        f"<os><type arch='{arch}' machine='{machine}'>hvm</type>{system}</os>\n"
        f"{inside}\n"
        f"<devices><emulator>/usr/bin/qemu</emulator>{devices}</devices></domain>"
    )


def translated(
    xml: str, *, caps: Caps | None = None, data: HostData | None = None, arch: str = "x86_64"
) -> Translation:
    """Translate *xml*, on the emulator and host of this module unless others are given."""
    root = parse_xml(xml.encode(), "vm.xml", "/vms")
    return translate(root, caps or emulator(arch), data or host(arch))


def messages(xml: str, *, arch: str = "x86_64") -> list[str]:
    """Give what is said of *xml*, which is wrong."""
    with pytest.raises((ConfigError, ConfigErrors)) as caught:
        translated(xml, arch=arch)
    several = caught.value.errors if isinstance(caught.value, ConfigErrors) else [caught.value]
    return [str(error) for error in several]


def lines(plan: LaunchPlan, *names: str) -> list[str]:
    """Give the values of the options called *names* as they stand on the command line."""
    return [
        " ".join(option.argv()[1:]) for option in plan.options if not names or option.name in names
    ]
