"""What translation is told of the host, by settings."""

import os
from pathlib import Path

import pytest

from qsuper import paths
from qsuper.caps import Caps, Schema
from qsuper.errors import ConfigError, EmulatorError, UnavailableError, UsageError
from qsuper.host import probe
from qsuper.host.load import load_group
from qsuper.host.surroundings import Accel, Settings, Surroundings
from qsuper.translate.node import Node, parse_xml
from qsuper.translate.site import Network, NetworkKind

NATIVES = Path(__file__).parents[1] / "natives" / "capabilities"
USER = Network(kind=NetworkKind.USER)
PASST = Network(kind=NetworkKind.PASST)
BR0 = Network(kind=NetworkKind.BRIDGE, bridge="br0")


def caps(*, has_kvm: bool = False) -> Caps:
    return Caps(
        arch="x86_64",
        version=(7, 2, 0),
        types=frozenset(),
        props={},
        machines={},
        schema=Schema({}),
        has_kvm=has_kvm,
    )


def domain(kind: str = "qemu", emulator: str = "", arch: str = "", os_attribute: str = "") -> Node:
    text = (
        f"<domain type='{kind}'><name>vm</name>\n"
        f"<os {os_attribute}><type{f' arch={arch!r}' if arch else ''}>hvm</type></os>\n"
        f"<devices>{f'<emulator>{emulator}</emulator>' if emulator else ''}</devices></domain>"
    )
    return parse_xml(text.encode(), "vm.xml", "/vms")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("CONFIG", "STATE", "CACHE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name.lower()))
    return tmp_path


@pytest.fixture
def capabilities(corpus: Path) -> str:
    return str(corpus / "capabilities" / "qemu-8.2.0-aarch64.json")


def test_the_emulator_that_a_file_names(home: Path) -> None:
    emulator = home / "my qemu"
    emulator.touch(0o755)

    assert Surroundings(Settings()).emulator(domain(emulator=f" {emulator} ")) == str(emulator)
    assert Surroundings(Settings()).emulator(domain(emulator=f"..{emulator}")) == str(emulator)


def test_the_emulator_of_the_architecture(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("qemu-system-arm", f"qemu-system-{os.uname().machine}"):
        (home / name).touch(0o755)
    monkeypatch.setenv("PATH", str(home))
    surroundings = Surroundings(Settings())

    assert surroundings.emulator(domain(arch="armv7l")) == str(home / "qemu-system-arm")
    assert surroundings.emulator(domain()) == str(home / f"qemu-system-{os.uname().machine}")


def test_a_missing_emulator_is_reported_where_it_is_named() -> None:
    with pytest.raises(UnavailableError, match=r"^vm\.xml:3: /no/qemu: no such emulator \("):
        Surroundings(Settings()).emulator(domain(emulator="/no/qemu"))
    with pytest.raises(UnavailableError, match=r"^vm\.xml:1: no emulator for vax in PATH \("):
        Surroundings(Settings()).emulator(domain(arch="vax"))


def test_a_capabilities_file_needs_no_emulator(
    home: Path, monkeypatch: pytest.MonkeyPatch, capabilities: str
) -> None:
    monkeypatch.setenv("PATH", str(home))
    surroundings = Surroundings(Settings(capabilities=(capabilities,)))

    assert surroundings.emulator(domain(emulator="/no/qemu")) == "/no/qemu"
    assert surroundings.emulator(domain(arch="vax")) == "/usr/bin/qemu-system-vax"
    assert surroundings.emulator(domain()) == "/usr/bin/qemu-system-aarch64"
    assert surroundings.caps(["/no/qemu"])["/no/qemu"].version == (8, 2, 0)
    assert surroundings.data(domain())[0].arch == "aarch64"
    surroundings.check_accel(domain("kvm"), "/no/qemu", caps())


def test_a_capabilities_file_for_each_architecture() -> None:
    files = {arch: str(NATIVES / f"series-{arch}.json") for arch in ("x86_64", "aarch64")} | {
        "microblazeel": str(NATIVES / "amd-microblazeel.json")
    }
    surroundings = Surroundings(Settings(capabilities=tuple(files.values())))
    emulators = {
        arch: surroundings.emulator(domain(emulator=f"/no/{arch}", arch=arch))
        for arch in (*files, "i686", "armv7l", "vax")
    }
    found = surroundings.caps(emulators.values())
    assert {arch: found[emulator].arch for arch, emulator in emulators.items()} == {
        **{arch: arch for arch in files},
        "i686": "x86_64",
        "armv7l": "aarch64",
        "vax": "x86_64",
    }
    assert surroundings.data(domain())[0].arch == "x86_64"

    twice = Surroundings(Settings(capabilities=(files["x86_64"],) * 2))
    with pytest.raises(UsageError, match="another capabilities file for x86_64"):
        twice.data(domain())


@pytest.mark.qemu
def test_an_emulator_is_asked_once() -> None:
    try:
        emulator = probe.default_emulator("riscv64")
    except UnavailableError:
        pytest.skip("no emulator for riscv64 here")
    surroundings = Surroundings(Settings())

    first = surroundings.caps([emulator, emulator])[emulator]

    assert surroundings.caps([emulator])[emulator] is first


def test_kvm_that_cannot_be_had() -> None:
    problem = probe.kvm_problem() or f"/qemu has no KVM on {os.uname().machine}"

    with pytest.raises(UnavailableError) as caught:
        Surroundings(Settings()).check_accel(domain("kvm"), "/qemu", caps())

    assert str(caught.value) == f"vm.xml:1: type='kvm': {problem} (try --accel tcg)"


def test_the_accelerators_that_can_be_had() -> None:
    plain, tcg, kvm = (
        Surroundings(Settings(accel=accel)) for accel in (None, Accel.TCG, Accel.KVM)
    )

    plain.check_accel(domain("kvm"), "/qemu", caps(has_kvm=True))
    plain.check_accel(domain("qemu"), "/qemu", caps())
    tcg.check_accel(domain("kvm"), "/qemu", caps())
    kvm.check_accel(domain("kvm"), "/qemu", caps(has_kvm=True))
    assert tcg.data(domain("kvm"))[0].force_tcg
    assert not plain.data(domain("kvm"))[0].force_tcg


def test_kvm_for_a_domain_that_means_tcg() -> None:
    with pytest.raises(ConfigError, match=r"^vm\.xml:1: <domain>: type='qemu' means TCG"):
        Surroundings(Settings(accel=Accel.KVM)).check_accel(domain(), "/qemu", caps(has_kvm=True))


def test_networks_by_precedence(home: Path) -> None:
    file = home / "config" / "qsuper" / "config.toml"
    file.parent.mkdir(parents=True)
    file.write_text('[networks]\na = "user"\nb = "user"\n')
    (home / "host" / "networks").mkdir(parents=True)
    for name in "bc":
        xml = f"<network><name>{name}</name><bridge name='br0'/></network>"
        (home / "host" / "networks" / f"{name}.xml").write_text(xml)

    settings = Settings(networks={"a": PASST}, host=str(home / "host"))
    data, notices = Surroundings(settings).data(domain())

    by_name = {name: network for name, network in data.networks.items() if ";" not in name}
    assert by_name == {"a": PASST, "b": USER, "c": BR0}
    assert notices == ()


def test_a_host_directory_that_is_none(home: Path) -> None:
    with pytest.raises(UsageError, match="nowhere: not a directory"):
        Surroundings(Settings(host=str(home / "nowhere")))


def test_firmware_is_read_when_a_file_asks_for_it(corpus: Path) -> None:
    surroundings = Surroundings(Settings(host=str(corpus / "host")))

    assert surroundings.data(domain())[0].firmware == ()
    data, notices = surroundings.data(domain(os_attribute="firmware='efi'"))
    assert data.firmware
    assert [Path(notice.at.path).name for notice in notices] == ["93-invalid.json"]


def test_where_a_domain_keeps_its_things(corpus: Path) -> None:
    here, _ = Surroundings(Settings()).data(domain())
    there, _ = Surroundings(Settings(host=str(corpus / "host"))).data(domain())

    assert here.nvram_dir == paths.domain_state_dir("vm") + "/nvram"
    assert there.nvram_dir == "/var/lib/libvirt/qemu/nvram"
    assert list(there.hugepages) == [2 << 20, 1 << 30]


def test_looking_at_a_file_leaves_nothing_read_that_nobody_reads() -> None:
    """Translation reports what nobody read; we must not hide it."""
    root = domain(emulator="/bin/true", arch="x86_64", os_attribute="firmware='efi'")
    surroundings = Surroundings(Settings())

    surroundings.data(root)

    assert any("attribute 'firmware' is not supported" in str(note) for note in root.unread())


def test_an_emulator_that_does_not_answer_is_told_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "vm.xml"
    path.write_text(
        "<domain type='qemu'>\n<name>a</name><memory>1</memory><os><type>hvm</type></os>\n"
        "<devices>\n<emulator>/bin/false</emulator></devices></domain>"
    )
    with pytest.raises(EmulatorError, match=r"vm\.xml:4: <emulator>: /bin/false: ended with"):
        load_group([str(path)], Settings())
