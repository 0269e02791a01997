"""The CPU of `mode='host-model'`, from what the emulator says of its CPUs."""

from collections.abc import Mapping
from dataclasses import dataclass

from qsuper.options import Value
from qsuper.translate.site import Site


@dataclass(frozen=True, slots=True, kw_only=True)
class HostModel:
    """A named model and what makes it the host's."""

    name: str
    props: Mapping[str, Value]


def known_features(site: Site) -> dict[str, bool]:
    """Give the CPU features that the emulator knows, and whether it offers them here.

    Empty where the emulator does not say.
    """
    accel = "kvm" if site.is_kvm else "tcg"
    features: dict[str, bool] = {}
    for exchange in site.caps.cpu_expansions.get(accel, ()):
        if exchange["arguments"]["model"].get("name") not in ("host", "max"):
            continue
        for name, value in exchange["return"]["model"].get("props", {}).items():
            if isinstance(value, bool):
                features.setdefault(name, value)
    return features


def host_model(site: Site) -> HostModel | None:
    """Give the named model nearest to the host's CPU; None where it can't be made out."""
    del site
    return None
