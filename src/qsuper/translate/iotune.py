"""`<iotune>`: how much a disk may do in a second.

Sources: libvirt `formatdomain.rst`, "Hard drives, floppy disks, CDROMs"; QEMU
`qapi/block-core.json`, BlockIOThrottle.
"""

from collections.abc import Iterator
from typing import Final, Self

from msgspec import Struct

from qsuper.plan import Command
from qsuper.translate.node import Node

_MOST: Final = 10**15
_RATES: Final = {
    "total_bytes_sec": "bps",
    "read_bytes_sec": "bps_rd",
    "write_bytes_sec": "bps_wr",
    "total_iops_sec": "iops",
    "read_iops_sec": "iops_rd",
    "write_iops_sec": "iops_wr",
}
"""QMP's names; it wants all of these, and 0 means no limit."""
_BURSTS: Final = {f"{tag}_max": f"{name}_max" for tag, name in _RATES.items()}
_LENGTHS: Final = {f"{tag}_max_length": f"{name}_max_length" for tag, name in _RATES.items()}
_SIZE: Final = "size_iops_sec"
_GROUP: Final = "group_name"


class Iotune(Struct, frozen=True, kw_only=True):
    """The limits of one disk."""

    limits: tuple[tuple[str, int], ...] = ()
    """By QMP's names; those that the file gives."""
    group: str | None = None
    """Disks of one group share its limits."""

    @classmethod
    def parse(cls, disk: Node) -> Self:
        """Read it from `<disk>`.

        Raises:
            ConfigError: a number out of range, or what excludes each other.
        """
        node = disk.child("iotune")
        if node is None:
            return cls()
        if disk.child("throttlefilters") is not None:
            raise disk.error("<iotune> and <throttlefilters> exclude each other")
        limits: dict[str, int] = {}
        for tag, name in (_RATES | _BURSTS | _LENGTHS | {_SIZE: "iops_size"}).items():
            found = node.child(tag)
            if found is not None and (value := found.integer_text(low=0, high=_MOST)):
                limits[name] = value
        for kind in ("bytes_sec", "iops_sec", "bytes_sec_max", "iops_sec_max"):
            total, *parts = (
                (_RATES | _BURSTS)[f"{part}_{kind}"] in limits
                for part in ("total", "read", "write")
            )
            if total and any(parts):
                raise node.error(
                    f"<total_{kind}> excludes <read_{kind}> and <write_{kind}>", hint="remove one"
                )
        group = node.child(_GROUP)
        if group is not None and not limits:
            raise group.error("a group needs limits", hint="such as <total_bytes_sec>")
        return cls(limits=tuple(limits.items()), group=group.text if group is not None else None)

    def setup(self, device: str) -> Iterator[Command]:
        """Give the QMP command that sets them for the device with this id or QOM path."""
        if not self.limits and not self.group:
            return
        arguments: dict[str, str | int] = {"id": device}
        arguments |= dict.fromkeys(_RATES.values(), 0)
        arguments |= dict(self.limits)
        if self.group:
            arguments["group"] = self.group
        yield Command(name="block_set_io_throttle", arguments=arguments)
