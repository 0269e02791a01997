"""Asking real emulators, and remembering what they said."""

import json
import os
import select
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from qsuper.caps import Caps
from qsuper.errors import EmulatorError, TimedOutError, UnavailableError, UsageError
from qsuper.host import probe
from qsuper.host.transcript import transcripts

ARCHS = ("x86_64", "aarch64", "arm", "riscv64")
Script = Callable[[str], str]


def real_emulator(arch: str) -> str:
    try:
        return probe.default_emulator(arch)
    except UnavailableError:
        pytest.skip(f"no emulator for {arch} here")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "qsuper" / "capabilities"


@pytest.fixture
def script(tmp_path: Path) -> Script:
    """Make an executable out of the body of a shell script."""

    def make(body: str) -> str:
        path = tmp_path / "emulator"
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
        return str(path)

    return make


@pytest.fixture
def counted(tmp_path: Path, script: Script) -> tuple[str, Callable[[], int]]:
    """A real QEMU that notes each start, and how often that was."""
    log = tmp_path / "starts"
    log.touch()
    emulator = script(f'echo >>{log}\nexec {real_emulator("arm")} "$@"')
    return emulator, lambda: len(log.read_text())


@pytest.mark.qemu
@pytest.mark.parametrize("arch", ARCHS)
def test_a_real_emulator_says_what_translation_needs(arch: str) -> None:
    caps = probe.capabilities(real_emulator(arch))

    assert caps.arch == {"arm": "armv7l"}.get(arch, arch)
    assert caps.version >= (6, 0, 0)
    assert caps.has_type("virtio-net-pci", "memory-backend-memfd", "pcie-root-port")
    assert caps.has_prop("virtio-blk-pci", "write-cache")
    assert caps.has_prop("memory-backend-file", "share")
    assert caps.schema.has("blockdev-add/arg-type/+file/filename")
    assert not caps.schema.has("blockdev-add/arg-type/+file/no-such-member")
    assert caps.has_parameter("memory", "maxmem")
    assert caps.has_sandbox
    machine = caps.machine("q35" if arch == "x86_64" else "virt")
    assert machine is not None
    assert machine.max_cpus > 1
    assert machine.default_ram_id
    accel = "kvm" if caps.has_kvm else "tcg"
    assert caps.default_cpus[accel][machine.name] == machine.default_cpu


@pytest.mark.qemu
def test_what_we_ask_is_what_the_reference_asked(corpus: Path) -> None:
    """A QEMU of the same version says of itself what the reference transcript says."""
    real = real_emulator("x86_64")
    caps = probe.capabilities(real)
    if caps.version[:2] != (7, 2):
        pytest.skip(f"QEMU here is {caps.version}")
    reference = probe.read_capabilities(str(corpus / "capabilities" / "qemu-7.2.0-x86_64.json"))

    assert caps.machines.keys() == reference.machines.keys()
    for name, machine in reference.machines.items():
        found = caps.machine(name)
        assert found is not None
        assert (found.name, found.default_cpu, found.default_ram_id, found.max_cpus) == (
            machine.name,
            machine.default_cpu,
            machine.default_ram_id,
            machine.max_cpus,
        )
    assert caps.cpu_models["tcg"] == reference.cpu_models["tcg"]
    assert caps.tpm_models == reference.tpm_models
    assert caps.migration == reference.migration
    # Builds and patch releases differ: nearly all is the same.
    common = caps.types & reference.types
    assert len(common) > 0.95 * len(reference.types)
    asked = {name for name in reference.props if name in caps.types or name.startswith("generic")}
    assert asked - caps.props.keys() == set()
    for name in ("virtio-blk-pci", "scsi-hd", "memory-backend-memfd", "generic-pc-machine"):
        assert caps.props[name] == reference.props[name]
    same = [key for key in reference.schema.entries if key in caps.schema.entries]
    assert len(same) > 0.95 * len(reference.schema.entries)
    expanded = [row["arguments"] for row in caps.cpu_expansions["tcg"]]
    assert expanded == [row["arguments"] for row in reference.cpu_expansions["tcg"]]


@pytest.mark.qemu
def test_kvm_is_asked_first_where_it_works() -> None:
    emulator = real_emulator(os.uname().machine)
    transcript = probe.transcripts_of([emulator])[emulator]

    if probe.kvm_problem():
        assert transcript["first_pass_accel"] == "tcg"
        assert "commands_tcg" not in transcript
    else:
        assert transcript["first_pass_accel"] == "kvm"
        assert Caps.from_transcript(transcript).has_kvm
        assert Caps.from_transcript(transcript).cpu_expansions["tcg"]


@pytest.mark.qemu
def test_an_emulator_without_kvm_is_asked_once_more_for_nothing() -> None:
    """QEMU falls back to TCG by itself where its target has no KVM, and says so."""
    emulator = real_emulator("riscv64" if os.uname().machine != "riscv64" else "x86_64")

    transcript = transcripts({emulator: True})[emulator]

    assert transcript["first_pass_accel"] == "tcg"
    assert "commands_tcg" not in transcript


@pytest.mark.qemu
def test_the_second_time_nothing_is_started(counted: tuple[str, Callable[[], int]]) -> None:
    emulator, starts = counted

    first = probe.capabilities(emulator)
    asked = starts()
    second = probe.capabilities(emulator)

    assert asked > 0
    assert starts() == asked
    assert first == second


@pytest.mark.qemu
def test_a_changed_binary_is_asked_again(counted: tuple[str, Callable[[], int]]) -> None:
    emulator, starts = counted
    probe.capabilities(emulator)
    asked = starts()

    os.utime(emulator, ns=(1, 1))
    probe.capabilities(emulator)

    assert starts() == 2 * asked


@pytest.mark.qemu
@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"key": 1}', b"\xff\xfe", b"[" * 100_000])
def test_a_damaged_cache_is_asked_again_and_mended(
    counted: tuple[str, Callable[[], int]], cache: Path, damage: bytes
) -> None:
    emulator, starts = counted
    caps = probe.capabilities(emulator)
    asked = starts()
    (file,) = cache.iterdir()
    file.write_bytes(damage)

    assert probe.capabilities(emulator) == caps
    assert starts() == 2 * asked
    assert probe.capabilities(emulator) == caps
    assert starts() == 2 * asked


@pytest.mark.qemu
def test_the_cache_is_private_and_holds_one_file_for_each_emulator(cache: Path) -> None:
    emulators = [real_emulator("arm"), real_emulator("riscv64")]

    caps = probe.capabilities_of([*emulators, emulators[0]])

    assert [caps[emulator].arch for emulator in emulators] == ["armv7l", "riscv64"]
    assert len(list(cache.iterdir())) == 2
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in cache.iterdir()} == {0o600}


@pytest.mark.qemu
def test_a_link_to_an_emulator_shares_its_answers(tmp_path: Path, cache: Path) -> None:
    link = tmp_path / "qemu-system-arm"
    link.symlink_to(real_emulator("arm"))

    assert probe.capabilities(str(link)) == probe.capabilities(real_emulator("arm"))
    assert len(list(cache.iterdir())) == 1


@pytest.mark.qemu
def test_without_a_place_for_the_cache_the_answer_is_the_same(cache: Path) -> None:
    cache.parent.parent.write_text("in the way")

    assert probe.capabilities(real_emulator("arm")).arch == "armv7l"


@pytest.mark.qemu
def test_a_transcript_written_down_gives_the_same_capabilities(tmp_path: Path) -> None:
    emulator = real_emulator("riscv64")
    file = tmp_path / "caps.json"
    file.write_text(json.dumps(probe.transcripts_of([emulator])[emulator]))

    assert probe.read_capabilities(str(file)) == probe.capabilities(emulator)


def test_every_reference_file_is_read(corpus: Path) -> None:
    for path in (corpus / "capabilities").glob("*.json"):
        caps = probe.read_capabilities(str(path))
        assert path.stem.rpartition("-")[2] == caps.arch
        assert caps.machines


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"nonsense", b'{"first_pass_accel": 1}'])
def test_a_file_that_holds_no_capabilities(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "caps.json"
    file.write_bytes(content)

    with pytest.raises(UsageError, match=r"caps\.json: not a capabilities file"):
        probe.read_capabilities(str(file))


def test_a_capabilities_file_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"caps\.json: No such file"):
        probe.read_capabilities(str(tmp_path / "caps.json"))


@pytest.mark.parametrize(
    ("arch", "package"),
    [
        ("x86_64", "qemu-system-x86"),
        ("i686", "qemu-system-x86"),
        ("armv7l", "qemu-system-arm"),
        ("ppc64le", "qemu-system-ppc"),
        ("riscv64", "qemu-system-misc"),
    ],
)
def test_a_missing_emulator_comes_with_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arch: str, package: str
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(UnavailableError, match=rf"{arch} .*apt install {package}\)"):
        probe.default_emulator(arch)


@pytest.mark.parametrize(
    ("arch", "name"),
    [
        ("i686", "qemu-system-i386"),
        ("armv7l", "qemu-system-arm"),
        ("ppc64le", "qemu-system-ppc64"),
        ("s390x", "qemu-system-s390x"),
    ],
)
def test_the_emulator_of_an_architecture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arch: str, name: str
) -> None:
    (tmp_path / name).touch(0o755)
    monkeypatch.setenv("PATH", f"/nonexistent:{tmp_path}")

    assert probe.default_emulator(arch) == str(tmp_path / name)


def test_an_emulator_that_is_missing_or_no_program(tmp_path: Path) -> None:
    file = tmp_path / "qemu-system-arm"

    with pytest.raises(UnavailableError, match=r"qemu-system-arm: no such emulator .*-arm\)"):
        probe.capabilities(str(file))
    file.write_text("not executable")
    with pytest.raises(UnavailableError, match="qemu-system-arm: cannot be executed"):
        probe.capabilities(str(file))
    file.chmod(0o755)
    with pytest.raises(EmulatorError, match="qemu-system-arm: cannot be started: Exec format"):
        probe.capabilities(str(file))


def test_an_emulator_that_ends_at_once_is_quoted(script: Script) -> None:
    emulator = script("echo 'something is' >&2; echo missing >&2; exit 3")

    with pytest.raises(EmulatorError, match=r"with status 3 .*: something is; missing$"):
        probe.capabilities(emulator)


@pytest.mark.qemu
def test_qemus_own_message_is_quoted(script: Script) -> None:
    emulator = script(f'exec {real_emulator("arm")} "$@" -no-such-option')

    with pytest.raises(EmulatorError, match=r"with status 1 .*-no-such-option: invalid option"):
        probe.capabilities(emulator)


def test_an_emulator_that_dies_of_a_signal(script: Script) -> None:
    with pytest.raises(EmulatorError, match="with signal 9 when asked"):
        probe.capabilities(script("kill -9 $$"))


@pytest.mark.parametrize("words", ["hello", '{"return":', "[1]", "5"])
def test_a_program_that_does_not_speak_qmp(tmp_path: Path, words: str) -> None:
    emulator = tmp_path / "emulator"
    emulator.write_text(
        f"#!{sys.executable}\n"
        "import os, re, signal, sys\n"
        "fd = int(re.search(r'fd=(\\d+)', ' '.join(sys.argv))[1])\n"
        f"os.write(fd, {words.encode()!r} + bytes([10]))\n"
        "signal.pause()\n"
    )
    emulator.chmod(0o755)

    with pytest.raises(EmulatorError, match="emulator: no QMP: "):
        probe.capabilities(str(emulator))


@pytest.mark.parametrize("answer", [{}, [], 5, {"enabled": []}])
def test_a_program_whose_answers_are_not_qemus(tmp_path: Path, answer: object) -> None:
    emulator = tmp_path / "emulator"
    reply = json.dumps({"return": answer}).encode()
    emulator.write_text(
        f"#!{sys.executable}\n"
        "import re, socket, sys\n"
        "fd = int(re.search(r'fd=(\\d+)', ' '.join(sys.argv))[1])\n"
        "with socket.socket(fileno=fd) as monitor, monitor.makefile('rwb', 0) as stream:\n"
        "    for command in stream:\n"
        f"        stream.write({reply!r} + bytes([10]))\n"
    )
    emulator.chmod(0o755)

    with pytest.raises(EmulatorError, match="emulator: does not answer as QEMU does"):
        probe.capabilities(str(emulator))


def test_a_silent_program_is_ended_at_the_deadline(tmp_path: Path, script: Script) -> None:
    emulator = script(f"echo $$ >{tmp_path}/pid; exec sleep 1000")

    with pytest.raises(TimedOutError, match="emulator: does not answer over QMP"):
        transcripts({emulator: False}, deadline_s=0.5)

    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


@pytest.mark.qemu
def test_one_failure_ends_all_that_were_asked(tmp_path: Path, script: Script) -> None:
    fds = len(os.listdir("/proc/self/fd"))
    before = psutil.Process().children()
    bad = script("exit 1")

    with pytest.raises(EmulatorError):
        probe.capabilities_of([real_emulator("arm"), bad])

    assert set(psutil.Process().children()) <= set(before)
    assert len(os.listdir("/proc/self/fd")) == fds


def test_an_emulator_ends_with_us_even_when_we_are_killed(tmp_path: Path, script: Script) -> None:
    fifo = tmp_path / "started"
    os.mkfifo(fifo)
    emulator = script(f"echo $$ >{fifo}; exec sleep 1000")
    code = "import sys; from qsuper.host.probe import capabilities; capabilities(sys.argv[1])"
    with subprocess.Popen([sys.executable, "-c", code, emulator]) as asker:
        # Waits until the emulator runs: once, or twice where there is an accelerator to ask about.
        ends = [os.pidfd_open(int(pid)) for pid in fifo.read_text().split()]
        asker.send_signal(signal.SIGKILL)

        for ended in ends:
            assert select.select([ended], [], [], 10)[0] == [ended]
            os.close(ended)


def test_the_cached_way_loads_nothing_that_starts_processes(tmp_path: Path, cache: Path) -> None:
    """What a cached answer costs is mostly imports."""
    code = (
        "import sys; import qsuper.host.probe;"
        "print({'subprocess', 'ctypes', 'shutil', 'tomllib', 'trio', 'lxml'} & set(sys.modules))"
    )

    run = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)

    assert run.stdout.strip() == "set()"
