"""From files to plans, through everything between."""

import os
import subprocess
from pathlib import Path

import pytest

from qsuper import planfile
from qsuper.errors import ConfigError, ConfigErrors, UnavailableError, UsageError
from qsuper.host import probe
from qsuper.host.load import Accel, Settings, load_domain, load_group
from qsuper.host.network import parse_stand_in
from qsuper.plan import LaunchPlan, Role

A = """<domain type='{kind}'>
  <name>a</name>
  <memory unit='MiB'>64</memory>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <devices>
    <domaindependency> parts/b.xml </domaindependency>
    {more}
  </devices>
</domain>
"""
B = """<domain type='{kind}'>
  <name>b</name>
  <memory unit='MiB'>64</memory>
  <os><type arch='aarch64' machine='virt'>hvm</type></os>
  <devices>{more}</devices>
</domain>
"""
TCG = Settings(accel=Accel.TCG)

pytestmark = pytest.mark.qemu


@pytest.fixture
def vms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory for a.xml and parts/b.xml, with caches and configuration of its own."""
    for name in ("CONFIG", "STATE", "CACHE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name.lower()))
    (tmp_path / "parts").mkdir()
    monkeypatch.chdir(tmp_path)
    for arch in ("x86_64", "aarch64"):
        try:
            probe.default_emulator(arch)
        except UnavailableError:
            pytest.skip(f"no emulator for {arch} here")
    write(tmp_path)
    return tmp_path


def write(vms: Path, kind: str = "qemu", in_a: str = "", in_b: str = "") -> None:
    (vms / "a.xml").write_text(A.format(kind=kind, more=in_a))
    (vms / "parts" / "b.xml").write_text(B.format(kind=kind, more=in_b))


def argv(plan: LaunchPlan) -> list[str]:
    return [word for option in plan.options for word in option.argv()]


def test_a_group_of_two_architectures(vms: Path) -> None:
    loaded = load_group(["a.xml"], Settings())

    b, a = loaded.group.members
    assert (b.plan.name, b.plan.arch, b.role, b.needs) == ("b", "aarch64", Role.DEPENDENCY, ())
    assert (a.plan.name, a.plan.arch, a.role, a.needs) == ("a", "x86_64", Role.PRIMARY, ("b",))
    assert a.plan.emulator == probe.default_emulator("x86_64")
    assert b.plan.emulator == probe.default_emulator("aarch64")
    assert (a.source, b.source) == ("a.xml", "parts/b.xml")
    assert b.xml == (vms / "parts" / "b.xml").read_text()
    assert loaded.group.name == "a"
    assert loaded.notices == ()
    assert planfile.loads(planfile.dumps(loaded.group)) == loaded.group


def test_qemu_takes_what_comes_out(vms: Path) -> None:
    for member in load_group(["a.xml"], Settings()).group.members:
        run = subprocess.run(
            [member.plan.emulator, *argv(member.plan), "-S", "-nographic", "-qmp", "stdio"],
            input='{"execute":"qmp_capabilities"}{"execute":"query-name"}{"execute":"quit"}',
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert run.returncode == 0, run.stderr
        assert '"return"' in run.stdout


def test_one_file_goes_without_its_dependencies(vms: Path) -> None:
    (vms / "parts" / "b.xml").unlink()

    loaded = load_domain("a.xml", Settings())

    assert loaded.plan.name == "a"
    assert loaded.notices == ()
    assert loaded.plan.emulator == probe.default_emulator("x86_64")


def test_a_missing_uuid_is_the_same_from_run_to_run(vms: Path) -> None:
    first, second = (load_domain("a.xml", Settings()).plan.uuid for _ in range(2))

    assert first == second != load_domain("parts/b.xml", Settings()).plan.uuid


def test_notices_of_all_members(vms: Path) -> None:
    network = "<interface type='network'><source network='lab'/></interface>"
    write(vms, in_a=network, in_b=network)

    places = [str(notice.at) for notice in load_group(["a.xml"], Settings()).notices]
    assert places == ["parts/b.xml:5", "a.xml:7"]


def test_a_network_of_the_settings(vms: Path) -> None:
    write(vms, in_a="<interface type='network'><source network='lab'/></interface>")

    loaded = load_domain("a.xml", Settings(networks={"lab": parse_stand_in("user")}))

    assert loaded.notices == ()
    assert "user" in " ".join(argv(loaded.plan))


def test_errors_of_all_members_come_together(vms: Path) -> None:
    write(vms, in_a="<rng model='dice'/>", in_b="<rng model='coin'/>")

    with pytest.raises(ConfigErrors) as caught:
        load_group(["a.xml"], Settings())

    assert {str(error.at) for error in caught.value.errors} == {"a.xml:7", "parts/b.xml:5"}


def test_kvm_for_another_architecture_is_unavailable(vms: Path) -> None:
    """One of the two members has none, whatever this host is."""
    write(vms, kind="kvm")

    with pytest.raises(UnavailableError, match=r"\(try --accel tcg\)") as caught:
        load_group(["a.xml"], Settings())

    other = "parts/b.xml" if os.uname().machine == "x86_64" else "a.xml"
    assert f"{other}:1: type='kvm': " in str(caught.value)


def test_tcg_instead_of_kvm(vms: Path) -> None:
    write(vms, kind="kvm")

    for member in load_group(["a.xml"], TCG).group.members:
        words = argv(member.plan)
        assert words[words.index("-accel") + 1] == "tcg"


def test_emulators_that_are_missing_are_all_named(
    vms: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(vms))

    with pytest.raises(UnavailableError) as caught:
        load_group(["a.xml"], Settings())

    assert str(caught.value).split("\n") == [
        "parts/b.xml:1: no emulator for aarch64 in PATH (on Debian: apt install qemu-system-arm)",
        "a.xml:1: no emulator for x86_64 in PATH (on Debian: apt install qemu-system-x86)",
    ]


def test_files_that_cannot_be_loaded(vms: Path) -> None:
    with pytest.raises(ConfigError, match=r"^missing\.xml: no such file$"):
        load_domain("missing.xml", Settings())
    with pytest.raises(ConfigErrors, match=r"^missing\.xml: no such file$"):
        load_group(["missing.xml"], Settings())
    with pytest.raises(ConfigError, match=r"^parts: is a directory$"):
        load_domain("parts", Settings())
    with pytest.raises(UsageError, match=r"missing\.json: No such file"):
        load_domain("a.xml", Settings(capabilities=("missing.json",)))


def test_with_a_capabilities_file_nothing_here_matters(
    vms: Path, monkeypatch: pytest.MonkeyPatch, corpus: Path
) -> None:
    write(vms, kind="kvm")
    monkeypatch.setenv("PATH", str(vms))
    file = corpus / "capabilities" / "qemu-8.2.0-x86_64.json"

    plan = load_domain("a.xml", Settings(capabilities=(str(file),))).plan

    assert plan.emulator == "/usr/bin/qemu-system-x86_64"
    assert argv(plan)[argv(plan).index("-accel") + 1] == "kvm"
