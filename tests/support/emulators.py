"""Emulators as data for the tests of the translation: a recent QEMU, and one from before 9.1.

They have every type and property but those that are taken away, so that no test depends on what
is installed.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from qsuper.caps import Caps, Machine, Schema


class _All(frozenset[str]):
    """All names but a few."""

    def __contains__(self, name: object) -> bool:
        return not super().__contains__(name)

    def issuperset(self, names: Iterable[object]) -> bool:
        return all(name in self for name in names)


class _AllProps(Mapping[str, frozenset[str]]):
    """All properties of all types but a few, each as `type.property`."""

    def __init__(self, lacking: frozenset[str]) -> None:
        self._lacking = lacking

    def __getitem__(self, typename: str) -> frozenset[str]:
        pairs = (pair.split(".", 1) for pair in self._lacking if "." in pair)
        return _All(name for owner, name in pairs if owner == typename)

    def get(self, typename: str, default: object = ()) -> frozenset[str]:
        return self[typename]

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


class _AllPaths(Schema, frozen=True):
    """A schema with all paths but a few."""

    def has(self, path: str) -> bool:
        return path not in self.entries


NEW_IN_9: Final = (
    "block-commit/arg-type/backing-mask-protocol",
    "chardev-add/arg-type/backend/+socket/data/reconnect-ms",
)
_MACHINES: Final = {
    "x86_64": (
        ("pc-i440fx-9.2", "pc", "pc.ram"),
        ("pc-q35-9.2", "q35", "pc.ram"),
        ("isapc", None, "pc.ram"),
    ),
    "riscv64": (("virt", None, "riscv_virt_board.ram"),),
    "aarch64": (("virt-9.2", "virt", "mach-virt.ram"), ("vexpress-a9", None, "vexpress.ram")),
}


def emulator(
    arch: str = "x86_64", *, types: Iterable[str] = (), paths: Iterable[str] = (), props: str = ""
) -> Caps:
    """Give an emulator that has everything but *types*, schema *paths* and *props*."""
    machines = {
        name: Machine(
            name=full,
            alias=alias,
            default_ram_id=ram,
            max_cpus=255,
            numa_mem=arch == "riscv64",
            acpi=True,
        )
        for full, alias, ram in _MACHINES[arch]
        for name in (full, alias)
        if name
    }
    return Caps(
        arch=arch,
        version=(9, 2, 0),
        types=_All(types),
        props=_AllProps(frozenset(props.split())),
        machines=machines,
        schema=_AllPaths(dict.fromkeys(paths)),
        command_line={
            "machine": frozenset({"hpet"}),
            "smp-opts": frozenset({"dies", "clusters"}),
            "run-with": frozenset({"async-teardown"}),
            "sandbox": frozenset({"enable"}),
            "spice": frozenset(),
        },
        has_kvm=True,
    )
