"""`<features>`: switches of the machine and what the hypervisor offers to the guest."""

from collections.abc import Iterator
from enum import StrEnum, unique
from typing import Final, Self

from msgspec import Struct

from qsuper.errors import ConfigError
from qsuper.options import Option, Props, Value
from qsuper.translate.node import Node
from qsuper.translate.parts.hypervisor import (
    Hyperv,
    KvmFeatures,
    refuse_unknown,
    said_state,
    state,
)
from qsuper.translate.site import Site

_MIB: Final = 1 << 20
_REFUSED: Final = ("htm", "nested-hv", "ccf-assist")
"""Those of pseries machines, which no other can even have switched off."""
_REFUSED_IF_SET: Final = {"hpt": "resizing", "cfpc": "value", "sbbc": "value", "ibs": "value"}
"""Those of pseries machines that say nothing without this attribute."""
_OF_OTHERS: Final = ("pae", "hap", "privnet", "xen", "viridian", "msrs", "capabilities")
"""Without meaning for QEMU, where libvirt takes them in silence, too."""
_KNOWN: Final = (
    *("acpi", "apic", "ioapic", "gic", "aia", "vmcoreinfo", "async-teardown"),
    *("hyperv", "kvm", "tcg"),
)
_GIC_UNDER_TCG: Final = 2  # libvirt never chooses 3 without KVM, for guests made long ago


@unique
class _Msrs(StrEnum):
    """What becomes of model-specific registers that nobody knows."""

    IGNORE = "ignore"
    FAULT = "fault"


@unique
class Ioapic(StrEnum):
    """Who emulates the I/O APIC."""

    KVM = "kvm"
    QEMU = "qemu"


@unique
class GicVersion(StrEnum):
    """Version of ARM's interrupt controller."""

    HOST = "host"
    V2 = "2"
    V3 = "3"


@unique
class Aia(StrEnum):
    """RISC-V's advanced interrupt architecture."""

    NONE = "none"
    APLIC = "aplic"
    APLIC_IMSIC = "aplic-imsic"


# Switches with a state: the element and the field, in which None is QEMU's default.
_SWITCHES: Final = {
    "pmu": "pmu",
    "vmport": "vmport",
    "ps2": "ps2",
    "ras": "ras",
    "pvspinlock": "pvspinlock",
    "smm": "smm",
}
_SAID: Final = ("ras", "ps2")
"""Switches that are not on for merely being there."""


class Features(Struct, frozen=True, kw_only=True):
    """What stands in `<features>`."""

    node: Node | None = None
    has_acpi: bool = False
    eoi: bool | None = None
    """Paravirtual end of interrupt, `<apic eoi=>`."""
    pmu: bool | None = None
    vmport: bool | None = None
    ps2: bool | None = None
    ras: bool | None = None
    pvspinlock: bool | None = None
    smm: bool | None = None
    tseg_bytes: int | None = None
    ioapic: Ioapic | None = None
    gic: GicVersion | None = None
    gic_node: Node | None = None
    aia: Aia | None = None
    has_vmcoreinfo: bool = False
    async_teardown: bool | None = None
    tb_cache_bytes: int | None = None
    hyperv: Hyperv | None = None
    kvm: KvmFeatures | None = None

    @classmethod
    def parse(cls, node: Node) -> Self:
        """Read `<features>` of `<domain>`.

        Raises:
            ConfigError: an unknown word, a number out of range, a feature of another hypervisor.
        """
        found = node.child("features")
        if found is None:
            return cls()
        for refused in found.children(*_REFUSED, *_REFUSED_IF_SET):
            switch = _REFUSED_IF_SET.get(refused.tag)
            if switch is None or refused.has(switch) or any(refused.children()):
                raise refused.error("only pseries guests have it", hint="remove it")
        for registers in found.children("msrs"):
            registers.enum("unknown", _Msrs)
        others = (*_OF_OTHERS, *_REFUSED_IF_SET)
        found.accept(*others)
        refuse_unknown(found, (*_KNOWN, *_SWITCHES), unsaid=others)
        apic, ioapic, gic = found.child("apic"), found.child("ioapic"), found.child("gic")
        aia, core = found.child("aia"), found.child("vmcoreinfo")
        teardown = found.child("async-teardown")
        hyperv, kvm = found.child("hyperv"), found.child("kvm")
        return cls(
            node=found,
            has_acpi=found.child("acpi") is not None,
            eoi=apic.on_off("eoi") if apic is not None else None,
            **_switches(found),
            tseg_bytes=_tseg(found),
            ioapic=ioapic.enum("driver", Ioapic, None) if ioapic is not None else None,
            gic=gic.enum("version", GicVersion, None) if gic is not None else None,
            gic_node=gic,
            aia=aia.enum("value", Aia, None) if aia is not None else None,
            has_vmcoreinfo=core is not None and state(core),
            async_teardown=(
                teardown.yes_no("enabled") is not False if teardown is not None else None
            ),
            tb_cache_bytes=_tb_cache(found),
            hyperv=Hyperv.parse(hyperv) if hyperv is not None else None,
            kvm=KvmFeatures.parse(kvm) if kvm is not None else None,
        )

    def problems(self, site: Site) -> Iterator[ConfigError]:
        """Give what the machine or the accelerator has not."""
        if self.node is None:
            return
        info = site.machine_info
        if self.has_acpi and info is not None and info.acpi is False:
            yield self.node.error(f"machine '{site.machine}' has no ACPI", hint="remove <acpi/>")
        if self.gic_node is not None and not (site.is_arm and site.is_virt):
            yield self.gic_node.error(f"machine '{site.machine}' has no GIC to choose")
        if self.ps2 is False and self.vmport:
            yield self.node.error("<vmport> needs the <ps2> controller", hint="switch <ps2> on")
        if self.tseg_bytes is not None and not site.is_q35:
            yield self.node.error("only q35 machines have <tseg>", hint="remove it")
        if self.tb_cache_bytes is not None and site.is_kvm:
            yield self.node.error("<tb-cache> is for domains of type qemu", hint="remove it")
        yield from self._needs(site)

    def obstacles(self, site: Site) -> Iterator[ConfigError]:
        """Give what can be written and not be started."""
        if self.gic is GicVersion.HOST and self.gic_node is not None and not site.is_kvm:
            yield self.gic_node.error("version='host' needs KVM", hint="2 or 3")
        if self.smm is not None and self.node is not None and not site.is_x86:
            yield self.node.error(f"machine '{site.machine}' has no <smm>", hint="remove it")

    def _needs(self, site: Site) -> Iterator[ConfigError]:
        """Give the switches that only other architectures have."""
        needs = {
            "vmport": (self.vmport is not None, site.is_x86),
            "ioapic": (self.ioapic is not None, site.is_x86),
            "pvspinlock": (self.pvspinlock is not None, site.is_x86),
            "apic eoi=": (self.eoi is not None, site.is_x86),
            "hyperv": (self.hyperv is not None, site.is_x86 or site.is_arm),
            "ras": (self.ras is not None, site.is_arm and site.is_virt),
            "aia": (self.aia is not None, site.is_riscv and site.is_virt),
            "ps2": (self.ps2 is not None, site.is_i440fx or site.is_q35),
        }
        for tag, (is_said, is_there) in needs.items():
            if self.node is not None and is_said and not is_there:
                yield self.node.error(
                    f"machine '{site.machine}' has no <{tag}> to switch", hint="remove it"
                )

    def gic_version(self, site: Site) -> str | None:
        """Give the value of `gic-version=`; libvirt always chooses one on arm `virt`."""
        if not (site.is_arm and site.is_virt):
            return None
        if self.gic is not None:
            return self.gic
        versions = site.caps.gic_versions.get("kvm", ()) if site.is_kvm else ()
        return str(max(versions, default=_GIC_UNDER_TCG))

    def machine_props(self, site: Site, *, needs_smm: bool = False) -> Props:
        """Give the props of `-machine` that come from features.

        Args:
            site: The ground.
            needs_smm: The firmware can't do without system management mode.
        """
        chips = {Ioapic.QEMU: "split", Ioapic.KVM: "on"}
        return {
            "vmport": self.vmport,
            "smm": True if needs_smm else self.smm,
            "gic-version": self.gic_version(site),
            "kernel_irqchip": chips[self.ioapic] if self.ioapic is not None else None,
            "i8042": self.ps2,
            "ras": self.ras,
            "aia": self.aia,
        }

    def acpi_props(self, site: Site) -> Props:
        """Give `acpi=` of `-machine`, which stands last; nothing where the machine has none."""
        info = site.machine_info
        says = info is not None and info.acpi
        return {"acpi": self.has_acpi if says else None}

    def acpi_options(self, site: Site) -> Iterator[Option]:
        """Give `-no-acpi`, for emulators that do not say which machines take `acpi=`."""
        info = site.machine_info
        is_unsaid = info is not None and info.acpi is None and site.machine != "none"
        has_tables = site.is_x86 or (site.is_arm and site.is_virt)
        if is_unsaid and has_tables and not self.has_acpi:
            yield Option.flag("no-acpi")

    def accel_props(self, site: Site) -> Props:
        """Give the props of `-accel`."""
        if site.is_kvm:
            return {
                "accel": "kvm",
                "dirty-ring-size": self.kvm.ring_size if self.kvm is not None else None,
            }
        cache = self.tb_cache_bytes
        return {"accel": "tcg", "tb-size": cache // _MIB if cache is not None else None}

    def cpu_props(self) -> Props:
        """Give the props of `-cpu` that stand after the timers'; `hv-crash` is the panic's."""
        props: dict[str, Value] = {"kvm-pv-eoi": self.eoi, "kvm-pv-unhalt": self.pvspinlock}
        return props | dict(self.hyperv.cpu_props if self.hyperv is not None else {})

    def late_cpu_props(self) -> Props:
        """Give the props of `-cpu` that stand after `hv-crash`."""
        kvm: Props = self.kvm.cpu_props if self.kvm is not None else {}
        return {**kvm, "pmu": self.pmu}

    def global_options(self, site: Site) -> Iterator[Option]:
        """Give the `-global` of the TSEG size; it stands after `-accel`."""
        del site
        if self.tseg_bytes is not None:
            yield Option.word("global", f"mch.extended-tseg-mbytes={self.tseg_bytes // _MIB}")

    def device_options(self, site: Site) -> Iterator[Option]:
        """Give the devices that features are (vmcoreinfo); they stand after the devices."""
        del site
        if self.has_vmcoreinfo:
            yield Option.json("device", {"driver": "vmcoreinfo"})

    def late_options(self, site: Site) -> Iterator[Option]:
        """Give `-run-with async-teardown`; it stands near the end."""
        if self.async_teardown is None:
            return
        if site.caps.has_parameter("run-with", "async-teardown"):
            yield Option.keyed("run-with", {"async-teardown": self.async_teardown})
        elif self.async_teardown:
            yield Option.flag("async-teardown")


def _switches(node: Node) -> dict[str, bool | None]:
    for said in node.children(*_SAID):
        said_state(said)
    found = {field: node.child(tag) for tag, field in _SWITCHES.items()}
    return {field: None if child is None else state(child) for field, child in found.items()}


def _tseg(node: Node) -> int | None:
    smm = node.child("smm")
    found = smm.child("tseg") if smm is not None else None
    if smm is None or found is None:
        return None
    if not state(smm) or not found.text:
        found.accept()
        return None
    size = found.bytes_text("MiB")
    if size % _MIB:
        raise found.error("the size is no whole number of MiB", hint="for example unit='MiB'")
    return size


def _tb_cache(node: Node) -> int | None:
    tcg = node.child("tcg")
    found = tcg.child("tb-cache") if tcg is not None else None
    if found is None:
        return None
    size = found.bytes_text()
    if size % _MIB:
        raise found.error("the size is no whole number of MiB", hint="for example unit='MiB'")
    return size or None
