"""What this host has and lacks for running domains: the checks of `qsuper doctor`."""

import os
import resource
import shutil
import stat
from collections.abc import Iterator
from enum import StrEnum, unique
from typing import Final

from msgspec import Struct

from qsuper import paths
from qsuper.errors import QsuperError
from qsuper.host.config import read_config
from qsuper.host.facts import hugepages
from qsuper.host.firmware import read_firmware
from qsuper.host.kvm import kvm_fault
from qsuper.host.probe import capabilities
from qsuper.runtime.urgency import is_allowed

_EMULATORS: Final = "qemu-system-"
_ALIKE: Final = ("-microvm",)  # another name for the same binary
_HELPERS: Final = {
    "swtpm": ("a TPM", "swtpm"),
    "virtiofsd": ("shared directories", "virtiofsd"),
    "passt": ("networks without root", "passt"),
    "qemu-img": ("disks of groups that are restored", "qemu-utils"),
}
"""Program: what it is for, the Debian package."""
_OUTSIDE_PATH: Final = ("/usr/libexec", "/usr/lib/qemu")
_YAMA: Final = "/proc/sys/kernel/yama/ptrace_scope"
_SHM: Final = "/dev/shm"  # noqa: S108 - looked at, and nothing put there
_LEAST_SHM_BYTES: Final = 64 << 20
_LEAST_DESCRIPTORS: Final = 4096
_MIB: Final = 1 << 20


@unique
class Health(StrEnum):
    """How a check came out."""

    OK = "ok"
    LACKS = "lacks"
    """Something that a domain may want is not there."""
    BROKEN = "broken"
    """It is there and does not work: domains that use it fail."""


class Finding(Struct, frozen=True, kw_only=True):
    """What a check found."""

    check: str
    health: Health
    found: str
    mend: str = ""
    """What to do about it."""


def findings() -> Iterator[Finding]:
    """Check the host, one thing after the other."""
    yield from _emulators()
    yield _kvm()
    yield from _directories()
    yield _config()
    yield _shared_memory()
    yield _locked_memory()
    yield _hugepages()
    yield _descriptors()
    yield _real_time()
    yield _tracing()
    yield from _helpers()
    yield from _firmware()


def _good(check: str, found: str) -> Finding:
    return Finding(check=check, health=Health.OK, found=found)


def _lack(check: str, found: str, mend: str) -> Finding:
    return Finding(check=check, health=Health.LACKS, found=found, mend=mend)


def _fault(check: str, found: str, mend: str) -> Finding:
    return Finding(check=check, health=Health.BROKEN, found=found, mend=mend)


def _emulators() -> Iterator[Finding]:
    found = {
        name: os.path.join(directory, name)
        for directory in reversed(os.environ.get("PATH", os.defpath).split(":"))
        for name in _names(directory)
        if name.startswith(_EMULATORS) and not name.endswith(_ALIKE)
    }
    if not found:
        mend = "on Debian: apt install qemu-system-x86, or qemu-system-arm, qemu-system-misc"
        yield _fault("emulators", "none in PATH", mend)
    versions: dict[str, list[str]] = {}
    for name, path in sorted(found.items()):
        try:
            version = ".".join(map(str, capabilities(path).version))
        except QsuperError as error:
            yield _fault("emulators", str(error), f"install it again, or remove {path}")
        else:
            versions.setdefault(version, []).append(name.removeprefix(_EMULATORS))
    for version, names in versions.items():
        yield _good("emulators", f"QEMU {version} answers for {', '.join(names)}")


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory or ".")
    except OSError:
        return []


def _kvm() -> Finding:
    if not (fault := kvm_fault()):
        return _good("kvm", "a guest runs")
    if os.access("/dev/kvm", os.R_OK | os.W_OK):
        return _fault("kvm", fault, "start type='kvm' domains with --accel tcg on this host")
    if os.path.exists("/dev/kvm"):
        return _fault("kvm", fault, "join its group: sudo usermod -aG kvm $USER, and log in again")
    return _lack("kvm", fault, "switch virtualization on in the firmware; until then --accel tcg")


def _directories() -> Iterator[Finding]:
    try:
        path = paths.check_private(paths.runtime_dir())
        paths.check_parent(path)
    except QsuperError as error:
        yield _fault("runtime directory", str(error), "mend it, or name another one")
    else:
        yield _good("runtime directory", path if os.path.isdir(path) else f"{path}, to be made")
    path = paths.state_dir()
    try:
        found = os.stat(path)
    except FileNotFoundError:
        yield _good("state directory", f"{path}, to be made")
        return
    except OSError as error:
        yield _fault("state directory", f"{path}: {error.strerror}", "mend it")
        return
    if found.st_uid != os.getuid() or not stat.S_ISDIR(found.st_mode):
        yield _fault("state directory", f"{path}: not a directory of ours", f"remove {path}")
    elif found.st_mode & 0o022:
        yield _fault("state directory", f"{path}: others may write there", f"chmod 0700 {path}")
    elif (free := shutil.disk_usage(path).free) < _LEAST_SHM_BYTES:
        yield _fault("state directory", f"{path}: {free // _MIB} MiB free", "make room: logs")
    else:
        yield _good("state directory", f"{path}: {free // _MIB} MiB free")


def _config() -> Finding:
    try:
        read_config()
    except QsuperError as error:
        return _fault("configuration", str(error), "mend it")
    return _good("configuration", os.path.join(paths.config_dir(), "config.toml"))


def _shared_memory() -> Finding:
    try:
        usage = shutil.disk_usage(_SHM)
    except OSError as error:
        return _lack(_SHM, str(error.strerror), f"mount -t tmpfs tmpfs {_SHM}")
    found = f"{usage.free // _MIB} of {usage.total // _MIB} MiB free"
    if usage.free < _LEAST_SHM_BYTES:
        mend = f"mount -o remount,size=4G {_SHM}; <shmem> of path='host' is what needs it"
        return _lack(_SHM, found, mend)
    return _good(_SHM, found)


def _locked_memory() -> Finding:
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if soft == resource.RLIM_INFINITY or os.geteuid() == 0:
        return _good("locked memory", "unlimited")
    found = f"{soft // _MIB} MiB"
    mend = "for <locked/> and VFIO: LimitMEMLOCK= in the unit, or memlock in limits.conf(5)"
    return _lack("locked memory", found, mend)


def _hugepages() -> Finding:
    total = 0
    pools: list[str] = []
    root = "/sys/kernel/mm/hugepages"
    for name in sorted(_names(root)):
        try:
            with open(f"{root}/{name}/nr_hugepages", encoding="ascii") as file:
                count = int(file.read())
        except (OSError, ValueError):
            continue
        total += count
        pools.append(f"{count} of {name.removeprefix('hugepages-')}")
    if not total:
        mend = "for <hugepages/>: sysctl vm.nr_hugepages=N"
        return _lack("huge pages", ", ".join(pools) or "none", mend)
    if not hugepages():
        return _lack("huge pages", "no hugetlbfs is mounted", "mount -t hugetlbfs hugetlbfs DIR")
    return _good("huge pages", ", ".join(pools))


def _descriptors() -> Finding:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < _LEAST_DESCRIPTORS:
        return _lack("open files", f"at most {hard}", "for many members: ulimit -Hn 65536")
    return _good("open files", "unlimited" if hard == resource.RLIM_INFINITY else f"at most {hard}")


def _real_time() -> Finding:
    if is_allowed():
        return _good("real time", "allowed")
    mend = (
        "for members that stop within a millisecond: CAP_SYS_NICE, AmbientCapabilities= in a unit"
    )
    return _lack("real time", "not allowed", mend)


def _tracing() -> Finding:
    try:
        with open(_YAMA, encoding="ascii") as file:
            scope = int(file.read())
    except (OSError, ValueError):
        scope = 0
    if scope == 0 or os.geteuid() == 0:
        return _good("taking over", "doorbells as well")
    mend = "after a supervisor was killed: sysctl kernel.yama.ptrace_scope=0, or CAP_SYS_PTRACE"
    return _lack("taking over", f"not the doorbells: ptrace_scope is {scope}", mend)


def _helpers() -> Iterator[Finding]:
    where = os.pathsep.join((os.environ.get("PATH", os.defpath), *_OUTSIDE_PATH))
    for program, (use, package) in _HELPERS.items():
        if path := shutil.which(program, path=where):
            yield _good(program, path)
        else:
            yield _lack(program, f"not there; for {use}", f"on Debian: apt install {package}")


def _firmware() -> Iterator[Finding]:
    firmware = read_firmware()
    for notice in firmware.notices:
        yield _fault("firmware", str(notice), "mend or remove it")
    if firmware.descriptors:
        yield _good("firmware", f"{len(firmware.descriptors)} descriptors")
    else:
        mend = "for <os firmware='efi'>: on Debian: apt install ovmf qemu-efi-aarch64"
        yield _lack("firmware", "no descriptors", mend)
