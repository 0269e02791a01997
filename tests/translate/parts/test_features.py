"""Switches of the machine, sleep states, and the accelerator's settings."""

import re

import pytest
from msgspec.structs import replace

from qsuper.errors import ConfigError, ConfigErrors
from tests.support.grounds import domain, emulator, host, lines, messages, translated


def features(inside: str, *names: str, kind: str = "qemu", arch: str = "x86_64") -> list[str]:
    machine = "q35" if arch == "x86_64" else "virt"
    xml = domain(f"<features>{inside}</features>", kind=kind, arch=arch, machine=machine)
    return lines(translated(xml, arch=arch).plan, *names)


def message(inside: str, machine: str = "q35") -> str:
    with pytest.raises((ConfigError, ConfigErrors)) as caught:
        translated(domain(inside, machine=machine))
    return str(caught.value)


@pytest.mark.parametrize(
    ("inside", "expected"),
    [
        ("<vmport state='off'/>", "vmport=off"),
        ("<smm state='on'/>", "smm=on"),
        ("<smm/>", "smm=on"),
        ("<ioapic/><smm/>", "usb=off,smm=on"),
        ("<ioapic driver='qemu'/>", "kernel_irqchip=split"),
        ("<ioapic driver='kvm'/>", "kernel_irqchip=on"),
        ("<ps2 state='off'/>", "i8042=off"),
    ],
)
def test_machine_switches_of_x86(inside: str, expected: str) -> None:
    assert f",{expected}," in features(inside, "machine")[0]


def test_machine_switches_of_other_architectures() -> None:
    assert ",aia=aplic," in features("<aia value='aplic'/>", "machine", arch="riscv64")[0]
    assert ",ras=on," in features("<ras state='on'/>", "machine", arch="aarch64")[0]


def test_the_interrupt_controller_of_arm() -> None:
    assert ",gic-version=2," in features("", "machine", arch="aarch64")[0]
    assert ",gic-version=3," in features("<gic version='3'/>", "machine", arch="aarch64")[0]
    caps = replace(emulator("aarch64"), gic_versions={"kvm": frozenset({2, 3})})
    xml = domain(kind="kvm", arch="aarch64", machine="virt")
    plan = translated(xml, caps=caps, data=host("aarch64")).plan
    assert ",gic-version=3," in lines(plan, "machine")[0]


def test_the_accelerator() -> None:
    assert features("", "accel") == ["tcg"]
    assert features("<tcg><tb-cache unit='MiB'>64</tb-cache></tcg>", "accel") == ["tcg,tb-size=64"]
    ring = "<kvm><dirty-ring state='on' size='4096'/></kvm>"
    assert features(ring, "accel", kind="kvm") == ["kvm,dirty-ring-size=4096"]
    assert features(ring, "accel") == ["tcg"]
    off = "<kvm><dirty-ring state='off' size='12'/></kvm>"
    assert features(off, "accel", kind="kvm") == ["kvm"]


def test_the_memory_of_smm() -> None:
    inside = "<smm state='on'><tseg unit='MiB'>48</tseg></smm>"
    assert "mch.extended-tseg-mbytes=48" in features(inside, "global")


def test_features_that_are_options_of_their_own() -> None:
    inside = "<vmcoreinfo state='on'/><async-teardown enabled='yes'/>"
    assert features(inside, "device", "run-with") == [
        '{"driver":"vmcoreinfo"}',
        "async-teardown=on",
    ]
    old = replace(emulator(), command_line={})
    xml = domain(f"<features>{inside}</features>")
    assert lines(translated(xml, caps=old).plan, "async-teardown") == [""]


def test_an_emulator_that_does_not_say_which_machines_have_acpi() -> None:
    caps = emulator()
    machines = {name: replace(machine, acpi=None) for name, machine in caps.machines.items()}
    old = replace(caps, machines=machines)
    assert lines(translated(domain(), caps=old).plan, "no-acpi") == [""]
    with_acpi = translated(domain("<features><acpi/></features>"), caps=old).plan
    assert lines(with_acpi, "no-acpi") == []
    assert lines(translated(domain(machine="none"), caps=old).plan, "no-acpi") == []


def test_what_means_nothing_to_qemu_is_no_trouble() -> None:
    translation = translated(domain("<features><pae/><hap/><privnet/><apic/><xen/></features>"))
    assert translation.notices == ()


@pytest.mark.parametrize(
    ("inside", "expected"),
    [
        ("<vmport state='maybe'/>", "<vmport>: state='maybe' is unknown (on or off)"),
        ("<gic version='2'/>", "<gic>: machine 'pc-q35-10.0' has no GIC to choose"),
        ("<gic version='none'/>", "<gic>: version='none' is unknown"),
        ("<aia value='aplic'/>", "machine 'pc-q35-10.0' has no <aia> to switch"),
        ("<htm state='on'/>", "<htm>: only pseries guests have it"),
        ("<ps2 state='off'/><vmport state='on'/>", "<vmport> needs the <ps2> controller"),
        ("<smm><tseg unit='KiB'>12345</tseg></smm>", "<tseg>: the size is no whole number of MiB"),
        ("<tcg><tb-cache>1</tb-cache></tcg>", "<tb-cache>: the size is no whole number of MiB"),
        (
            "<kvm><dirty-ring state='on' size='4095'/></kvm>",
            "<dirty-ring>: size is no power of two",
        ),
        (
            "<hyperv><vendor_id state='on' value='thirteen-long'/></hyperv>",
            "<vendor_id>: value='thirteen-long' is no vendor id",
        ),
    ],
)
def test_what_is_wrong_is_said(inside: str, expected: str) -> None:
    assert expected in message(f"<features>{inside}</features>")


def test_only_q35_gives_smm_memory() -> None:
    assert "only q35 machines have <tseg>" in message(
        "<features><smm><tseg unit='MiB'>1</tseg></smm></features>", machine="pc"
    )
    no_memory = "<features><smm state='off'><tseg unit='MiB'>1</tseg></smm></features>"
    assert lines(translated(domain(no_memory, machine="pc")).plan, "machine")


@pytest.mark.parametrize(("smm", "expected"), [("<smm/>", "on"), ("<smm state='off'/>", "off")])
def test_any_pc_has_smm(smm: str, expected: str) -> None:
    plan = translated(domain(f"<features>{smm}</features>", machine="pc")).plan
    assert f",smm={expected}," in lines(plan, "machine")[0]


def test_smm_elsewhere_than_on_a_pc_is_written_and_keeps_the_guest_from_starting() -> None:
    found = translated(
        domain("<features><smm/></features>", arch="aarch64", machine="virt"), arch="aarch64"
    )
    assert ",smm=on," in lines(found.plan, "machine")[0]
    assert [str(error) for error in found.obstacles] == [
        "vm.xml:3: <features>: machine 'virt-10.0' has no <smm> (remove it)"
    ]


@pytest.mark.parametrize(("machine", "driver"), [("q35", "ICH9-LPC"), ("pc", "PIIX4_PM")])
def test_sleep_states(machine: str, driver: str) -> None:
    inside = "<pm><suspend-to-mem enabled='no'/><suspend-to-disk enabled='yes'/></pm>"
    switches = lines(translated(domain(inside, machine=machine)).plan, "global")
    assert f"{driver}.disable_s3=1" in switches
    assert f"{driver}.disable_s4=0" in switches


def test_a_board_without_sleep_states() -> None:
    xml = domain("<pm><suspend-to-mem enabled='no'/></pm>", arch="aarch64", machine="virt")
    with pytest.raises(ConfigErrors, match=r"machine 'virt-10\.0' has no sleep states to switch"):
        translated(xml, arch="aarch64")


@pytest.mark.parametrize(
    ("inside", "expected"),
    [
        ("<foo/>", "<foo>: unknown (one of acpi, apic, ioapic, "),
        ("<htm state='off'/>", "<htm>: only pseries guests have it (remove it)"),
        ("<ibs value='broken'/>", "<ibs>: only pseries guests have it (remove it)"),
        ("<hyperv><foo state='on'/></hyperv>", "<foo>: unknown (one of relaxed, vapic, "),
        ("<hyperv><relaxed/></hyperv>", "<relaxed>: attribute 'state' is missing (on or off)"),
        ("<hyperv mode='x'/>", "<hyperv>: mode='x' is unknown (one of "),
        ("<kvm><foo state='on'/></kvm>", "<foo>: unknown (one of hidden, hint-dedicated, "),
        ("<kvm><hidden/></kvm>", "<hidden>: attribute 'state' is missing (on or off)"),
        ("<ioapic driver='x'/>", "<ioapic>: driver='x' is unknown (one of kvm, qemu)"),
    ],
)
def test_features_that_are_wrong(inside: str, expected: str) -> None:
    (message,) = messages(domain(f"<features>\n{inside}</features>"))
    assert message.startswith(f"vm.xml:4: {expected}")


def test_what_only_x86_has() -> None:
    inside = "<features><apic eoi='on'/></features>"
    xml = domain(inside, arch="aarch64", machine="virt")
    assert messages(xml, arch="aarch64") == [
        "vm.xml:3: <features>: machine 'virt-10.0' has no <apic eoi=> to switch (remove it)"
    ]
    plan = translated(xml.replace(" eoi='on'", ""), arch="aarch64").plan
    assert lines(plan, "cpu") == ["cortex-a15"]


def test_the_hosts_gic_can_be_written_and_not_started_without_kvm() -> None:
    xml = domain("<features><gic version='host'/></features>", arch="aarch64", machine="virt")
    translation = translated(xml, arch="aarch64")
    assert [str(obstacle) for obstacle in translation.obstacles] == [
        "vm.xml:3: <gic>: version='host' needs KVM (2 or 3)"
    ]
    kvm = translated(xml.replace("type='qemu'", "type='kvm'"), arch="aarch64")
    assert kvm.obstacles == ()


@pytest.mark.parametrize(
    "harmless",
    [
        "<hpt/>",
        "<cfpc/>",
        "<sbbc state='on'/>",
        "<aia mode='aplic'/>",
        "<msrs unknown='ignore'/>",
        "<smm state='off'><tseg>plenty</tseg></smm>",
        "<smm><tseg/></smm>",
        "<tcg><tb-cache>0</tb-cache></tcg>",
        "<hyperv><spinlocks state='off' retries='1'/><vendor_id state='off'/></hyperv>",
        "<hyperv><stimer state='off'><direct/></stimer></hyperv>",
    ],
)
def test_what_is_not_said_or_switched_off_changes_nothing(harmless: str) -> None:
    found = features(harmless, "machine", "accel", "cpu", "global")
    without_smm = [re.sub("smm=(on|off),", "", line) for line in found]
    assert without_smm == features("", "machine", "accel", "cpu", "global")


@pytest.mark.parametrize(
    ("inside", "expected"),
    [
        ("<ras/>", "<ras>: attribute 'state' is missing"),
        ("<ps2/>", "<ps2>: attribute 'state' is missing"),
        ("<htm state='off'/>", "<htm>: only pseries guests have it"),
        ("<hpt resizing='enabled'/>", "<hpt>: only pseries guests have it"),
        ("<cfpc value='broken'/>", "<cfpc>: only pseries guests have it"),
        ("<msrs/>", "<msrs>: attribute 'unknown' is missing (one of ignore, fault)"),
        ("<hyperv mode='none'/>", "<hyperv>: mode='none' is unknown (one of custom, passthrough)"),
        (
            "<hyperv><stimer state='on'><direct/></stimer></hyperv>",
            "<direct>: attribute 'state' is missing",
        ),
    ],
)
def test_what_must_be_said_is_missed(inside: str, expected: str) -> None:
    assert expected in message(f"<features>{inside}</features>")
