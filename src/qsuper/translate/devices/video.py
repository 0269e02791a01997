"""`<video>`: graphics cards.

Sources: libvirt `formatdomain.rst`, "Video devices"; `qemuBuildDeviceVideoCmd()`,
`virDomainVideoDefaultRAM()`.
"""

from collections.abc import Iterator
from enum import StrEnum, unique
from typing import ClassVar, Final, Self

from msgspec import field
from msgspec.structs import replace

from qsuper.errors import ConfigError
from qsuper.location import Notice
from qsuper.options import Option, Props, Value
from qsuper.plan import Helper
from qsuper.translate.devices.base import Context, Device, common, placed
from qsuper.translate.node import Node
from qsuper.translate.order import position
from qsuper.translate.parts.backing import SourceType
from qsuper.translate.places import PciAddress, PciKind, PciTurn
from qsuper.translate.sharing import shares_memory
from qsuper.translate.vhost_user_gpu import gpu_chardev, gpu_helper
from qsuper.translate.virtio import (
    VirtioOptions,
    uses_mmio,
    virtio_address,
    virtio_driver,
    virtio_pci_kind,
)

_MOST_KIB: Final = (1 << 32) // 1024 - 2


@unique
class Model(StrEnum):
    """The hardware."""

    VGA = "vga"
    CIRRUS = "cirrus"
    VMVGA = "vmvga"
    QXL = "qxl"
    VIRTIO = "virtio"
    BOCHS = "bochs"
    RAMFB = "ramfb"
    NONE = "none"


_PRIMARY: Final = {
    Model.VGA: "VGA",
    Model.CIRRUS: "cirrus-vga",
    Model.VMVGA: "vmware-svga",
    Model.QXL: "qxl-vga",
    Model.VIRTIO: "virtio-vga",
    Model.BOCHS: "bochs-display",
    Model.RAMFB: "ramfb",
}
_SECONDARY: Final = {Model.QXL: "qxl"}
_NO_PCI: Final = (Model.RAMFB, Model.NONE)
_HEADED: Final = (Model.QXL, Model.VIRTIO)
_CLASSIC: Final = (Model.VGA, Model.VMVGA)
_ACCELERATIONS: Final = ("accel2d", "accel3d", "rendernode")
_SIZED: Final = (Model.VGA, Model.QXL, Model.VIRTIO, Model.BOCHS)
_DEFAULT_VRAM_KIB: Final = {
    Model.VGA: 16 * 1024,
    Model.CIRRUS: 16 * 1024,
    Model.VMVGA: 16 * 1024,
    Model.QXL: 64 * 1024,
}
_BOCHS_VRAM_KIB: Final = 16 * 1024
_QXL_RAM_KIB: Final = 64 * 1024
_QXL_VGAMEM_KIB: Final = 16 * 1024
_KIB_OF_MIB: Final = 1024


class Video(Device, frozen=True, kw_only=True):
    """A graphics card."""

    TAG: ClassVar[str] = "video"
    ALIAS: ClassVar[str] = "video"
    PCI_TURN: ClassVar[int] = PciTurn.VIDEO

    model: Model | None = None
    """None until defaults."""
    vram_kib: int | None = None
    vram64_kib: int | None = None
    ram_kib: int | None = None
    vgamem_kib: int | None = None
    heads: int | None = None
    is_primary: bool = False
    """The file says so; without any, the first is."""
    accel3d: bool = False
    blob: bool | None = None
    width: int | None = None
    height: int | None = None
    is_vhost_user: bool = False
    """A process of its own draws."""
    rendernode: str | None = None
    """Of that process."""
    virtio: VirtioOptions = field(default_factory=VirtioOptions)

    @classmethod
    def parse(cls, node: Node) -> Self:
        driver = node.child("driver")
        name = driver.get("name") if driver is not None else None
        if name not in (None, "qemu", "vhostuser") and driver is not None:
            raise driver.error(f"name='{name}' is unknown", hint="qemu or vhostuser")
        options = VirtioOptions.parse(driver)
        is_vhost_user = name == "vhostuser"
        model = node.child("model")
        if model is None:
            return cls(**common(node), virtio=options, is_vhost_user=is_vhost_user)
        is_none = model.get("type") == Model.NONE
        least = 0 if is_none else 1
        acceleration = model.child("acceleration")
        resolution = model.child("resolution")
        accel3d = acceleration is not None and bool(acceleration.yes_no("accel3d"))
        if acceleration is not None:
            if acceleration.yes_no("accel2d"):
                raise acceleration.error("accel2d='yes' is not for QEMU", hint="remove it")
            if not any(acceleration.has(name) for name in _ACCELERATIONS):
                raise acceleration.error("it says nothing", hint="accel3d='yes'")
            if not is_vhost_user and acceleration.get("rendernode") and not is_none:
                raise acceleration.error("rendernode= is for <driver name='vhostuser'/>")
        return cls(
            **common(node),
            model=model.enum("type", Model, None),
            vram_kib=_rounded(model, "vram"),
            vram64_kib=model.integer("vram64", low=0, high=1 << 40) or None,
            ram_kib=_rounded(model, "ram"),
            vgamem_kib=model.integer("vgamem", low=0, high=_MOST_KIB) or None,
            heads=model.integer("heads", low=0),
            is_primary=bool(model.yes_no("primary")),
            accel3d=accel3d,
            blob=model.on_off("blob"),
            width=resolution.required_integer("x", low=least, high=1 << 16) if resolution else None,
            height=resolution.required_integer("y", low=least, high=1 << 16)
            if resolution
            else None,
            virtio=options,
            is_vhost_user=is_vhost_user,
            rendernode=(
                acceleration.file("rendernode")
                if acceleration is not None and is_vhost_user
                else None
            ),
        )

    @classmethod
    def missing(cls, context: Context) -> Iterator[Self]:
        if context.has("graphics") and not context.has("video"):
            yield cls(at=context.domain.at)

    def defaulted(self, context: Context) -> Self:
        model = self.model or _default_model(context)
        card = replace(
            self,
            model=model,
            vram_kib=self.vram_kib or _DEFAULT_VRAM_KIB.get(model),
            heads=(1 if model in _HEADED else None) if self.heads is None else self.heads,
        )
        if model is Model.QXL:
            ram, vgamem = self.ram_kib or _QXL_RAM_KIB, self.vgamem_kib or _QXL_VGAMEM_KIB
            return replace(card, ram_kib=ram, vgamem_kib=vgamem)
        if model is Model.VIRTIO and uses_mmio(context):
            return replace(card, address=virtio_address(self, context))
        return card

    def pci_kind(self, context: Context) -> PciKind | None:
        if self.model in _NO_PCI:
            return None
        if self.model is Model.VIRTIO:
            return virtio_pci_kind(self, context)
        if self.model is Model.BOCHS and context.site.has_pcie_root:
            return PciKind.EXPRESS
        return PciKind.CONVENTIONAL

    def pci_preferred(self, context: Context) -> Iterator[PciAddress | None]:
        if self._is_first(context) and context.site.is_x86:
            yield PciAddress(bus=0, slot=1 if context.site.is_q35 else 2)
            yield None

    def stem(self, context: Context) -> str | None:
        """The primary card is number 0, wherever it stands."""
        return f"video{position(self, _in_order(context))}" if self.model else None

    def problems(self, context: Context) -> Iterator[ConfigError]:
        cards = _in_order(context)
        if self.model is Model.NONE and len(cards) > 1:
            yield self._error("model type='none' leaves no place for others", "remove the others")
        if [card.is_primary for card in cards].count(True) > 1 and self.is_primary:
            yield self._error("there can be one primary='yes'", "remove the others")
        if self.is_vhost_user:
            yield from self._vhost_user_problems()
        if self.model is Model.NONE:
            return
        yield from self._unfit(context)
        driver = self._driver(context)
        if driver is None:
            yield self._error(f"model type='{self.model}' can only be the first", "qxl or virtio")
        elif not context.site.caps.has_type(driver):
            yield self._error(f"this QEMU has no model type='{self.model}'", "vga or virtio")
        yield from self._unfit_memory()
        if self.accel3d and self.model is not Model.VIRTIO:
            yield self._error(f"model type='{self.model}' has no accel3d", "virtio")

    def details(self, context: Context) -> Iterator[tuple[str, str | int | None]]:
        yield "model@type", self.model
        yield "model@ram", self.ram_kib
        yield "model@vram", self.vram_kib
        yield "model@vgamem", self.vgamem_kib
        yield "model@heads", self.heads
        cards = [card for card in context.devices(self.TAG) if isinstance(card, Video)]
        is_first = cards[0] is self and not any(card.is_primary for card in cards)
        yield "model@primary", "yes" if is_first else None

    def notices(self, context: Context) -> Iterator[Notice]:
        if self.is_vhost_user and not shares_memory(context):  # libvirt lets it pass
            hint = "<memoryBacking><access mode='shared'/>"
            yield Notice(self.at, f"<video>: driver name='vhostuser' needs shared memory ({hint})")

    def _vhost_user_problems(self) -> Iterator[ConfigError]:
        if self.model not in (Model.VIRTIO, Model.NONE):
            yield self._error("driver name='vhostuser' is for model type='virtio'", "name='qemu'")

    def _unfit_memory(self) -> Iterator[ConfigError]:
        vgamem = self.vgamem_kib or _QXL_VGAMEM_KIB
        if vgamem < _KIB_OF_MIB or vgamem & (vgamem - 1):
            yield self._error("vgamem= is no power of two, or below 1 MiB", str(_QXL_VGAMEM_KIB))
        if self.model in _CLASSIC and (self.vram_kib or _KIB_OF_MIB) < _KIB_OF_MIB:
            yield self._error("vram= is below 1 MiB", str(_KIB_OF_MIB))
        written = {"ram": self.ram_kib, "vgamem": self.vgamem_kib, "vram64": self.vram64_kib}
        for name, value in written.items():
            if value is not None and self.model is not Model.QXL:
                yield self._error(f"model type='{self.model}' has no {name}=", "remove it")

    def _unfit(self, context: Context) -> Iterator[ConfigError]:
        if self.model in _NO_PCI and self.address is not None:
            yield self._error(f"model type='{self.model}' has no address", "remove <address>")
        if self.width is not None and self.model not in _SIZED:
            yield self._error(f"model type='{self.model}' has no <resolution>", "vga or virtio")
        if self.blob is not None and self.model is not Model.VIRTIO:
            yield self._error(f"model type='{self.model}' has no blob=", "virtio")
        elif self.blob and context.domain.memory.backing.source is not SourceType.MEMFD:
            hint = "<memoryBacking><source type='memfd'/>"
            yield self._error("blob='on' needs memory from a memfd", hint)
        if self.heads not in (None, 1) and self.model not in _HEADED:
            yield self._error(f"model type='{self.model}' has one head", "virtio")
        if self.virtio != VirtioOptions() and self.model is not Model.VIRTIO:
            yield self._error("virtio options are for model type='virtio'", "remove them")

    def helpers(self, context: Context) -> Iterator[Helper]:
        del context
        if self.is_vhost_user and self.model is Model.VIRTIO:
            yield gpu_helper(self.alias, has_virgl=self.accel3d, rendernode=self.rendernode)

    def options(self, context: Context) -> Iterator[Option]:
        driver = self._driver(context)
        if self.model is Model.NONE or driver is None:
            return
        props: dict[str, Value] = {"driver": driver} | placed(self, context)
        is_outside = self.is_vhost_user and self.model is Model.VIRTIO
        if is_outside:
            yield from gpu_chardev(self.alias)
            props["chardev"] = f"chr-vu-{self.alias}"
        if self.model is Model.VIRTIO and driver != "vhost-user-vga":
            props |= self.virtio.props()
        if self.model in _HEADED:
            props["max_outputs"] = self.heads or None
        if self.model in _SIZED:
            props |= {"xres": self.width, "yres": self.height}
        if self.accel3d and "-gl" not in driver and not is_outside:
            props["virgl"] = True
        yield Option.json("device", {**props, **self._memory()})

    def _memory(self) -> Props:
        vram = self.vram_kib or 0
        match self.model:
            case Model.QXL:
                return {
                    "ram_size": (self.ram_kib or 0) * 1024,
                    "vram_size": vram * 1024,
                    "vram64_size_mb": (self.vram64_kib or 0) // _KIB_OF_MIB,
                    "vgamem_mb": (self.vgamem_kib or 0) // _KIB_OF_MIB,
                }
            case Model.VGA | Model.VMVGA:
                return {"vgamem_mb": vram // _KIB_OF_MIB}
            case Model.BOCHS:
                return {"vgamem": (vram or _BOCHS_VRAM_KIB) * 1024}
            case Model.VIRTIO:
                return {"blob": self.blob}
            case _:
                return {}

    def _is_first(self, context: Context) -> bool:
        return _in_order(context)[0] is self

    def _driver(self, context: Context) -> str | None:
        """Give QEMU's name of the card; None where it cannot be a second one."""
        caps = context.site.caps
        model = self.model or Model.NONE
        is_first = self._is_first(context)
        if model is not Model.VIRTIO:
            return (_PRIMARY if is_first else _SECONDARY).get(model)
        if self.is_vhost_user:
            has_vga = is_first and caps.has_type("vhost-user-vga")
            return "vhost-user-vga" if has_vga else "vhost-user-gpu-pci"
        if is_first and caps.has_type("virtio-vga"):
            has_gl_type = self.accel3d and caps.has_type("virtio-vga-gl")
            return "virtio-vga-gl" if has_gl_type else "virtio-vga"
        has_gl_type = self.accel3d and caps.has_type("virtio-gpu-gl-pci")
        return virtio_driver("virtio-gpu-gl" if has_gl_type else "virtio-gpu", self.address)

    def _error(self, message: str, hint: str) -> ConfigError:
        return ConfigError(f"<video>: {message}", at=self.at, hint=hint)


def _rounded(model: Node, name: str) -> int | None:
    """Read a size in KiB as libvirt does, rounded up to a power of two; None for none."""
    size = model.integer(name, low=0, high=_MOST_KIB)
    if not size:
        return None
    rounded = 1 << (size - 1).bit_length()
    if rounded > _MOST_KIB:
        raise model.error(f"{name}='{size}' is too much", hint="below 4 GiB")
    return rounded


def _in_order(context: Context) -> list[Video]:
    """Give the cards, the primary first."""
    cards = [device for device in context.devices("video") if isinstance(device, Video)]
    return sorted(cards, key=lambda card: not card.is_primary)


def _default_model(context: Context) -> Model:
    site = context.site
    if site.arch.startswith("ppc"):
        return Model.VGA
    if site.is_virt or site.arch == "s390x":
        return Model.VIRTIO
    return Model.CIRRUS if site.caps.has_type("cirrus-vga") else Model.VGA
