"""What the QEMUs of this host can do: found, asked once, remembered.

An answer is remembered in CACHE/capabilities/, one file per emulator, in the format of a
capabilities file. It counts as long as the binary (by its real path), QEMU's modules and, for KVM,
the host are what they were. `docs/decisions/0010-capabilities-cache.md` has the measurements.
"""

import contextlib
import fcntl
import json
import os
import zlib
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from qsuper import paths
from qsuper.caps import Caps, Json, Transcript
from qsuper.errors import UnavailableError, UsageError

_FORMAT: Final = 1  # count up when host.transcript asks more
_CAPABILITIES_BYTES_MAX: Final = 64 << 20
_KVM: Final = "/dev/kvm"
_KVM_GET_API_VERSION: Final = 0xAE00
_KVM_API_VERSION: Final = 12  # the only one since Linux 2.6.22
_NOT_CAPS: Final = (KeyError, TypeError, ValueError, AttributeError, RecursionError)

_TARGET: Final = {
    "armv6l": "arm",
    "armv7b": "arm",
    "armv7l": "arm",
    "i686": "i386",
    "ppc64le": "ppc64",
}
"""QEMU's names of architectures, where libvirt spells them otherwise."""

STAND_INS: Final = {"i686": "x86_64", "armv6l": "aarch64", "armv7l": "aarch64"}
"""Whose emulator runs an architecture too."""

_KVM_TARGETS: Final = {
    "aarch64": ("aarch64",),
    "ppc64le": ("ppc64",),
    "x86_64": ("x86_64", "i386"),
}
"""What KVM runs, by the host's machine; itself where nothing is said."""

_PACKAGES: Final = (
    (("x86_64", "i386"), "qemu-system-x86"),
    (("arm", "aarch64"), "qemu-system-arm"),
    (("ppc", "ppc64"), "qemu-system-ppc"),
    (("mips", "mipsel", "mips64", "mips64el"), "qemu-system-mips"),
    (("sparc", "sparc64"), "qemu-system-sparc"),
)
_PACKAGE_OF_THE_REST: Final = "qemu-system-misc"


def default_emulator(arch: str) -> str:
    """Find the emulator for libvirt architecture *arch* in PATH.

    Raises:
        UnavailableError: there is none.
    """
    for target in (_target(arch), STAND_INS.get(arch)):
        if target and (found := _which(f"qemu-system-{target}")):
            return found
    raise _unavailable(f"no emulator for {arch} in PATH", _target(arch))


def find_emulator(path: str) -> str:
    """Check the emulator that a file names: an absolute path, or a name to find in PATH.

    Raises:
        UnavailableError: there is none, or it cannot be executed.
    """
    if found := _which(path):
        return found
    _, is_qemus, target = os.path.basename(path).rpartition("qemu-system-")
    problem = "cannot be executed" if os.path.exists(path) else "no such emulator"
    if is_qemus:
        raise _unavailable(f"{path}: {problem}", target)
    raise UnavailableError(f"{path}: {problem} (without <emulator>, qemu-system-ARCH is taken)")


def kvm_problem() -> str:
    """Say why KVM cannot be used here; empty where it can."""
    try:
        device = os.open(_KVM, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        return f"{_KVM}: {error.strerror}"
    try:
        version = fcntl.ioctl(device, _KVM_GET_API_VERSION)
    except OSError as error:
        return f"{_KVM}: {error.strerror}"
    finally:
        os.close(device)
    return "" if version == _KVM_API_VERSION else f"{_KVM}: speaks API {version}"


def capabilities(emulator: str) -> Caps:
    """Tell what *emulator* can do, from the cache or by asking it.

    Raises:
        UnavailableError: it does not exist or cannot be executed.
        EmulatorError, TimedOutError: as `host.transcript.transcripts`.
    """
    return capabilities_of([emulator])[emulator]


def capabilities_of(emulators: Iterable[str]) -> dict[str, Caps]:
    """Tell what each of *emulators* can do; those that must be asked are asked side by side.

    Raises:
        UnavailableError: one does not exist or cannot be executed.
        EmulatorError, TimedOutError: as `host.transcript.transcripts`.
    """
    has_kvm = not kvm_problem()
    keys = {
        emulator: _key(emulator, tries_kvm=has_kvm and _may_have_kvm(emulator))
        for emulator in dict.fromkeys(emulators)
    }
    result = {emulator: _recall(key) for emulator, key in keys.items()}
    if unknown := [emulator for emulator, caps in result.items() if caps is None]:
        for emulator, transcript in transcripts_of(unknown).items():
            result[emulator] = Caps.from_transcript(transcript)
            _remember(keys[emulator], transcript)
    return {emulator: caps for emulator, caps in result.items() if caps is not None}


def transcripts_of(emulators: Iterable[str]) -> dict[str, Transcript]:
    """Ask *emulators*, whatever the cache holds; a capabilities file's content for each.

    Raises:
        UnavailableError: one does not exist or cannot be executed.
        EmulatorError, TimedOutError: as `host.transcript.transcripts`.
    """
    from qsuper.host.transcript import transcripts  # noqa: PLC0415 - costs more than a cached load

    has_kvm = not kvm_problem()
    found = {emulator: find_emulator(emulator) for emulator in emulators}
    answers = transcripts({path: has_kvm and _may_have_kvm(path) for path in found.values()})
    return {emulator: answers[path] for emulator, path in found.items()}


def read_capabilities(path: str) -> Caps:
    """Read a capabilities file, as `qsuper capabilities` writes it.

    Raises:
        UsageError: there is no such file, or it is none.
    """
    try:
        with open(path, "rb") as file:
            return Caps.from_transcript(json.loads(file.read(_CAPABILITIES_BYTES_MAX)))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    except _NOT_CAPS as error:
        raise UsageError(f"{path}: not a capabilities file: {error!r}") from error


def _which(name: str) -> str | None:
    """Find an executable as a shell does; `shutil`, which has this too, costs 10 ms."""
    directories = [""] if "/" in name else os.environ.get("PATH", os.defpath).split(":")
    for directory in directories:
        path = os.path.abspath(os.path.join(directory, name))
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return None


def _target(arch: str) -> str:
    return _TARGET.get(arch, arch)


def _unavailable(problem: str, target: str) -> UnavailableError:
    package = next((name for archs, name in _PACKAGES if target in archs), _PACKAGE_OF_THE_REST)
    return UnavailableError(f"{problem} (on Debian: apt install {package})")


def _may_have_kvm(emulator: str) -> bool:
    """Rule KVM out where the emulator's name does; QEMU itself knows about the others."""
    host = os.uname().machine
    prefix, found, target = os.path.basename(emulator).partition("qemu-system-")
    return prefix != "" or not found or target in _KVM_TARGETS.get(host, (host,))


# The cache


def _key(emulator: str, *, tries_kvm: bool) -> dict[str, Any]:
    """Give what the answers depend on, as JSON gives it back."""
    real = os.path.realpath(find_emulator(emulator))
    found = os.stat(real)
    host = os.uname()
    return {
        "format": _FORMAT,
        "emulator": real,
        "mtime_ns": found.st_mtime_ns,
        "size": found.st_size,
        "modules": [_mtime_ns(path) for path in _module_dirs(real)],
        # The expansion of CPU model `host` is the host's; a cache may be shared by several.
        "kvm": [host.nodename, host.release, host.machine] if tries_kvm else None,
    }


def _module_dirs(emulator: str) -> Iterable[str]:
    """Give where distributions put QEMU's modules, each of which adds types to the binary."""
    prefix = os.path.dirname(os.path.dirname(emulator))
    for lib in (f"lib/{os.uname().machine}-linux-gnu", "lib64", "lib"):
        yield os.path.join(prefix, lib, "qemu")


def _mtime_ns(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0


def _cache_file(key: dict[str, Any]) -> str:
    real = key["emulator"]
    # Of two with one digest the key knows which it is; hashlib would take 3 ms to load.
    digest = f"{zlib.crc32(os.fsencode(real)):08x}"
    return os.path.join(
        paths.cache_dir(), "capabilities", f"{os.path.basename(real)[:100]}-{digest}.json"
    )


def _recall(key: dict[str, Any]) -> Caps | None:
    try:
        with open(_cache_file(key), "rb") as file:
            if os.fstat(file.fileno()).st_uid != os.getuid():
                return None
            known: dict[str, Json] = msgspec.json.decode(file.read(_CAPABILITIES_BYTES_MAX))
        return Caps.from_transcript(known) if known["key"] == key else None
    except (OSError, *_NOT_CAPS):
        return None


def _remember(key: dict[str, Any], transcript: Transcript) -> None:
    """Write the cache file; without one, the next run asks again."""
    path = _cache_file(key)
    fresh = f"{path}.{os.getpid()}"
    with contextlib.suppress(OSError):
        paths.make_private(os.path.dirname(path))
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        try:
            with open(descriptor, "w", encoding="ascii") as file:
                file.write(json.dumps({"key": key, **transcript}, separators=(",", ":")))
            os.rename(fresh, path)
        except BaseException:
            os.unlink(fresh)
            raise
