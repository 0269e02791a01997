"""CPU features and models by name: which libvirt knows, and what QEMU is told of them."""

import pytest

from qsuper.errors import ConfigErrors
from tests.support.grounds import domain, lines, translated


def cpu(inside: str, *, kind: str = "qemu", arch: str = "x86_64", machine: str = "q35") -> str:
    xml = domain(inside, kind=kind, arch=arch, machine=machine)
    return " ".join(lines(translated(xml, arch=arch).plan, "cpu"))


@pytest.mark.parametrize(
    ("model", "added"),
    [
        ("Skylake-Client", ",mpx=off"),
        ("Skylake-Client-v1", ""),
        ("Icelake-Server-noTSX", ",intel-pt=off,mpx=off"),
        ("EPYC", ",monitor=off"),
        ("EPYC-v1", ""),
        ("EPYC-Rome", ""),
        ("Opteron_G3", ",monitor=off"),
    ],
)
def test_what_qemu_took_from_a_model_is_off_where_no_version_says_it_all(
    model: str, added: str
) -> None:
    assert cpu(f"<cpu><model>{model}</model></cpu>") == model + added


@pytest.mark.parametrize("name", ["cmt", "mbm_total", "osxsave"])
def test_a_feature_that_is_not_qemus_to_give_is_not_asked_for(name: str) -> None:
    assert cpu(f"<cpu><model>Nehalem</model><feature name='{name}'/></cpu>") == "Nehalem"


@pytest.mark.parametrize(("mode", "kind"), [("host-passthrough", "kvm"), ("maximum", "qemu")])
def test_an_optional_feature_of_the_whole_host_is_left_to_qemu(mode: str, kind: str) -> None:
    optional = "<feature name='avx2' policy='optional'/><feature name='svm' policy='disable'/>"
    written = cpu(f"<cpu mode='{mode}' migratable='on'>{optional}</cpu>", kind=kind)
    assert written.endswith(",migratable=on,svm=off")


@pytest.mark.parametrize(
    ("arch", "name", "policy", "expected"),
    [
        ("aarch64", "sve", "optional", "max"),
        ("aarch64", "sve128", "optional", "max,sve=on"),
        ("aarch64", "pauth", "require", "max,pauth=on"),
        ("riscv64", "zba", "optional", "max"),
        ("riscv64", "zba", "disable", "max,zba=off"),
        ("riscv64", "pmu", "require", "max,pmu=on"),
        ("riscv64", "sve128", "forbid", "max,sve128=off,sve=on"),
    ],
)
def test_features_elsewhere_than_on_x86(arch: str, name: str, policy: str, expected: str) -> None:
    inside = f"<cpu><model>max</model><feature name='{name}' policy='{policy}'/></cpu>"
    assert cpu(inside, arch=arch, machine="virt") == expected


@pytest.mark.parametrize(
    ("arch", "name"),
    [("x86_64", "sse4_1"), ("x86_64", "shstk"), ("aarch64", "aes"), ("aarch64", "sve192")],
)
def test_a_feature_that_libvirt_does_not_know_is_an_error(arch: str, name: str) -> None:
    model = "Nehalem" if arch == "x86_64" else "max"
    inside = f"<cpu><model>{model}</model><feature name='{name}' policy='disable'/></cpu>"
    machine = "q35" if arch == "x86_64" else "virt"
    with pytest.raises(ConfigErrors) as caught:
        translated(domain(inside, arch=arch, machine=machine), arch=arch)
    assert str(caught.value) == (
        f"vm.xml:3: <cpu>: CPU feature '{name}' is unknown (libvirt's spelling)"
    )


@pytest.mark.parametrize("name", ["host", "max", "base"])
def test_a_name_of_no_certain_cpu_is_no_model_on_x86(name: str) -> None:
    with pytest.raises(ConfigErrors) as caught:
        translated(domain(f"<cpu><model>{name}</model></cpu>"))
    assert str(caught.value) == (
        f"vm.xml:3: <cpu>: model '{name}' is no certain CPU (mode='maximum')"
    )
    assert cpu("<cpu><model>max</model></cpu>", arch="aarch64", machine="virt") == "max"
