"""`<memballoon>`: the guest gives memory back on request.

Source: libvirt `formatdomain.rst`, "Memory balloon device"; `qemuBuildMemballoonCommandLine`.
"""

from collections.abc import Iterator
from typing import ClassVar, Final, Self

from msgspec import field
from msgspec.structs import replace

from qsuper.errors import ConfigError
from qsuper.options import Option
from qsuper.plan import Command
from qsuper.translate.devices.base import Context, Device, common, placed
from qsuper.translate.node import Node
from qsuper.translate.places import PciKind, PciTurn
from qsuper.translate.virtio import (
    VirtioModel,
    VirtioOptions,
    virtio_address,
    virtio_driver,
    virtio_pci_kind,
)

_NONE: Final = "none"


class Memballoon(Device, frozen=True, kw_only=True):
    """The virtio memory balloon, or the word that there is none."""

    TAG: ClassVar[str] = "memballoon"
    ALIAS: ClassVar[str] = "balloon"
    PCI_TURN: ClassVar[int] = PciTurn.MEMBALLOON

    model: VirtioModel | None = VirtioModel.VIRTIO
    """None: no balloon."""
    autodeflate: bool | None = None
    free_page_reporting: bool | None = None
    stats_period_s: int = 0
    """How often QEMU asks the guest how it uses its memory; 0: never."""
    virtio: VirtioOptions = field(default_factory=VirtioOptions)

    @classmethod
    def parse(cls, node: Node) -> Self:
        has_none = node.get("model") == _NONE
        stats = node.child("stats")
        return cls(
            **common(node),
            model=None if has_none else node.enum("model", VirtioModel),
            autodeflate=node.on_off("autodeflate"),
            free_page_reporting=node.on_off("freePageReporting"),
            stats_period_s=(stats.integer("period") or 0) if stats is not None else 0,
            virtio=VirtioOptions.parse(node.child("driver")),
        )

    @classmethod
    def missing(cls, context: Context) -> Iterator[Self]:
        site = context.site
        if not context.has(cls.TAG) and not site.is_arm and site.arch != "loongarch64":
            yield cls(at=context.domain.at)

    def defaulted(self, context: Context) -> Self:
        if self.model is None:
            return self
        return replace(self, address=virtio_address(self, context))

    def pci_kind(self, context: Context) -> PciKind | None:
        return virtio_pci_kind(self, context, self.model) if self.model else None

    def problems(self, context: Context) -> Iterator[ConfigError]:
        if len(list(context.devices(self.TAG))) > 1:
            yield ConfigError("<memballoon>: there can be only one", at=self.at)

    @property
    def takes_memory(self) -> bool:
        return self.model is not None

    def setup(self, context: Context) -> Iterator[Command]:
        if self.model is None:
            return
        left = context.domain.memory.ballooned_bytes
        if left is not None:
            yield Command(name="balloon", arguments={"value": left})
        if self.stats_period_s:
            arguments = {
                "path": f"/machine/peripheral/{self.alias}",
                "property": "guest-stats-polling-interval",
                "value": self.stats_period_s,
            }
            yield Command(name="qom-set", arguments=arguments)

    def details(self, context: Context) -> Iterator[tuple[str, str | int | None]]:
        del context
        yield "@model", self.model or _NONE

    def options(self, context: Context) -> Iterator[Option]:
        if self.model is None:
            return
        switches = {
            "deflate-on-oom": self.autodeflate,
            "free-page-reporting": self.free_page_reporting,
        }
        driver = virtio_driver("virtio-balloon", self.address, self.model)
        props = {"driver": driver} | self.virtio.props() | placed(self, context) | switches
        yield Option.json("device", props)
