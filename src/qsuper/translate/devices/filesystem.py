"""`<filesystem>`: directories of the host, by 9p, virtiofs or MTP.

Sources: libvirt `formatdomain.rst`, "Filesystems"; `qemuBuildFilesystemCommandLine()`.
"""

import re
from collections.abc import Iterator
from enum import StrEnum, unique
from typing import ClassVar, Final, Self

from msgspec import field
from msgspec.structs import replace

from qsuper.errors import ConfigError
from qsuper.location import Notice
from qsuper.options import Handle, Option, Props, Value
from qsuper.plan import Helper
from qsuper.translate.devices.base import Context, Device, common, placed
from qsuper.translate.node import Node
from qsuper.translate.parts.backing import short_name
from qsuper.translate.places import Bus, PciKind, PciTurn, UsbTurn
from qsuper.translate.sharing import shares_memory
from qsuper.translate.virtio import (
    VirtioModel,
    VirtioOptions,
    virtio_address,
    virtio_driver,
    virtio_pci_kind,
)
from qsuper.translate.virtiofsd import Virtiofsd

_MODE: Final = re.compile(r"[0-7]{1,4}")


@unique
class Driver(StrEnum):
    """How the guest gets at the files."""

    PATH = "path"
    HANDLE = "handle"
    """9p by file handles; of old QEMUs."""
    VIRTIOFS = "virtiofs"
    MTP = "mtp"


@unique
class AccessMode(StrEnum):
    """Whose files they are to the host."""

    PASSTHROUGH = "passthrough"
    MAPPED = "mapped"
    SQUASH = "squash"


@unique
class Multidevs(StrEnum):
    """What happens where several devices are mounted below."""

    REMAP = "remap"
    FORBID = "forbid"
    WARN = "warn"
    DEFAULT = "default"


@unique
class WritePolicy(StrEnum):
    """When data go to the disk."""

    IMMEDIATE = "immediate"


_SECURITY: Final = {AccessMode.SQUASH: "none"}


class Filesystem(Device, frozen=True, kw_only=True):
    """A directory of the host."""

    TAG: ClassVar[str] = "filesystem"
    ALIAS: ClassVar[str] = "fs"
    ALIAS_SKIPS_NAMED: ClassVar[bool] = True
    PCI_TURN: ClassVar[int] = PciTurn.FILESYSTEM
    USB_TURN: ClassVar[int] = UsbTurn.FILESYSTEM

    driver: Driver
    tag: str
    """How the guest knows it."""
    source: str = ""
    socket: str = ""
    """Of a virtiofsd that somebody else runs."""
    virtiofsd: Virtiofsd = field(default_factory=Virtiofsd)
    access: AccessMode | None = AccessMode.PASSTHROUGH
    """None: a socket says whose they are."""
    is_readonly: bool = False
    fmode: str | None = None
    dmode: str | None = None
    multidevs: Multidevs | None = None
    write_policy: WritePolicy | None = None
    queue_size: int | None = None
    model: VirtioModel = VirtioModel.VIRTIO
    virtio: VirtioOptions = field(default_factory=VirtioOptions)

    @classmethod
    def parse(cls, node: Node) -> Self:
        if (kind := node.get("type")) not in (None, "mount"):
            raise node.error(f"type='{kind}' is not supported", hint="mount")
        driver = node.child("driver")
        what = driver.enum("type", Driver, Driver.PATH) if driver is not None else Driver.PATH
        source = node.required_child("source")
        has_socket = source.has("socket")
        directory = source.get("dir") if has_socket else source.required("dir")
        socket = source.file("socket") or ""
        default = None if has_socket else AccessMode.PASSTHROUGH
        multidevs = node.enum("multidevs", Multidevs, None)
        for limit in node.children("space_hard_limit", "space_soft_limit"):
            raise limit.error("QEMU limits no file system", hint="remove it")
        return cls(
            **common(node),
            driver=what,
            tag=node.required_child("target").required("dir"),
            source=source.resolve(directory) if directory else "",
            socket=socket if what is Driver.VIRTIOFS else "",
            virtiofsd=Virtiofsd.parse(node) if what is Driver.VIRTIOFS else Virtiofsd(),
            access=node.enum("accessmode", AccessMode, default),
            is_readonly=node.child("readonly") is not None,
            fmode=_mode(node, "fmode"),
            dmode=_mode(node, "dmode"),
            multidevs=None if multidevs is Multidevs.DEFAULT else multidevs,
            write_policy=driver.enum("wrpolicy", WritePolicy, None) if driver is not None else None,
            queue_size=_queue(driver),
            model=node.enum("model", VirtioModel, VirtioModel.VIRTIO),
            virtio=VirtioOptions.parse(driver),
        )

    def defaulted(self, context: Context) -> Self:
        if self.driver is Driver.MTP:
            return self
        return replace(self, address=virtio_address(self, context))

    def pci_kind(self, context: Context) -> PciKind | None:
        if self.driver is Driver.MTP:
            return None
        return virtio_pci_kind(self, context, self.model)

    def bus(self, context: Context) -> Bus | None:
        del context
        return Bus.USB if self.driver is Driver.MTP else None

    def problems(self, context: Context) -> Iterator[ConfigError]:
        if not context.site.caps.has_type(self._front_end()):
            yield self._error(f"this QEMU has no driver type='{self.driver}'", "path")
        if self.driver is Driver.VIRTIOFS and not shares_memory(context):
            yield self._error(
                "virtiofs needs shared memory", "<memoryBacking><access mode='shared'/>"
            )
        for is_wrong, message, hint in self._misfits():
            if is_wrong:
                yield self._error(message, hint)

    def notices(self, context: Context) -> Iterator[Notice]:
        tags = [getattr(other, "tag", None) for other in context.devices("filesystem")]
        if tags.count(self.tag) > 1:
            text = f"<filesystem>: <target dir='{self.tag}'/> stands here twice"
            yield Notice(self.at, f"{text}, and the guest finds one of them")

    def obstacles(self, context: Context) -> Iterator[ConfigError]:
        del context
        if not self.source and not self.socket:
            hint = "dir=, or <driver type='virtiofs'/> for a socket"
            yield self._error("<source> names no directory", hint)

    def _misfits(self) -> Iterator[tuple[bool, str, str]]:
        """Give what does not go together: whether it is so, what is wrong, what would help."""
        is_virtiofs, access = self.driver is Driver.VIRTIOFS, self.access
        yield (
            is_virtiofs and access not in (None, AccessMode.PASSTHROUGH),
            "virtiofs is always accessmode='passthrough'",
            "remove it",
        )
        yield (
            self.driver in (Driver.HANDLE, Driver.MTP) and access is not AccessMode.PASSTHROUGH,
            f"driver type='{self.driver}' is always accessmode='passthrough'",
            "remove it",
        )
        yield is_virtiofs and self.multidevs is not None, "virtiofs has no multidevs=", "remove it"
        yield (
            not is_virtiofs and self.boot_order is not None,
            "only virtiofs can be booted from",
            "remove <boot>",
        )
        yield (
            bool(self.fmode or self.dmode) and access is not AccessMode.MAPPED,
            "fmode= and dmode= need accessmode='mapped'",
            "add it",
        )

    def helpers(self, context: Context) -> Iterator[Helper]:
        del context
        if self.driver is Driver.VIRTIOFS and not self.socket:
            yield self.virtiofsd.helper(self.alias, self.source, is_readonly=self.is_readonly)

    def options(self, context: Context) -> Iterator[Option]:
        own: dict[str, Value] = {"driver": self._front_end()}
        match self.driver:
            case Driver.MTP:
                own |= {"rootdir": self.source, "desc": self.tag, "readonly": self.is_readonly}
            case Driver.VIRTIOFS:
                chardev = f"chr-vu-{self.alias}"
                way: Props = {"backend": "socket", "id": chardev, "path": self._path(context)}
                yield Option.keyed("chardev", way, implied="backend")
                own |= {"chardev": chardev, "queue-size": self.queue_size, "tag": self.tag}
                own |= {"bootindex": self.boot_order} | self.virtio.props()
            case _:
                yield Option.keyed("fsdev", self._fsdev(), implied="fsdriver")
                own |= {"fsdev": f"fsdev-{self.alias}", "mount_tag": self.tag}
                own |= self.virtio.props()
        yield Option.json("device", {**own, **placed(self, context)})

    def _fsdev(self) -> Props:
        is_handle = self.driver is Driver.HANDLE
        security = _SECURITY.get(self.access, str(self.access)) if self.access else None
        return {
            "fsdriver": "handle" if is_handle else "local",
            "security_model": None if is_handle else security,
            "multidevs": str(self.multidevs) if self.multidevs else None,
            "fmode": self.fmode,
            "dmode": self.dmode,
            "writeout": str(self.write_policy) if self.write_policy else None,
            "id": f"fsdev-{self.alias}",
            "path": self.source,
            "readonly": True if self.is_readonly else None,
        }

    def _path(self, context: Context) -> Value:
        if self.socket:
            return self.socket
        name = short_name(context.domain.name)
        shown = f"/var/lib/libvirt/qemu/domain-{name}/{self.alias}-fs.sock"
        return Handle(resource=self.virtiofsd.link(self.alias), shown=shown, live_key="fd")

    def _front_end(self) -> str:
        if self.driver is Driver.MTP:
            return "usb-mtp"
        stem = "vhost-user-fs" if self.driver is Driver.VIRTIOFS else "virtio-9p"
        return virtio_driver(stem, self.address, self.model)

    def _error(self, message: str, hint: str) -> ConfigError:
        return ConfigError(f"<filesystem>: {message}", at=self.at, hint=hint)


def _mode(node: Node, name: str) -> str | None:
    text = node.get(name)
    if text is None:
        return None
    if not _MODE.fullmatch(text):
        raise node.error(f"{name}='{text}' is no file mode", hint="octal, like 0644")
    return f"{text:0>4}"


def _queue(driver: Node | None) -> int | None:
    return driver.integer("queue", low=1, high=1 << 16) if driver is not None else None
