"""What translation is told of the host, each thing looked up when a domain first asks for it."""

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum, unique
from functools import cached_property
from typing import Final

from msgspec import Struct, field
from msgspec.structs import replace

from qsuper import paths
from qsuper.caps import LIBVIRT_ARCH, Caps
from qsuper.errors import (
    EmulatorError,
    QsuperError,
    TimedOutError,
    UnavailableError,
    UsageError,
)
from qsuper.host.config import Config, read_config
from qsuper.host.facts import hugepages, machine_id, numa_nodes, scsi_generic
from qsuper.host.firmware import Firmware, read_firmware
from qsuper.host.network import read_networks
from qsuper.host.probe import (
    STAND_INS,
    capabilities_of,
    default_emulator,
    find_emulator,
    kvm_problem,
    read_capabilities,
)
from qsuper.host.storage import Pool, read_pools
from qsuper.host.trust import check_untrusted
from qsuper.location import Location, Notice
from qsuper.plan import LogLimits
from qsuper.translate.node import Node
from qsuper.translate.site import HostData, Network

_PATHS: Final = {"file": "file", "block": "dev"}
"""The attribute of a disk's source that has its path."""
# A host directory holds definitions; what else it has is libvirt's reference host, for which the
# defaults of HostData stand too.
_REFERENCE_HUGEPAGES: Final = {
    2 << 20: "/dev/hugepages2M/libvirt/qemu/{domain}",
    1 << 30: "/dev/hugepages1G/libvirt/qemu/{domain}",
}
_REFERENCE_NUMA_NODES: Final = frozenset(range(4))
_REFERENCE_RENDERNODE: Final = "/dev/dri/foo"
_REFERENCE_VSOCK_CID: Final = 42
_REFERENCE_SWTPM: Final = "/dev/test"
_REFERENCE_SCSI_GENERIC: Final = "/dev/sg0"


@unique
class Accel(StrEnum):
    """QEMU's accelerators."""

    KVM = "kvm"
    TCG = "tcg"


class Settings(Struct, frozen=True, kw_only=True, eq=False):
    """What a command line says about loading.

    What it leads to is looked up once for each object: keep one for all files of a command.
    """

    accel: Accel | None = None
    """Overrides what the domains ask for."""
    networks: Mapping[str, Network] = field(default_factory=dict[str, Network])
    """Goes before the configuration file's, as that goes before libvirt's definitions."""
    capabilities: tuple[str, ...] = ()
    """Capabilities files, one an architecture; no emulator is asked, nor need there be one, nor
    KVM. A single file holds for all."""
    host: str | None = None
    """A directory with what another host has, in libvirt's and QEMU's own formats."""
    is_trusted: bool = True
    """Files may bring words for QEMU's command line, and an emulator."""
    is_to_run: bool = True
    """What qsuper can't start is an error; otherwise a notice."""


class Surroundings:
    """The host as *settings* show it."""

    def __init__(self, settings: Settings) -> None:
        if settings.host is not None and not os.path.isdir(settings.host):
            raise UsageError(f"{settings.host}: not a directory")
        self._settings = settings
        self._caps: dict[str, Caps] = {}
        self._archs: dict[str, str] = {}
        """What each emulator is wanted for."""
        self._places: dict[str, Location] = {}
        """Where each emulator is named, if a file names it."""

    def emulator(self, root: Node) -> str:
        """Give the path of a domain's emulator.

        Raises:
            UnavailableError: there is none here.
            ConfigErrors: it is not trusted, or more than that in the file.
        """
        if not self._settings.is_trusted:
            check_untrusted(root)
        named = _emulator_element(root)
        try:
            arch = _arch(root) or self._arch
            found = self._emulator(named, arch)
        except UnavailableError as error:
            raise UnavailableError(f"{(named or root).at}: {error}") from error
        self._archs.setdefault(found, arch)
        if named is not None:
            self._places.setdefault(found, named.at)
        return found

    def _emulator(self, named: Node | None, arch: str) -> str:
        if named is None:
            return self._default_emulator(arch)
        path = named.file_text() if "/" in named.text else named.text
        return path if self._settings.capabilities else find_emulator(path)

    def caps(self, emulators: Iterable[str]) -> dict[str, Caps]:
        """Tell what *emulators* can do.

        Raises:
            UsageError: the capabilities file is none.
            EmulatorError, TimedOutError: an emulator does not say.
        """
        wanted = list(emulators)
        if self._settings.capabilities:
            return {emulator: self._written(self._archs.get(emulator, "")) for emulator in wanted}
        if unknown := [emulator for emulator in wanted if emulator not in self._caps]:
            try:
                self._caps |= capabilities_of(unknown)
            except (EmulatorError, TimedOutError) as error:
                raise self._placed(error) from error
        return {emulator: self._caps[emulator] for emulator in wanted}

    def _placed(self, error: EmulatorError | TimedOutError) -> QsuperError:
        """Give an emulator's error with the place that names the emulator, if one does."""
        for emulator, at in self._places.items():
            if str(error).startswith(f"{emulator}:"):
                return type(error)(f"{at}: <emulator>: {error}")
        return error

    def check_accel(self, root: Node, emulator: str, caps: Caps) -> None:
        """Check that the domain can have the accelerator that it asks for, or is told to take.

        Raises:
            ConfigError: it is to take KVM, and asks for TCG.
            UnavailableError: there is no KVM for it here.
        """
        wants_kvm = root.get("type") == Accel.KVM
        if self._settings.accel is Accel.KVM and not wants_kvm:
            raise root.error("type='qemu' means TCG, and KVM is asked for", hint="type='kvm'")
        if not wants_kvm or self._settings.accel is Accel.TCG or self._settings.capabilities:
            return
        if not caps.has_kvm:
            problem = kvm_problem() or f"{emulator} has no KVM on {os.uname().machine}"
            raise UnavailableError(f"{root.at}: type='kvm': {problem} (try --accel tcg)")

    def data(self, root: Node) -> tuple[HostData, tuple[Notice, ...]]:
        """Give what the host has for a domain, and what is wrong with it.

        Raises:
            UsageError, ConfigError: the configuration, or a definition in the host directory.
        """
        firmware = self._firmware if _asks_for_firmware(root) else None
        data = replace(
            self._data,
            firmware=firmware.descriptors if firmware else (),
            now_s=int(time.time()),
            utc_offset_s=time.localtime().tm_gmtoff,
        )
        if self._settings.host is None:
            name = root.child_text("name") or ""
            data = replace(
                data,
                nvram_dir=os.path.join(self._states, name, "nvram"),
                missing=frozenset(path for path in _optional(root) if not os.path.exists(path)),
            )
        return data, firmware.notices if firmware else ()

    @cached_property
    def _data(self) -> HostData:
        """What is the same for all domains."""
        data = HostData(
            arch=self._arch,
            machine_id=machine_id(),
            networks=self._networks,
            pools=self._pools,
            force_tcg=self._settings.accel is Accel.TCG,
            hugepages=_REFERENCE_HUGEPAGES,
            numa_nodes=_REFERENCE_NUMA_NODES,
        )
        if self._settings.host is None:
            return replace(
                data,
                hugepages=hugepages(),
                numa_nodes=numa_nodes(),
                scsi_generic=scsi_generic(),
                has_vhost_net=os.access("/dev/vhost-net", os.R_OK | os.W_OK),
                credentials_dir=os.path.join(paths.config_dir(), "credentials"),
            )
        return replace(
            data,
            rendernode=_REFERENCE_RENDERNODE,
            vsock_cid=_REFERENCE_VSOCK_CID,
            swtpm_socket=_REFERENCE_SWTPM,
            reference_scsi_generic=_REFERENCE_SCSI_GENERIC,
        )

    @cached_property
    def _states(self) -> str:
        return paths.state_dir()

    @property
    def logs(self) -> LogLimits:
        """How much is kept of the log files.

        Raises:
            UsageError: the configuration makes no sense.
        """
        return self._config.logs

    def _default_emulator(self, arch: str) -> str:
        try:
            return default_emulator(arch)
        except UnavailableError:
            if not self._settings.capabilities:
                raise
            return f"/usr/bin/qemu-system-{arch}"  # where it would be

    def _written(self, arch: str) -> Caps:
        """Give what the file for an architecture says; of the first file, where none is for it."""
        archs = (arch, STAND_INS.get(arch, ""))
        found = (self._files[each] for each in archs if each in self._files)
        return next(found, next(iter(self._files.values())))

    @cached_property
    def _files(self) -> dict[str, Caps]:
        """The capabilities files, by architecture."""
        result: dict[str, Caps] = {}
        for path in self._settings.capabilities:
            caps = read_capabilities(path)
            if caps.arch in result:
                raise UsageError(f"{path}: there is another capabilities file for {caps.arch}")
            result[caps.arch] = caps
        return result

    @cached_property
    def _arch(self) -> str:
        """The host's architecture; with another host's capabilities, that of the first file."""
        if self._settings.capabilities:
            return next(iter(self._files))
        machine = os.uname().machine
        return LIBVIRT_ARCH.get(machine, machine)

    @cached_property
    def _networks(self) -> dict[str, Network]:
        defined = read_networks(self._settings.host) if self._settings.host else {}
        return {**defined, **self._config.networks, **self._settings.networks}

    @cached_property
    def _config(self) -> Config:
        return read_config()

    @cached_property
    def _pools(self) -> dict[str, Pool]:
        return read_pools(self._settings.host) if self._settings.host else {}

    @cached_property
    def _firmware(self) -> Firmware:
        host = self._settings.host
        return read_firmware(os.path.join(host, "firmware") if host else None)


def _emulator_element(root: Node) -> Node | None:
    for section in root.children("devices"):
        for node in section.children("emulator"):
            return node if node.text else None
    return None


def _arch(root: Node) -> str | None:
    system = root.child("os")
    kind = system.child("type") if system else None
    return kind.get("arch") if kind else None


def _optional(root: Node) -> Iterator[str]:
    """Give the images that a domain can do without."""
    for section in root.children("devices"):
        for disk in section.children("disk"):
            source = disk.child("source")
            key = _PATHS.get(disk.get("type") or "")
            if source is None or key is None or source.get("startupPolicy") != "optional":
                continue
            if path := source.file(key):
                yield path


def _asks_for_firmware(root: Node) -> bool:
    system = root.child("os")
    return bool(system and (system.has("firmware") or system.child("loader")))
