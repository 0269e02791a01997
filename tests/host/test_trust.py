"""Files that are not trusted."""

from pathlib import Path

import pytest

from qsuper.cli.main import main
from qsuper.errors import ConfigErrors
from qsuper.host.trust import check_untrusted
from qsuper.translate.node import parse_xml

_QEMU = "xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'"


def problems(inside: str) -> list[str]:
    xml = f"<domain type='qemu' {_QEMU}><name>vm</name>\n{inside}\n</domain>"
    try:
        check_untrusted(parse_xml(xml.encode(), "vm.xml", "/"))
    except ConfigErrors as several:
        return list(map(str, several.errors))
    return []


@pytest.mark.parametrize("name", ["commandline", "override", "capabilities", "deprecation"])
def test_words_for_qemu(name: str) -> None:
    assert problems(f"<qemu:{name}/>") == [f"vm.xml:2: <{name}>: is refused by --no-qemu-namespace"]


@pytest.mark.parametrize(
    ("emulator", "is_refused"),
    [
        ("/usr/bin/qemu-system-x86_64", False),
        ("qemu-system-aarch64", False),
        ("/usr/libexec/qemu-kvm", False),
        ("/usr/bin/python3", True),
        ("sh", True),
        ("/tmp/qemu-system-x86_64", True),
        ("/usr/bin/../../tmp/qemu-system-x86_64", True),
        ("./qemu-system-x86_64", True),
        ("qemu-system-x86_64\n", False),  # it is stripped
        ("qemu-system-x86_64 -x", True),
    ],
)
def test_emulators(emulator: str, is_refused: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:.:/bin")
    found = problems(f"<devices><emulator>{emulator}</emulator></devices>")
    assert bool(found) is is_refused, found


def test_all_emulators_count() -> None:
    """Whichever of two is taken."""
    first = "<emulator>/usr/bin/qemu-system-arm</emulator>"
    found = problems(f"<devices/><devices>{first}<emulator>/x</emulator></devices>")
    assert len(found) == 1


@pytest.mark.parametrize("verb", ["translate", "validate", "up"])
def test_it_is_never_run(
    verb: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Not even to be asked what it can do."""
    for name in ("STATE", "CACHE", "CONFIG"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path))
    monkeypatch.setenv("QSUPER_RUNTIME_DIR", str(tmp_path / "run"))
    emulator = tmp_path / "qemu-system-x86_64"
    emulator.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    emulator.chmod(0o700)
    file = tmp_path / "vm.xml"
    file.write_text(
        f"<domain type='qemu'><name>vm</name><memory>1024</memory><os><type arch='x86_64'>hvm"
        f"</type></os><devices><emulator>{emulator}</emulator></devices></domain>"
    )
    words = [verb, "-d"] if verb == "up" else [verb]

    assert main([*words, "--no-qemu-namespace", str(file)]) == 65

    assert "refused by --no-qemu-namespace" in capfd.readouterr().err
    assert not (tmp_path / "ran").exists()


def test_the_files_are_still_translated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    file = tmp_path / "vm.xml"
    file.write_text(
        "<domain type='qemu'><name>vm</name><memory>65536</memory><os><type arch='x86_64'>hvm"
        "</type></os></domain>"
    )
    assert main(["translate", "--no-qemu-namespace", str(file)]) == 0
    assert "qemu-system-x86_64" in capsys.readouterr().out
