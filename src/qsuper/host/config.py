"""The user's configuration, CONFIG/config.toml.

All there is in it::

    [networks]              # what stands in for libvirt's networks
    default = "user"
    lab = "bridge:br0"

    [logs]                  # of consoles, QEMU and the supervisor
    size = "10 MiB"         # a file over it is cut; "0 B": never
    keep = 3                # pieces cut off that are kept, FILE.1 the newest
"""

import os
import re
from collections.abc import Mapping
from typing import Any, Final, cast

from msgspec import Struct, field

from qsuper import paths
from qsuper.errors import UsageError
from qsuper.host.network import parse_stand_in
from qsuper.plan import LogLimits
from qsuper.translate.site import Network
from qsuper.units import to_bytes

_KEYS: Final = ("logs", "networks")
_LOG_KEYS: Final = ("keep", "size")
_LOG_BYTES_MIN: Final = 1 << 16
_LOGS_MAX: Final = 1000
_SIZE: Final = re.compile(r"(\d{1,15})\s*([A-Za-z]+)", re.ASCII)


class Config(Struct, frozen=True, kw_only=True):
    """What the user set for all domains."""

    networks: Mapping[str, Network] = field(default_factory=dict[str, Network])
    logs: LogLimits = LogLimits()


def config_path() -> str:
    """Give the configuration file's path; it need not exist."""
    return os.path.join(paths.config_dir(), "config.toml")


def read_config() -> Config:
    """Read the configuration file; without one, everything is at its default.

    Raises:
        UsageError: it cannot be read, is no TOML, or has a key or value that means nothing.
    """
    path = config_path()
    try:
        with open(path, "rb") as file:
            import tomllib  # noqa: PLC0415 - costs 5 ms, and few have a configuration

            content = tomllib.load(file)
    except FileNotFoundError:
        return Config()
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    except ValueError as error:  # TOMLDecodeError and UnicodeDecodeError
        raise UsageError(f"{path}: {error}") from error
    for key in content:
        if key not in _KEYS:
            raise UsageError(f"{path}: {key}: unknown key (one of {', '.join(_KEYS)})")
    return Config(
        networks=_networks(path, content.get("networks", {})),
        logs=_logs(path, content.get("logs", {})),
    )


def _networks(path: str, table: object) -> dict[str, Network]:
    if not isinstance(table, dict):
        raise UsageError(f"{path}: networks: not a table")
    result: dict[str, Network] = {}
    for name, value in cast("dict[str, Any]", table).items():
        if not isinstance(value, str):
            raise UsageError(f"{path}: networks.{name}: not a string")
        try:
            result[name] = parse_stand_in(value)
        except ValueError as error:
            raise UsageError(f"{path}: networks.{name}: {error}") from None
    return result


def _logs(path: str, value: object) -> LogLimits:
    if not isinstance(value, dict):
        raise UsageError(f"{path}: logs: not a table")
    table = cast("dict[str, Any]", value)
    for key in table:
        if key not in _LOG_KEYS:
            raise UsageError(f"{path}: logs.{key}: unknown key (one of {', '.join(_LOG_KEYS)})")
    default = LogLimits()
    keep = table.get("keep", default.keep)
    if isinstance(keep, bool) or not isinstance(keep, int) or not 0 <= keep <= _LOGS_MAX:
        raise UsageError(f"{path}: logs.keep: not a number from 0 to {_LOGS_MAX}")
    max_bytes = _bytes(path, table["size"]) if "size" in table else default.max_bytes
    return LogLimits(max_bytes=max_bytes, keep=keep)


def _bytes(path: str, value: object) -> int:
    found = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    try:
        size = to_bytes(int(found[1]), found[2]) if found else -1
    except ValueError:
        size = -1
    if size != 0 and size < _LOG_BYTES_MIN:
        raise UsageError(f'{path}: logs.size: not "0 B", nor "64 KiB" or more')
    return size
