"""The CPU of `mode='host-model'`, and what CPU models have and lack.

libvirt writes a host model as the named model that is nearest, which takes its own map of models.
QEMU has a description of its own that is as good to the guest: the static expansion of its best
CPU, the empty model `base` with every feature of it. It has all features that survive a migration.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from msgspec import Struct

from qsuper.options import Value
from qsuper.translate.site import Site

_WHOLE: Final = ("host", "max")


class HostModel(Struct, frozen=True, kw_only=True):
    """A CPU model and what makes it the host's."""

    name: str
    props: Mapping[str, Value]


def known_features(site: Site) -> dict[str, bool]:
    """Give the CPU features that the emulator knows, and whether it offers them here.

    Empty where the emulator does not say.
    """
    features: dict[str, bool] = {}
    for _, _, props in _expansions(site):
        for name, value in props.items():
            if isinstance(value, bool):
                features.setdefault(name, value)
    return features


def host_model(site: Site) -> HostModel | None:
    """Give a description of the best CPU that can be migrated; None where there is none."""
    if not site.is_x86:
        return None
    for kind, asked, props in _expansions(site):
        if kind == "static" and not asked:
            chosen = {name: value for name, value in props.items() if value not in (False, "")}
            return HostModel(name="base", props=dict(sorted(chosen.items())))
    return None


def _expansions(site: Site) -> Iterator[tuple[str, Any, Mapping[str, Any]]]:
    """Give the expansions of the whole host: kind, props that were asked for, props."""
    for exchange in site.caps.cpu_expansions.get("kvm" if site.is_kvm else "tcg", ()):
        arguments = exchange["arguments"]
        if arguments["model"].get("name") in _WHOLE:
            props = exchange["return"]["model"].get("props", {})
            yield arguments["type"], arguments["model"].get("props"), props
