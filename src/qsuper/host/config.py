"""The user's configuration, CONFIG/config.toml.

All there is in it::

    [networks]              # what stands in for libvirt's networks
    default = "user"
    lab = "bridge:br0"
"""

import os
from collections.abc import Mapping
from typing import Any, Final, cast

from msgspec import Struct, field

from qsuper import paths
from qsuper.errors import UsageError
from qsuper.host.network import parse_stand_in
from qsuper.translate.site import Network

_KEYS: Final = ("networks",)


class Config(Struct, frozen=True, kw_only=True):
    """What the user set for all domains."""

    networks: Mapping[str, Network] = field(default_factory=dict[str, Network])


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
    return Config(networks=_networks(path, content.get("networks", {})))


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
