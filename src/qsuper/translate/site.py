"""What translation is told of its surroundings, as data."""

from collections.abc import Mapping
from enum import StrEnum, unique
from itertools import pairwise
from typing import Any

from msgspec import Struct, field

from qsuper.caps import Caps, Machine


@unique
class NetworkKind(StrEnum):
    """What stands in for a libvirt network."""

    USER = "user"
    BRIDGE = "bridge"
    PASST = "passt"
    HOSTDEV = "hostdev"
    """A pool of host PCI devices; only libvirt's own definitions give it."""
    DIRECT = "direct"
    """macvtap; only libvirt's own definitions give it."""


class Network(Struct, frozen=True, kw_only=True):
    """The entry of one libvirt network in the mapping table."""

    kind: NetworkKind
    bridge: str = ""
    address: str = ""
    """The host's own address on it, where that is known."""
    devices: tuple[str, ...] = ()
    """PCI addresses of a `hostdev` network, as `DDDD:BB:SS.F`."""


class SharedRam(Struct, frozen=True, kw_only=True):
    """A primary's main memory, of which dependencies have windows."""

    name: str
    size_bytes: int
    windows: tuple[tuple[int, int], ...] = ()
    """Begin and end of each, in order."""
    in_pieces: bool = False
    """Some QEMU has no `offset=`: the windows are memories of their own, put together by NUMA."""
    on_host: bool = False
    owner: str = ""
    """Name of the primary."""
    is_native: bool = False
    """All QEMUs that have a part of it share it by themselves, see `parts.sdm`."""

    @property
    def cuts(self) -> tuple[tuple[int, int], ...]:
        """Begin and end of each piece: the windows, and what is between them."""
        edges = {0, self.size_bytes, *(edge for window in self.windows for edge in window)}
        return tuple(pairwise(sorted(edge for edge in edges if edge <= self.size_bytes)))

    def piece(self, begin: int) -> str:
        """Give the name of the piece that begins there."""
        return f"{self.name}@{begin >> 20}M"


class HostData(Struct, frozen=True, kw_only=True):
    """The host, as far as it matters to a command line."""

    arch: str = "x86_64"
    machine_id: str = ""
    """Seeds the uuid and the MACs that a file leaves out."""
    networks: Mapping[str, Network] = field(default_factory=dict[str, Network])
    pools: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    """libvirt storage pools: `type`, `path`, `source`."""
    firmware: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    """QEMU's firmware descriptors, (file name, content), in the order in which they are tried."""
    force_tcg: bool = False
    """Run a `kvm` domain under TCG."""
    now_s: int | None = None
    """Seconds since the epoch; None: not known, and clocks with an offset are an error."""
    utc_offset_s: int = 0
    """What local time is ahead of UTC."""
    hugepages: Mapping[int, str] = field(default_factory=dict[int, str])
    """Directory for memory in huge pages, by page size in bytes; the default size is first.

    `{domain}` in it stands for the short name of the domain.
    """
    numa_nodes: frozenset[int] = frozenset()
    """The host's NUMA nodes; empty: not known."""
    ram_dir: str = "/var/lib/libvirt/qemu/ram"
    """Where `qsuper translate` shows the files of file-backed memory."""
    nvram_dir: str = "/var/lib/libvirt/qemu/nvram"
    """Where a domain's firmware variables are kept."""
    credentials_dir: str = "/etc/qsuper/credentials"
    """Where the secrets that a file names by uuid or usage are, a file each."""
    rendernode: str | None = None
    """The GPU for OpenGL where a file names none; None: QEMU's choice."""
    vsock_cid: int | None = None
    """The next free vsock address; None: a domain's is derived from its name."""
    swtpm_socket: str = "/run/libvirt/qemu/swtpm/{domain}-swtpm.sock"
    """Where a domain's TPM emulator listens; `{domain}` stands for the domain's short name."""
    scsi_generic: Mapping[str, str] = {}
    """The character devices of SCSI units, `/dev/sgN` by HOST:BUS:TARGET:UNIT."""
    reference_scsi_generic: str = ""
    """What stands for any of them, where the host is only described."""
    memories: Mapping[str, SharedRam] = {}
    """The main memories that members of the group share, by name."""
    missing: frozenset[str] = frozenset()
    """The images that are not there, of those that a domain can do without."""
    has_vhost_net: bool = True
    """Whether the kernel can serve network cards: /dev/vhost-net."""
    channel_dir: str = "/run/libvirt/qemu/channel"
    """Where `qsuper translate` shows the sockets of channels that name no path."""


class Site(Struct, frozen=True, kw_only=True):
    """The ground a domain stands on: its architecture and machine, the emulator, the host."""

    caps: Caps
    host: HostData
    arch: str
    machine: str
    """The machine type with its alias resolved: `pc-q35-7.2`."""
    is_kvm: bool

    @property
    def machine_info(self) -> Machine | None:
        return self.caps.machine(self.machine)

    @property
    def is_x86(self) -> bool:
        return self.arch in ("x86_64", "i686")

    @property
    def is_arm(self) -> bool:
        return self.arch in ("aarch64", "armv7l", "armv6l")

    @property
    def is_riscv(self) -> bool:
        return self.arch in ("riscv64", "riscv32")

    @property
    def is_q35(self) -> bool:
        return self.is_x86 and (self.machine == "q35" or self.machine.startswith("pc-q35"))

    @property
    def is_i440fx(self) -> bool:
        return self.is_x86 and (
            self.machine == "pc" or self.machine.startswith(("pc-i440fx", "pc-0.", "pc-1."))
        )

    @property
    def is_virt(self) -> bool:
        """The generic `virt` machine of arm, riscv or loongarch."""
        return not self.is_x86 and (self.machine == "virt" or self.machine.startswith("virt-"))

    @property
    def has_pcie_root(self) -> bool:
        return self.is_q35 or self.is_virt

    @property
    def has_pci_root(self) -> bool:
        return self.is_i440fx or self.machine.startswith(("versatilepb", "pseries", "malta"))
