"""A domain as XML with everything filled in."""

from typing import NamedTuple

from msgspec.structs import replace

from qsuper.host.load import Settings, as_notices, translated
from qsuper.location import Notice
from qsuper.translate.dump import dump
from qsuper.translate.model import Context


class Described(NamedTuple):
    """A domain with everything filled in."""

    xml: str
    notices: tuple[Notice, ...]


def describe_domain(path: str, settings: Settings) -> Described:
    """Describe the domain in one file, as this host would run it.

    Raises: as `load.load_domain`.
    """
    file, translation = translated(path, settings)
    domain = replace(translation.domain, emulator=translation.plan.emulator)
    xml = dump(file.root, Context(domain, translation.site))
    return Described(xml, (*translation.notices, *as_notices(translation.obstacles)))
