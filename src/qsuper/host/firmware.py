"""QEMU's firmware descriptors: which firmware there is, and what each is good for.

Distributions, administrators and users each have a directory of them. One file name means one
descriptor: the later directory's. An empty file there takes the descriptor away. What is left is
tried in the order of the file names.

Source: QEMU `docs/interop/firmware.json`; libvirt `qemuInteropFetchConfigs()`.
"""

import json
import os
from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

from msgspec import Struct

from qsuper.host.files import read_regular, reason
from qsuper.location import Location, Notice

Descriptor = Mapping[str, Any]

_DESCRIPTOR_BYTES_MAX: Final = 1 << 20
_DIRECTORIES: Final = ("usr/share", "etc")
_HOME_OF_ROOT_DIRECTORY: Final = "home/user/.config"  # where a copy of a host keeps the user's


class Firmware(Struct, frozen=True, kw_only=True):
    """The descriptors that count, and why others do not."""

    descriptors: tuple[tuple[str, Descriptor], ...]
    """File name and content, in the order in which they are tried."""
    notices: tuple[Notice, ...]


def read_firmware(root: str | None = None) -> Firmware:
    """Read the firmware descriptors of this host, or of a copy of one below *root*.

    A file that cannot be read, or is no descriptor, is left out with a notice.
    """
    merged: dict[str, str] = {}
    for directory in _directories(root):
        for name in _names(directory):
            merged[name] = os.path.join(directory, name)
    descriptors: list[tuple[str, Descriptor]] = []
    notices: list[Notice] = []
    for name, path in sorted(merged.items()):
        try:
            data, _ = read_regular(path, _DESCRIPTOR_BYTES_MAX)
            if data:
                descriptors.append((name, _checked(json.loads(data))))
        except (OSError, ValueError, RecursionError) as error:
            if os.path.realpath(path) != os.devnull:  # a link to it counts as empty
                notices.append(Notice(Location(path, 0), f"left out: {_reason(error)}"))
    return Firmware(descriptors=tuple(descriptors), notices=tuple(notices))


def _reason(error: Exception) -> str:
    return reason(error) if isinstance(error, OSError) else str(error)


def _directories(root: str | None) -> Iterator[str]:
    for directory in _DIRECTORIES:
        yield os.path.join(root or "/", directory, "qemu/firmware")
    if root is not None:
        yield os.path.join(root, _HOME_OF_ROOT_DIRECTORY, "qemu/firmware")
    elif os.getuid() != 0:  # root takes what administrators put in /etc alone
        home = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
        yield os.path.join(home, "qemu/firmware")


def _names(directory: str) -> list[str]:
    try:
        names = os.listdir(directory)
    except OSError:
        return []
    return [name for name in names if name.endswith(".json") and not name.startswith(".")]


def _checked(content: object) -> Descriptor:
    """Check that *content* has the shape on which translation relies.

    Raises:
        ValueError: it has not.
    """
    descriptor = _table(content, "the file")
    for key in ("interface-types", "features"):
        for word in _list(descriptor, key):
            if not isinstance(word, str):
                raise ValueError(f"'{key}' does not hold words")  # noqa: TRY004 - bad data
    mapping = _table(descriptor.get("mapping"), "'mapping'")
    if not isinstance(mapping.get("device"), str):
        raise ValueError("'mapping' names no device")  # noqa: TRY004 - bad data
    for target in _list(descriptor, "targets"):
        row = _table(target, "a target")
        if not isinstance(row.get("architecture"), str):
            raise ValueError("a target names no architecture")  # noqa: TRY004 - bad data
        _list(row, "machines")
    return descriptor


def _table(value: object, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{what} is no JSON object")  # noqa: TRY004 - bad data
    return cast("dict[str, Any]", value)


def _list(table: Mapping[str, Any], key: str) -> list[Any]:
    value = table.get(key)
    if not isinstance(value, list):
        raise ValueError(f"'{key}' is no list")  # noqa: TRY004 - bad data
    return value  # pyright: ignore[reportUnknownVariableType]  # mypy knows it for list[Any]
