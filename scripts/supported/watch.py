"""Translate domains and see what the translation asks of them."""

import contextlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from qsuper.errors import ConfigError, ConfigErrors
from qsuper.translate.node import parse_xml
from qsuper.translate.passes import translate
from qsuper.translate.site import HostData
from scripts.supported.witness import Places, WitnessNode
from tests.support.emulators import emulator

_PREFIXES: Final = {
    "http://libvirt.org/schemas/domain/qemu/1.0": "qemu:",
    "urn:qsuper:domain:1": "q:",
}
_CHARDEV: Final = r"(serial|parallel|console|channel|redirdev|smartcard|rng/backend)"
_SHARED: Final = (
    (r"^devices/disk/source/dataStore/backingStore(?=/|$)", "devices/disk/backingStore"),
    (r"(backingStore|mirror)(/(backingStore|mirror))+", "backingStore"),
    (r"^devices/\w+/(address|alias|boot|acpi)(?=/|$)", r"devices/*/\1"),
    (rf"^devices/{_CHARDEV}/(source|protocol|log)(?=/|$)", r"devices/[character device]/\2"),
    (
        r"^(?:devices|os/nvram)[\w/]*/(encryption|auth|slices|reservations|cookies|ssl)(?=/|$)",
        r"devices/[storage]/\1",
    ),
    (r"^throttlegroups/throttlegroup/", "devices/disk/iotune/"),
    (r"^os/nvram/source(?=/|$)", "devices/[storage]/source"),
    (r"^devices/disk/backingStore/source(?=/|$)", "devices/[storage]/source"),
    (r"^devices/disk/source(/dataStore/source)*(?=/|$)", "devices/[storage]/source"),
)
"""What several elements have in common stands once."""


def path_of(path: str) -> str:
    """Give the path under which an element is listed."""
    for uri, prefix in _PREFIXES.items():
        path = path.replace(f"{{{uri}}}", prefix)
    for pattern, name in _SHARED:
        path = re.sub(pattern, name, path)
    return path


def watched(paths: Iterable[Path]) -> Places:
    """Give what was asked, of all the files together; those that are wrong count as well."""
    places: Places = {}
    for path in sorted(paths, key=str):
        root = parse_xml(path.read_bytes(), path.name, "/vm")
        system = root.child("os")
        kind = system.child("type") if system else None
        arch = (kind.get("arch") if kind else None) or "x86_64"
        node = WitnessNode(root, "", places, path_of)
        with contextlib.suppress(ConfigError, ConfigErrors, KeyError):
            translate(node, emulator(arch), HostData(machine_id="m", now_s=0))
        if path.parent.name != "refused":  # what is refused goes no further
            node.tally()
    return places
