"""`<os>`: the machine, the firmware and what is booted."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from qsuper.caps import Caps
from qsuper.options import Option, Props
from qsuper.translate.node import Node
from qsuper.translate.parts.features import Features
from qsuper.translate.site import HostData, Site


@dataclass(frozen=True, slots=True, kw_only=True)
class Os:
    """What stands in `<os>`."""

    arch: str | None = None
    """libvirt's name; None: the host's."""
    machine: str | None = None
    boot_devs: tuple[str, ...] = ()
    """`<boot dev=>` in order: fd, hd, cdrom, network."""

    @classmethod
    def parse(cls, node: Node) -> Self:
        """Read `<os>` of `<domain>`."""
        found = node.required_child("os")
        kind = found.required_child("type")
        return cls(
            arch=kind.get("arch"),
            machine=kind.get("machine"),
            boot_devs=tuple(boot.required("dev") for boot in found.children("boot")),
        )

    def site(self, caps: Caps, host: HostData, *, is_kvm: bool) -> Site:
        """Make the site: the machine's alias resolved, a missing one chosen.

        Raises:
            ConfigError: the emulator has no such machine, or emulates another architecture.
        """
        arch = self.arch or host.arch
        machine = caps.machine(self.machine or ("pc" if arch in ("x86_64", "i686") else "virt"))
        name = machine.name if machine else (self.machine or "none")
        return Site(caps=caps, host=host, arch=arch, machine=name, is_kvm=is_kvm)

    def firmware_options(self, site: Site) -> Iterator[Option]:
        """Give the pflash block nodes; they stand first."""
        del site
        return iter(())

    def machine_options(
        self, site: Site, *, features: Features, backend: str | None, extra: Props
    ) -> Iterator[Option]:
        """Give `-machine` and `-accel`.

        Args:
            backend: `memory-backend=`, from `Memory.machine_backend`.
            extra: What devices add: nvdimm, iommu, pcspk-audiodev, graphics.
        """
        props: Props = {"type": site.machine, "usb": False}
        props = {**props, **features.machine_props(site), "memory-backend": backend, **extra}
        yield Option.keyed("machine", props, implied="type")
        yield Option.keyed("accel", {"accel": "kvm" if site.is_kvm else "tcg"}, implied="accel")

    def bios_options(self, site: Site) -> Iterator[Option]:
        """Give `-bios` and the `-global` of a secure loader; they stand after `-cpu`."""
        del site
        return iter(())

    def boot_options(self, site: Site) -> Iterator[Option]:
        """Give `-boot`, `-kernel` and its kin, `-dtb`."""
        del site
        yield Option.keyed("boot", {"strict": True})
