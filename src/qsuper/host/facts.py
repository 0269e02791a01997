"""What Linux tells of the host in files."""

import re
from glob import glob
from os.path import basename
from typing import Final

_MACHINE_IDS: Final = ("etc/machine-id", "var/lib/dbus/machine-id")
_SIZE: Final = re.compile(r"pagesize=(\d+)([KMG])")
_SCALE: Final = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_OCTAL: Final = re.compile(r"\\([0-7]{3})")


def machine_id(root: str = "/") -> str:
    """Give the id that systemd or D-Bus gave this installation; empty without one."""
    return next(filter(None, (_read(root, path).strip() for path in _MACHINE_IDS)), "")


def hugepages(root: str = "/") -> dict[int, str]:
    """Give where huge pages are mounted, by page size in bytes, the default size first."""
    default_bytes = _default_page_bytes(_read(root, "proc/meminfo"))
    result: dict[int, str] = {}
    for line in _read(root, "proc/mounts").splitlines():
        _, path, kind, options, *_ = [*line.split(" "), "", "", "", ""]
        if kind == "hugetlbfs":
            found = _SIZE.search(options)
            size_bytes = int(found[1]) * _SCALE[found[2]] if found else default_bytes
            result.setdefault(size_bytes, _OCTAL.sub(lambda code: chr(int(code[1], 8)), path))
    return dict(sorted(result.items(), key=lambda item: item[0] != default_bytes))


def numa_nodes(root: str = "/") -> frozenset[int]:
    """Give the numbers of the host's NUMA nodes; empty where it does not tell."""
    text = _read(root, "sys/devices/system/node/online").strip()
    spans = (part.partition("-") for part in text.split(",") if part)
    return frozenset(
        number for low, _, high in spans for number in range(int(low), int(high or low) + 1)
    )


def scsi_generic(root: str = "/") -> dict[str, str]:
    """Give the character device of every SCSI unit, `/dev/sgN` by HOST:BUS:TARGET:UNIT."""
    base = f"{root.rstrip('/')}/sys/bus/scsi/devices"
    found = glob(f"{base}/*:*/scsi_generic/sg*")
    return {path.removeprefix(f"{base}/").split("/")[0]: f"/dev/{basename(path)}" for path in found}


def _default_page_bytes(meminfo: str) -> int:
    found = re.search(r"^Hugepagesize:\s+(\d+) kB", meminfo, re.MULTILINE)
    return int(found[1]) << 10 if found else 0


def _read(root: str, path: str) -> str:
    try:
        with open(f"{root.rstrip('/')}/{path}", encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return ""
