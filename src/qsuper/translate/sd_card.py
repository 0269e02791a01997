"""SD cards: drives of the board itself, without a front end or block nodes of our naming.

Source: libvirt `qemuBuildDriveStr`; QEMU `-drive if=sd`.
"""

from collections.abc import Iterator, Mapping

from qsuper.options import Option, Value
from qsuper.translate.blockdev import Image
from qsuper.translate.manner import Cache


def sd_option(image: Image | None, cache: Cache, index: int) -> Option:
    """Give the `-drive` of the SD card number *index*; an image of None is an empty slot."""
    props: dict[str, Value] = {}
    if image is not None:
        place = image.storage.props(image.node)
        filename = place.get("filename")
        props = {"file": filename} if filename else dict(_flat("file", place))
        props["format"] = image.format
        props["readonly"] = image.is_readonly or None
    props |= {"if": "sd", "index": index}
    props["cache"] = None if cache is Cache.DEFAULT else str(cache)
    return Option.keyed("drive", props)


def _flat(key: str, value: Value) -> Iterator[tuple[str, Value]]:
    """Write nested props with dots, as key=value options have them."""
    if isinstance(value, Mapping):
        for name, part in value.items():
            yield from _flat(f"{key}.{name}", part)
    elif isinstance(value, list):
        for number, part in enumerate(value):
            yield from _flat(f"{key}.{number}", part)
    else:
        yield key, value
