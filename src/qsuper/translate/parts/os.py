"""`<os>`: the machine, the firmware and what is booted."""

from collections.abc import Iterator
from enum import StrEnum, unique
from typing import Final, Self

from msgspec import Struct
from msgspec.structs import replace

from qsuper.caps import Caps, Machine
from qsuper.errors import ConfigError
from qsuper.options import Option, Props
from qsuper.translate.node import Node
from qsuper.translate.parts.features import Features
from qsuper.translate.parts.firmware import Firmware
from qsuper.translate.parts.pm import Pm
from qsuper.translate.site import HostData, Site

_PREFERRED: Final = ("pc", "virt")
_RELATED: Final = {"i686": "x86_64", "armv7l": "aarch64", "armv6l": "armv7l"}
"""Architectures that another one's emulator runs as well."""
_MOST_TIMEOUT_MS: Final = 65535


@unique
class BootDev(StrEnum):
    """What is booted from."""

    FLOPPY = "fd"
    DISK = "hd"
    CDROM = "cdrom"
    NETWORK = "network"


@unique
class TableType(StrEnum):
    """Kinds of ACPI tables that are added to the guest's."""

    RAW = "raw"
    SLIC = "slic"
    MSDM = "msdm"


class Kernel(Struct, frozen=True, kw_only=True):
    """What is booted without a boot loader; empty: not given."""

    image: str = ""
    initrd: str = ""
    cmdline: str = ""
    dtb: str = ""
    shim: str = ""


class AcpiTable(Struct, frozen=True):
    """`<acpi><table>`: a file that the guest gets among its ACPI tables."""

    node: Node
    kind: TableType
    path: str


class Os(Struct, frozen=True, kw_only=True):
    """What stands in `<os>`."""

    node: Node
    kind: Node
    """`<type>`."""
    firmware: Firmware
    arch: str | None = None
    """libvirt's name; None: the host's."""
    machine: str | None = None
    boot_devs: tuple[str, ...] = ()
    """`<boot dev=>` in order: fd, hd, cdrom, network."""
    has_menu: bool | None = None
    menu_timeout_ms: int | None = None
    reboot_timeout_ms: int | None = None
    uses_serial: bool = False
    """The BIOS talks on the serial port."""
    kernel: Kernel = Kernel()
    tables: tuple[AcpiTable, ...] = ()

    @property
    def has_firmware(self) -> bool:
        """Whether the file says what the machine begins with."""
        return self.firmware.loader is not None or self.firmware.kind is not None

    @classmethod
    def parse(cls, node: Node) -> Self:
        """Read `<os>` of `<domain>`.

        Raises:
            ConfigError: no machine is described, an unknown word, a number out of range.
        """
        found = node.required_child("os")
        kind = found.required_child("type")
        if kind.text != "hvm":
            raise kind.error(f"'{kind.text[:60]}' is not supported", hint="hvm")
        menu, bios = found.child("bootmenu"), found.child("bios")
        has_menu = menu.yes_no("enable") if menu is not None else None
        return cls(
            node=found,
            kind=kind,
            firmware=Firmware.parse(found),
            arch=kind.get("arch"),
            machine=kind.get("machine"),
            boot_devs=tuple(boot.enum("dev", BootDev) for boot in found.children("boot")),
            has_menu=has_menu,
            menu_timeout_ms=_timeout(menu) if has_menu and menu is not None else None,
            reboot_timeout_ms=(
                bios.integer("rebootTimeout", low=-1, high=_MOST_TIMEOUT_MS)
                if bios is not None
                else None
            ),
            uses_serial=bios.get("useserial") == "yes" if bios is not None else False,
            kernel=_kernel(found),
            tables=tuple(_tables(found)),
        )

    def site(self, caps: Caps, host: HostData, *, is_kvm: bool) -> Site:
        """Make the site: the machine's alias resolved, a missing one chosen.

        Raises:
            ConfigError: the emulator has no such machine, or emulates another architecture.
        """
        arch = self.arch or host.arch
        if caps.arch not in (arch, _RELATED.get(arch)):
            raise self.kind.error(
                f"the emulator is for {caps.arch}, not for arch='{arch}'",
                hint=f"set <emulator> to qemu-system-{arch}",
            )
        machine = self._machine(caps)
        return Site(caps=caps, host=host, arch=arch, machine=machine.name, is_kvm=is_kvm)

    def defaulted(self, site: Site, *, name: str, pm: Pm, features: Features) -> Self:
        """Choose the firmware.

        Args:
            site: The ground.
            name: The domain's, after which the file of its variables is named.
            pm: What `<pm>` asks of the firmware.
            features: The domain's.

        Raises:
            ConfigError: no firmware of the host fits.
        """
        chosen = self.firmware.defaulted(site, name=name, pm=pm, smm=features.smm)
        return replace(self, firmware=chosen)

    def problems(
        self, site: Site, *, features: Features, has_serial: bool
    ) -> Iterator[ConfigError]:
        """Give what contradicts itself or is not there; *has_serial*: there is a serial port."""
        yield from self.firmware.problems(site, smm=features.smm)
        if self.firmware.is_uefi and site.is_x86 and not features.has_acpi:
            yield self.node.error("UEFI needs ACPI on this architecture", hint="add <acpi/>")
        if not self.firmware.is_uefi and site.arch == "aarch64" and features.has_acpi:
            yield self.node.error(
                "ACPI needs UEFI on this architecture", hint="firmware='efi', or remove <acpi/>"
            )
        if self.kernel.shim and not site.caps.has_prop("none-machine", "shim"):
            yield self.node.error("this QEMU takes no <shim>", hint="remove it")
        if self.kernel.shim and not self.kernel.image:
            yield self.node.error("<shim> needs a <kernel>", hint="add it")
        if self.uses_serial and not site.is_x86:
            yield self.node.error("only x86 guests have <bios useserial=>", hint="remove it")
        elif self.uses_serial and not has_serial:
            yield self.node.error("<bios useserial='yes'/> needs a serial port", hint="<serial>")

    def obstacles(self) -> Iterator[ConfigError]:
        """Give what can be written and not be started."""
        if not self.kernel.image and (self.kernel.initrd or self.kernel.cmdline):
            yield self.node.error("<initrd> and <cmdline> need a <kernel>", hint="add it")
        for table in self.tables:
            if not table.path:
                yield table.node.error("there is no path", hint="name the table's file")

    def firmware_options(self, site: Site) -> Iterator[Option]:
        """Give the pflash block nodes; they stand first."""
        yield from self.firmware.options(site)

    def machine_options(self, site: Site, *, features: Features, extra: Props) -> Iterator[Option]:
        """Give `-machine`, `-no-acpi` and `-accel`.

        Args:
            site: The ground.
            features: The domain's.
            extra: What clock, memory, NUMA and devices add: hpet, dump-guest-core, mem-merge,
                memory-backend, hmat, nvdimm, iommu, pcspk-audiodev.
        """
        switches = features.machine_props(site, needs_smm=self.firmware.needs_smm)
        props: Props = {
            "type": site.machine,
            "usb": False,
            **switches,
            **extra,
            "graphics": False if self.uses_serial else None,
            **self.firmware.machine_props(site),
            **features.acpi_props(site),
        }
        yield Option.keyed("machine", props, implied="type")
        yield from features.acpi_options(site)
        yield Option.keyed("accel", features.accel_props(site), implied="accel")

    def bios_options(self, site: Site) -> Iterator[Option]:
        """Give `-bios` and the `-global` of a secure loader; they stand after `-cpu`."""
        del site
        yield from self.firmware.bios_options()

    def boot_options(self, site: Site) -> Iterator[Option]:
        """Give `-boot`, `-kernel` and its kin, `-dtb`, `-acpitable`."""
        del site
        props: Props = {
            "menu": self.has_menu,
            "splash-time": self.menu_timeout_ms,
            "reboot-timeout": self.reboot_timeout_ms,
            "strict": True,
        }
        yield Option.keyed("boot", props)
        kernel = self.kernel
        words = {
            "kernel": kernel.image,
            "initrd": kernel.initrd,
            "append": kernel.cmdline,
            "shim": kernel.shim,
            "dtb": kernel.dtb,
        }
        for name, value in words.items():
            if value:
                yield Option.word(name, value)
        for table in self.tables:
            signature = None if table.kind is TableType.RAW else table.kind.upper()
            yield Option.keyed("acpitable", {"sig": signature, "file": table.path})

    def _machine(self, caps: Caps) -> Machine:
        name = self.machine or next((name for name in _PREFERRED if caps.machine(name)), None)
        if name is None:
            found = next((one for one in caps.machines.values() if one.is_default), None)
            if found is None:
                raise self.kind.error("attribute 'machine' is missing", hint="none is the default")
            return found
        machine = caps.machine(name)
        if machine is None:
            near = _like(name, caps)
            raise self.kind.error(
                f"the emulator has no machine='{name[:60]}'",
                hint=f"one of {', '.join(near)}" if near else "qemu-system-... -machine help",
            )
        return machine


def _timeout(menu: Node) -> int | None:
    return menu.integer("timeout", low=0, high=_MOST_TIMEOUT_MS)


def _kernel(node: Node) -> Kernel:
    def path(tag: str) -> str:
        found = node.child(tag)
        return found.file_text() if found is not None else ""

    return Kernel(
        image=path("kernel"),
        initrd=path("initrd"),
        cmdline=node.child_text("cmdline") or "",
        dtb=path("dtb"),
        shim=path("shim"),
    )


def _tables(node: Node) -> Iterator[AcpiTable]:
    acpi = node.child("acpi")
    seen: set[TableType] = set()
    for table in acpi.children("table") if acpi is not None else ():
        kind = table.enum("type", TableType)
        if kind in seen:
            raise table.error(f"type='{kind}' is there twice", hint="one table of each type")
        seen.add(kind)
        yield AcpiTable(table, kind, table.file_text())


def _like(name: str, caps: Caps) -> list[str]:
    from difflib import get_close_matches  # noqa: PLC0415 - for an error alone

    return get_close_matches(name[:60], caps.machines, n=3, cutoff=0.4)
