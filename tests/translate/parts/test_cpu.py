"""The CPU's model, features, caches and what timers and features add to it."""

import pytest
from msgspec.structs import replace

from qsuper.errors import ConfigError, ConfigErrors
from tests.support.grounds import domain, emulator, host, lines, messages, translated


def cpu(inside: str = "", *, kind: str = "qemu", arch: str = "x86_64", machine: str = "q35") -> str:
    xml = domain(inside, kind=kind, arch=arch, machine=machine)
    return " ".join(lines(translated(xml, arch=arch).plan, "cpu"))


def message(inside: str) -> str:
    with pytest.raises((ConfigError, ConfigErrors)) as caught:
        translated(domain(inside))
    return str(caught.value)


def test_the_machine_says_what_the_default_is() -> None:
    assert cpu() == "qemu64"
    assert cpu(kind="kvm") == "qemu64"
    assert cpu(arch="aarch64", machine="virt") == "cortex-a15"
    assert cpu(arch="riscv64", machine="virt") == "rv64"


def test_an_emulator_without_a_list_of_models_takes_its_own() -> None:
    caps = replace(emulator("riscv64"), cpu_models={"tcg": frozenset()})
    xml = domain(arch="riscv64", machine="virt")
    assert lines(translated(xml, caps=caps, arch="riscv64").plan, "cpu") == []


def test_kvm_on_arm_takes_what_qemu_takes() -> None:
    assert cpu(kind="kvm", arch="aarch64", machine="virt") == ""


def test_topology_alone_chooses_no_model() -> None:
    assert cpu("<cpu mode='custom'/>") == "qemu64"
    assert cpu("<cpu><topology sockets='1' cores='1' threads='1'/></cpu>") == "qemu64"


def test_the_whole_host_under_kvm_and_the_most_without() -> None:
    assert cpu("<cpu mode='host-passthrough'/>", kind="kvm") == "host,migratable=on"
    off = "<cpu mode='host-passthrough' migratable='off'/>"
    assert cpu(off, kind="kvm") == "host,migratable=off"
    assert cpu("<cpu mode='maximum'/>") == "max"
    assert cpu("<cpu mode='maximum' migratable='on'/>") == "max,migratable=on"


def test_a_host_model_is_every_feature_of_the_best_cpu() -> None:
    assert cpu("<cpu mode='host-model'/>") == (
        "base,avx2=on,model=107,pclmulqdq=on,vendor=AuthenticAMD"
    )


def test_features_take_the_emulators_names() -> None:
    model = "<model>Haswell</model>"
    features = "<feature name='pclmuldq'/><feature name='ds_cpl' policy='force'/>"
    assert cpu(f"<cpu>{model}{features}</cpu>") == "Haswell,pclmulqdq=on,ds-cpl=on"


def test_an_optional_feature_is_there_if_the_host_has_it() -> None:
    features = "".join(f"<feature name='{name}' policy='optional'/>" for name in ("avx2", "svm"))
    assert cpu(f"<cpu><model>Haswell</model>{features}</cpu>") == "Haswell,avx2=on,svm=off"


@pytest.mark.parametrize("policy", ["optional", "disable", "forbid"])
def test_a_feature_that_the_emulator_does_not_know_need_not_be_denied(policy: str) -> None:
    feature = f"<feature name='osxsave' policy='{policy}'/>"
    assert cpu(f"<cpu><model>core2duo</model>{feature}</cpu>") == "core2duo"


def test_a_feature_that_qemu_took_from_a_model_stays_away() -> None:
    assert cpu("<cpu><model>Icelake-Server</model></cpu>") == "Icelake-Server,intel-pt=off,mpx=off"
    wanted = "<cpu><model>Icelake-Server</model><feature name='mpx'/></cpu>"
    assert cpu(wanted) == "Icelake-Server,intel-pt=off,mpx=on"


def test_sve_lengths_need_sve() -> None:
    inside = "<cpu mode='maximum'><feature name='sve256'/></cpu>"
    assert cpu(inside, arch="aarch64", machine="virt") == "max,sve256=on,sve=on"


@pytest.mark.parametrize(
    ("inside", "expected"),
    [
        ("<clock><timer name='kvmclock' present='no'/></clock>", "qemu64,kvmclock=off"),
        ("<clock><timer name='hypervclock' present='yes'/></clock>", "qemu64,hv-time=on"),
        ("<clock><timer name='tsc' frequency='10'/></clock>", "qemu64,tsc-frequency=10"),
        ("<features><apic eoi='on'/></features>", "qemu64,kvm-pv-eoi=on"),
        ("<features><pvspinlock state='off'/></features>", "qemu64,kvm-pv-unhalt=off"),
        ("<features><pmu state='off'/></features>", "qemu64,pmu=off"),
        (
            (
                "<features><kvm><hidden state='on'/><hint-dedicated state='on'/>"
                "<poll-control state='on'/><pv-ipi state='off'/></kvm></features>"
            ),
            "qemu64,kvm=off,kvm-hint-dedicated=on,kvm-poll-control=on,kvm-pv-ipi=off",
        ),
        (
            (
                "<features><hyperv><relaxed state='on'/><vapic state='off'/>"
                "<spinlocks state='on' retries='8191'/>"
                "<stimer state='on'><direct state='on'/></stimer>"
                "<vendor_id state='on' value='KVM Hv'/>"
                "<tlbflush state='on'><direct state='on'/><extended state='off'/></tlbflush>"
                "</hyperv></features>"
            ),
            (
                "qemu64,hv-relaxed=on,hv-spinlocks=0x1fff,hv-stimer=on,hv-stimer-direct=on,"
                "hv-vendor-id=KVM Hv,hv-tlbflush=on,hv-tlbflush-direct=on"
            ),
        ),
        ("<features><hyperv mode='passthrough'/></features>", "qemu64,hv-passthrough=on"),
        (
            "<cpu mode='maximum'><cache mode='emulate' level='3'/></cpu>",
            "max,l3-cache=on,host-cache-info=off",
        ),
        (
            "<cpu><model>Haswell</model><cache mode='emulate' level='3'/></cpu>",
            "Haswell,l3-cache=on",
        ),
        (
            "<cpu mode='maximum'><maxphysaddr mode='passthrough' limit='39'/></cpu>",
            "max,host-phys-bits=on,host-phys-bits-limit=39",
        ),
        (
            "<cpu><model>Haswell</model><maxphysaddr mode='emulate' bits='42'/></cpu>",
            "Haswell,phys-bits=42",
        ),
        (
            "<cpu mode='maximum'><cache mode='disable'/></cpu>",
            "max,l3-cache=off,host-cache-info=off",
        ),
        (
            "<cpu><model>Haswell</model><maxphysaddr mode='emulate' bits='0'/></cpu>",
            "Haswell,host-phys-bits=off",
        ),
        (  # how many is QEMU's to say, but not the host's
            "<cpu><model>Haswell</model><maxphysaddr mode='emulate'/></cpu>",
            "Haswell,host-phys-bits=off",
        ),
        (
            "<cpu><model vendor_id='GenuineIntel'>Haswell</model></cpu>",
            "Haswell,vendor=GenuineIntel",
        ),
    ],
)
def test_what_is_added(inside: str, expected: str) -> None:
    assert cpu(inside) == expected


@pytest.mark.parametrize(
    ("inside", "expected"),
    [
        (
            "<cpu mode='host-passthrough'/>",
            "vm.xml:3: <cpu>: mode='host-passthrough' needs KVM (mode='maximum')",
        ),
        (
            "<cpu mode='custom'><feature name='avx2'/></cpu>",
            "vm.xml:3: <cpu>: features need a <model> (qemu-system-... -cpu help)",
        ),
        (
            "<cpu><model>a,b</model></cpu>",
            "vm.xml:3: <cpu>: model 'a,b' can't be a model",
        ),
        (
            "<cpu><model>a</model><feature name='x,y=z'/></cpu>",
            "vm.xml:3: <feature>: name='x,y=z' can't be a feature",
        ),
        (  # QEMU takes it for `nx` switched off
            "<cpu><model>a</model><feature name='-nx'/></cpu>",
            "vm.xml:3: <feature>: name='-nx' can't be a feature",
        ),
        (
            "<cpu><model>a</model><feature name='x'/><feature name='x'/></cpu>",
            "vm.xml:3: <feature>: feature 'x' is given twice",
        ),
        (
            "<cpu mode='maximum'><cache mode='emulate' level='2'/></cpu>",
            "vm.xml:3: <cache>: mode='emulate' is for level='3' alone (level='3')",
        ),
        (
            "<cpu><model>a</model><cache mode='passthrough'/></cpu>",
            "vm.xml:3: <cache>: mode='passthrough' needs the host's CPU (host-passthrough)",
        ),
        (
            "<cpu><model>a</model><maxphysaddr mode='emulate' bits='4' limit='4'/></cpu>",
            "vm.xml:3: <maxphysaddr>: mode='emulate' has no limit (remove limit=)",
        ),
        (
            "<cpu mode='maximum'><maxphysaddr mode='passthrough' bits='4'/></cpu>",
            "vm.xml:3: <maxphysaddr>: mode='passthrough' has no bits (remove bits=)",
        ),
        (
            "<cpu mode='maximum'><cache mode='disable' level='3'/></cpu>",
            "vm.xml:3: <cache>: mode='disable' has no level (remove level=)",
        ),
        (
            "<cpu><model>a</model><maxphysaddr mode='emulate' bits='65'/></cpu>",
            "vm.xml:3: <maxphysaddr>: bits='65' is out of range (0..64)",
        ),
        (
            "<cpu><model vendor_id='short'>a</model></cpu>",
            "vm.xml:3: <model>: vendor_id='short' is none (12 characters, no comma)",
        ),
        (
            "<features><hyperv><spinlocks state='on'/></hyperv></features>",
            "vm.xml:3: <spinlocks>: attribute 'retries' is missing (at least 4095)",
        ),
    ],
)
def test_what_is_wrong_is_said(inside: str, expected: str) -> None:
    assert message(inside) == expected


def test_a_forced_accelerator_takes_the_most_for_the_host() -> None:
    data = replace(host(), force_tcg=True)
    plan = translated(domain("<cpu mode='host-passthrough'/>", kind="kvm"), data=data).plan
    assert lines(plan, "cpu", "accel") == ["tcg", "max,migratable=on"]


def test_an_emulator_that_can_not_switch_migratability_is_not_asked_to() -> None:
    caps = replace(emulator(), props={})
    xml = domain("<cpu mode='maximum' migratable='on'/>")
    assert lines(translated(xml, caps=caps).plan, "cpu") == ["max"]
    xml = domain("<cpu mode='host-passthrough' migratable='on'/>", kind="kvm")
    with pytest.raises(ConfigErrors, match=r"<cpu>: this QEMU knows no migratable= \(remove it\)"):
        translated(xml, caps=caps)


def test_a_least_cpu_is_no_more_than_its_model() -> None:
    translation = translated(domain("<cpu match='minimum'><model>Haswell</model></cpu>"))
    assert lines(translation.plan, "cpu") == ["Haswell"]
    assert [str(notice) for notice in translation.notices] == [
        "vm.xml:3: <cpu>: match='minimum' adds nothing of the host's to the model"
    ]


def test_what_the_emulator_does_not_have_is_said() -> None:
    caps = replace(emulator(), cpu_models={"tcg": frozenset({"qemu64"})}, cpu_expansions={})
    with pytest.raises(ConfigErrors, match="the emulator has no CPU model 'Haswell'"):
        translated(domain("<cpu><model>Haswell</model></cpu>"), caps=caps)
    with pytest.raises(ConfigErrors, match="mode='host-model' can't be made out"):
        translated(domain("<cpu mode='host-model'/>"), caps=caps)


@pytest.mark.parametrize(
    ("inside", "expected"),
    [
        ("<cpu><vendor>Intel</vendor></cpu>", "<vendor> needs a <model> (remove it)"),
        (
            "<cpu mode='maximum'><vendor>Intel</vendor></cpu>",
            "<vendor> needs a <model> (remove it)",
        ),
        (
            "<cpu mode='maximum' deprecated_features='on'/>",
            "only s390x CPUs have deprecated_features= (remove it)",
        ),
        ("<cpu check='x'/>", "check='x' is unknown (one of none, partial, full)"),
        (
            "<cpu migratable='on'><model>Haswell</model></cpu>",
            "migratable= is for the host's own CPU (host-passthrough)",
        ),
        (
            "<cpu mode='host-model' migratable='on'/>",
            "migratable= is for the host's own CPU (host-passthrough)",
        ),
        (
            "<cpu mode='custom'><feature name='avx2' policy='disable'/></cpu>",
            "features need a <model> (qemu-system-... -cpu help)",
        ),
    ],
)
def test_cpus_that_are_wrong(inside: str, expected: str) -> None:
    assert messages(domain(inside)) == [f"vm.xml:3: <cpu>: {expected}"]


def test_a_replacement_is_allowed_or_forbidden() -> None:
    assert messages(domain("<cpu><model fallback='x'>Haswell</model></cpu>")) == [
        "vm.xml:3: <model>: fallback='x' is unknown (one of allow, forbid)"
    ]


def test_lengths_of_vectors_and_no_vectors() -> None:
    features = "<feature name='sve256' policy='{}'/><feature name='sve' policy='{}'/>"
    cpu = f"<cpu mode='maximum'>{features}</cpu>"
    arm = {"arch": "aarch64", "machine": "virt"}
    assert messages(domain(cpu.format("require", "disable"), **arm), arch="aarch64") == [
        "vm.xml:3: <cpu>: there are vector lengths, and no SVE (remove them)"
    ]
    off = "<cpu mode='maximum'><feature name='sve256' policy='disable'/></cpu>"
    assert lines(translated(domain(off, **arm), arch="aarch64").plan, "cpu") == [
        "max,sve256=off,sve=on"
    ]


def test_switches_of_a_cpu_that_is_not_known() -> None:
    inside = "<features><pmu state='off'/></features>"
    xml = domain(inside, kind="kvm", arch="aarch64", machine="virt")
    assert messages(xml, arch="aarch64") == [
        (
            "vm.xml:3: <features>: what is switched in the CPU needs a <cpu> that says which "
            "(<cpu mode=>)"
        )
    ]
    named = xml.replace("<features>", "<cpu mode='host-passthrough'/><features>")
    assert lines(translated(named, arch="aarch64").plan, "cpu") == ["host,pmu=off"]
