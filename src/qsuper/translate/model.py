"""The domain as the passes see it: parts, devices, and the surroundings they are judged in."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import ClassVar, Self

from msgspec import Struct

from qsuper.errors import ConfigError
from qsuper.location import Location, Notice
from qsuper.options import Option, Props
from qsuper.plan import Command, Console, Helper, LaunchPlan
from qsuper.record import AbstractStruct
from qsuper.translate.node import Node
from qsuper.translate.parts.clock import Clock
from qsuper.translate.parts.cpu import Cpu
from qsuper.translate.parts.fabric import Fabric
from qsuper.translate.parts.features import Features
from qsuper.translate.parts.iothreads import Iothreads
from qsuper.translate.parts.lifecycle import LifecyclePart
from qsuper.translate.parts.memory import Memory
from qsuper.translate.parts.numa import Numa
from qsuper.translate.parts.os import Os
from qsuper.translate.parts.passthrough import Passthrough
from qsuper.translate.parts.pm import Pm
from qsuper.translate.parts.sysinfo import Sysinfo
from qsuper.translate.parts.throttle import Throttle
from qsuper.translate.parts.tuning import Tuning
from qsuper.translate.parts.vcpu import Vcpu
from qsuper.translate.places import Address, Bus, PciAddress, PciKind, PciModel
from qsuper.translate.site import Site


class Domain(Struct, frozen=True, kw_only=True):
    """What the XML says; after the passes with everything filled in."""

    at: Location
    name: str
    uuid: str
    """Empty where the file has none, until defaults."""
    is_kvm: bool
    emulator: str | None
    os: Os
    memory: Memory
    numa: Numa
    vcpu: Vcpu
    cpu: Cpu
    features: Features
    clock: Clock
    lifecycle: LifecyclePart
    sysinfo: Sysinfo
    pm: Pm
    passthrough: Passthrough
    iothreads: Iothreads
    throttle: Throttle = Throttle()
    tuning: Tuning = Tuning()
    fabric: Fabric
    devices: tuple["Device", ...] = ()
    """By element in the order of FAMILIES, within an element in the order of definition."""


class Context(Struct, frozen=True):
    """What a device is judged and built in: the domain around it and the ground it stands on."""

    domain: Domain
    site: Site

    def devices(self, tag: str) -> Iterator["Device"]:
        """Give the domain's devices of one element."""
        return (device for device in self.domain.devices if tag == device.TAG)

    def has(self, tag: str) -> bool:
        return any(True for _ in self.devices(tag))

    def alias_of(self, kind: str, index: int) -> str | None:
        """Give the alias of the controller of type *kind* with *index*; None without one."""
        for device in self.devices("controller"):
            if device.bus_key == (kind, index):
                return device.alias
        return None


class Device(AbstractStruct, frozen=True, kw_only=True):
    """A device of the domain: a subclass per XML element, a module per family.

    The passes call, in this order: `claims`, `parse`; `missing`, `defaulted`, `implied` (defaults);
    `pci_kind`, `pci_preferred`, `bus` (addresses); `stem` (aliases); `boot_class` (boot order);
    `problems`, `notices`, `obstacles` (check); `machine_props`, `options` (build).
    """

    TAG: ClassVar[str]
    """The element under `<devices>`."""
    ALIAS: ClassVar[str]
    """Stem of the aliases that are assigned: `rng` gives `rng0`, `rng1`, ..."""
    IS_NAMED: ClassVar[bool] = True
    """Whether libvirt's XML has an `<alias>` for it."""
    ALIAS_SKIPS_NAMED: ClassVar[bool] = False
    """A user's own alias takes no number: the next device gets it."""
    IMPLIES_EARLY: ClassVar[bool] = False
    """Its controllers are added before those without an index get one, and before defaults."""
    PCI_TURN: ClassVar[int] = 0
    """From `places.PciTurn`; devices of one turn go in the order of the domain."""
    USB_TURN: ClassVar[int] = 0
    """From `places.UsbTurn`; when the device's turn comes in the dealing of USB ports."""
    FIRST_SERIAL_PORT: ClassVar[int] = 1
    """The lowest virtio-serial port that may be dealt to the device; consoles take 0."""

    at: Location
    ordinal: int = 0
    """The number of its element in the file, from 1; 0 for a device that the passes added.

    No two devices of the file are equal, even when they stand in one line.
    """
    alias: str = ""
    """Empty until the alias pass; a user's own (`ua-...`) from the start."""
    address: Address | None = None
    boot_order: int | None = None
    """`<boot order=>`, from 1; after the boot pass also what `<os><boot dev=>` gave."""
    acpi_index: int | None = None

    @classmethod
    def claims(cls, node: Node) -> bool:
        """Tell whether an element TAG is of this family; only where families share a TAG."""
        del node
        return True

    @classmethod
    @abstractmethod
    def parse(cls, node: Node) -> Self:
        """Read what the XML says; leave out what it does not say.

        `at`, `alias`, `address`, `boot_order`, `acpi_index` come by `devices.base.common(node)`.
        """

    @classmethod
    def missing(cls, context: Context) -> Iterator[Self]:
        """Give the devices of this family that libvirt adds to a domain without them."""
        del context
        return iter(())

    def defaulted(self, context: Context) -> Self:
        """Fill in what libvirt would."""
        del context
        return self

    def implied(self, context: Context) -> Iterator["Need"]:
        """Give the controllers that this device cannot be without."""
        del context
        return iter(())

    @classmethod
    def supplied(cls, need: "Need", at: Location) -> Self | None:
        """Make the controller that *need* asks for; None if this family has none such."""
        del need, at
        return None

    def place_among(self, devices: "tuple[Device, ...]") -> int:
        """Tell where libvirt puts the device in the list of *devices*: last, as a rule."""
        return len(devices)

    def pci_kind(self, context: Context) -> PciKind | None:
        """Tell how the device plugs into PCI; None if it does not."""
        del context
        return None

    def pci_preferred(self, context: Context) -> Iterator[PciAddress | None]:
        """Give PCI places to try before other devices get theirs, such as a primary video's slot.

        None stands for the next free place, whatever it is; without it, a device none of whose
        preferred places is free waits for its turn. A device whose place the machine dictates
        sets `address` in `defaulted`.
        """
        del context
        return iter(())

    def bus(self, context: Context) -> Bus | None:
        """Tell on which other bus the device needs a place dealt."""
        del context
        return None

    def stem(self, context: Context) -> str | None:
        """Give the whole alias where it does not come from counting; None where it does."""
        del context
        return None

    @property
    def bus_key(self) -> tuple[str, int] | None:
        """(type, index) if the device is a controller."""
        return None

    @property
    def pci_model(self) -> PciModel | None:
        """What bus the device gives, if it is a PCI controller."""
        return None

    @property
    def pci_function(self) -> int | None:
        """The function in the slot that all controllers with this `bus_key` share."""
        return None

    def usb_ports(self) -> int:
        """How many USB ports the device gives; 0 if it is no USB controller or hub."""
        return 0

    def serial_ports(self) -> int:
        """How many virtio-serial ports the device gives; 0 if it is no such controller."""
        return 0

    @property
    def is_companion(self) -> bool:
        """Whether the controller serves another one of the same index."""
        return False

    def indexed(self, index: int) -> Self:
        """Take *index*; only a controller that has none."""
        del index
        return self

    @property
    def boot_class(self) -> str | None:
        """Which `<os><boot dev=>` finds this device: hd, cdrom, fd, network."""
        return None

    @property
    def node_count(self) -> int:
        """How many `libvirt-N` block node numbers the device takes."""
        return 0

    @property
    def numbers_follow(self) -> bool:
        """Whether its numbers come after those of all others, in the order of the domain."""
        return False

    def numbered(self, first: int) -> Self:
        """Take block node numbers from *first* on."""
        del first
        return self

    def problems(self, context: Context) -> Iterator[ConfigError]:
        """Give what is wrong with the device in its domain."""
        del context
        return iter(())

    def notices(self, context: Context) -> Iterator[Notice]:
        """Give what the user should know of the device that is no error."""
        del context
        return iter(())

    def obstacles(self, context: Context) -> Iterator[ConfigError]:
        """Give what of the device qsuper can't start, though it knows the command line."""
        del context
        return iter(())

    @property
    def plugged_bytes(self) -> int:
        """How much of `<memory>` the device brings: dimm, nvdimm, virtio-mem."""
        return 0

    @property
    def needs_hv_crash(self) -> bool:
        """Whether `-cpu` must offer Hyper-V's crash registers."""
        return False

    @property
    def remaps_interrupts(self) -> bool:
        """Whether the device needs an I/O APIC of QEMU's own."""
        return False

    @property
    def takes_memory(self) -> bool:
        """Whether the device can take memory from the guest and give it back."""
        return False

    @property
    def env(self) -> Mapping[str, str]:
        """What the device needs in QEMU's environment."""
        return {}

    def machine_props(self, context: Context) -> Props:
        """Give what the device adds to `-machine`: iommu, nvdimm, pcspk-audiodev, graphics."""
        del context
        return {}

    @property
    def shared_memory(self) -> "Share | None":
        """The memory that the device shares with other members of the group."""
        return None

    def details(self, context: Context) -> Iterator[tuple[str, str | int | None]]:
        """Give what defaults filled in, for `dumpxml`: the mirror of `parse`.

        Pairs of a path below the element (`model@type`, `@bus`, `target/model@name`) and what
        stands there; None for what is not said. Aliases and addresses are written without being
        asked for. Of a device that the passes added this must be all that it takes; if it is
        nothing, the device is not written.
        """
        del context
        return iter(())

    @abstractmethod
    def options(self, context: Context) -> Iterator[Option]:
        """Give the device's QEMU options, back end before front end."""

    def consoles(self, context: Context) -> Iterator[Console]:
        """Give what the runtime can attach to."""
        del context
        return iter(())

    def helpers(self, context: Context) -> Iterator[Helper]:
        """Give the processes that serve the device."""
        del context
        return iter(())

    def setup(self, context: Context) -> Iterator[Command]:
        """Give the QMP commands that complete the device before the guest is let run."""
        del context
        return iter(())


class Share(Struct, frozen=True, kw_only=True):
    """A memory by which members of a group meet."""

    at: Location
    name: str
    size_bytes: int
    vectors: int
    """How many the device has; 0: it has no doorbell."""

    def error(self, message: str) -> ConfigError:
        return ConfigError(f"<shmem>: {message}", at=self.at)


class Need(Struct, frozen=True):
    """A controller that a device implies."""

    kind: str
    """scsi, ide, sata, fdc, virtio-serial, ccid, usb, pci; or usb-hub."""
    index: int
    model: str | None = None


class Translation(Struct, frozen=True):
    """What the passes give for one file."""

    plan: LaunchPlan
    notices: tuple[Notice, ...]
    obstacles: tuple[ConfigError, ...]
    """What keeps the plan from being started; for whoever only shows it, a notice."""
    domain: Domain
    """With all defaults, addresses and aliases filled in."""
    site: Site
