"""`<memory>` under `<devices>`: memory that can be plugged in, or that lasts.

Sources: libvirt `formatdomain.rst`, "Memory devices"; `qemuBuildMemoryDeviceProps()`.
"""

import posixpath
from collections.abc import Iterator
from enum import StrEnum, unique
from typing import ClassVar, Final, Self

from msgspec import Struct, field
from msgspec.structs import replace

from qsuper.errors import ConfigError
from qsuper.options import Handle, Option, Props, Value
from qsuper.translate.devices.base import Context, Device, common, placed
from qsuper.translate.node import Node
from qsuper.translate.order import position
from qsuper.translate.parts.backing import (
    HugePage,
    MemoryAccess,
    MemoryObject,
    memory_options,
)
from qsuper.translate.parts.cpuset import numbers
from qsuper.translate.parts.numatune import Binding, NumaMode
from qsuper.translate.places import DimmAddress, PciKind, PciTurn
from qsuper.translate.virtio import virtio_address, virtio_driver, virtio_pci_kind

_ALIGNMENT: Final = 2 << 20
_PAGE: Final = 4096
_MOST_BYTES: Final = 1 << 50


@unique
class Model(StrEnum):
    """The hardware."""

    DIMM = "dimm"
    NVDIMM = "nvdimm"
    """It keeps what is in it, in a file."""
    VIRTIO_MEM = "virtio-mem"
    VIRTIO_PMEM = "virtio-pmem"
    """It keeps what is in it, in a file, by virtio."""


_LEAST_LABEL: Final = 128 << 10
_LEAST_BLOCK: Final = 2 << 20  # the host's pages, huge ones for transparent use
_ALIAS: Final = {Model.VIRTIO_MEM: "virtiomem", Model.VIRTIO_PMEM: "virtiopmem"}
_DRIVER: Final = {Model.DIMM: "pc-dimm", Model.NVDIMM: "nvdimm"}
_TOUCHED: Final = ("prealloc", "prealloc-threads", "prealloc-context")
_OF_ONE: Final = ("label", "block", "requested", "address", "readonly")
_OWN: Final = {
    Model.DIMM: (),
    Model.NVDIMM: ("label", "readonly"),
    Model.VIRTIO_MEM: ("block", "requested", "address"),
    Model.VIRTIO_PMEM: ("address",),
}
"""Which of them each model has."""
_LASTING: Final = (Model.NVDIMM, Model.VIRTIO_PMEM)


class Source(Struct, frozen=True, kw_only=True):
    """What stands behind the memory."""

    path: str | None = None
    align: int | None = None
    is_pmem: bool = False
    page: HugePage | None = None
    binding: Binding | None = None

    @classmethod
    def parse(cls, node: Node | None) -> Self:
        """Read a memory device's `<source>`."""
        if node is None:
            return cls()
        align, page = node.child("alignsize"), node.child("pagesize")
        path = node.child("path")
        nodes = node.child("nodemask")
        size = page.bytes_text() if page is not None else None
        return cls(
            path=path.file_text() or None if path is not None else None,
            align=align.bytes_text() if align is not None else None,
            is_pmem=node.child("pmem") is not None,
            page=HugePage(node=page, size_bytes=size) if page is not None else None,
            binding=_binding(nodes) if nodes is not None else None,
        )


class MemoryDevice(Device, frozen=True, kw_only=True):
    """A memory device."""

    TAG: ClassVar[str] = "memory"
    ALIAS: ClassVar[str] = "mem"
    PCI_TURN: ClassVar[int] = PciTurn.MEMORY

    model: Model
    size_bytes: int
    access: MemoryAccess | None = None
    discards: bool | None = None
    source: Source = field(default_factory=Source)
    cell: int | None = None
    """The guest's NUMA node."""
    label_bytes: int | None = None
    is_readonly: bool = False
    block_bytes: int | None = None
    requested_bytes: int | None = None
    base: int | None = None
    """Where a virtio device's memory begins for the guest."""
    is_in_slots: bool | None = None
    """Of virtio-mem: only what is plugged takes host memory slots."""

    @classmethod
    def parse(cls, node: Node) -> Self:
        model = node.enum("model", Model)
        target = node.required_child("target")
        # What is of other models has no effect.
        target.accept("current", *(tag for tag in _OF_ONE if tag not in _OWN[model]))
        label, block, requested, base, readonly = (
            target.child(tag) if tag in _OWN[model] else None for tag in _OF_ONE
        )
        cell = target.child("node")
        if model is Model.NVDIMM and node.child("uuid") is not None:
            raise node.error("an nvdimm has a uuid on pseries machines alone", hint="remove <uuid>")
        source = Source.parse(node.child("source"))
        if model in _LASTING and source.path is None:
            raise node.error("<source><path> is missing", hint="the file with the content")
        size = target.required_child("size").bytes_text()
        if not 0 < size <= _MOST_BYTES:
            raise target.error(f"{size} bytes can't be the size", hint="check the unit")
        label_bytes = label.required_child("size").bytes_text() if label is not None else None
        if label_bytes is not None and label_bytes >= size:
            raise node.error("<label> leaves no memory", hint="make it smaller")
        return cls(
            **common(node),
            model=model,
            size_bytes=-(-size // _ALIGNMENT) * _ALIGNMENT,
            access=node.enum("access", MemoryAccess, None),
            discards=node.yes_no("discard"),
            source=source,
            cell=cell.integer_text(low=0, high=1023) if cell is not None else None,
            label_bytes=label_bytes,
            is_readonly=readonly is not None,
            block_bytes=block.bytes_text() if block is not None else None,
            requested_bytes=(requested.bytes_text() or None) if requested is not None else None,
            base=base.hexadecimal("base") if base is not None else None,
            is_in_slots=target.yes_no("dynamicMemslots") if model is Model.VIRTIO_MEM else None,
        )

    def defaulted(self, context: Context) -> Self:
        needs_cell = self.cell is None and self.model is not Model.VIRTIO_PMEM
        if needs_cell and context.domain.numa.is_implied:
            return replace(self, cell=0).defaulted(context)
        if self.model not in _DRIVER:
            return replace(self, address=virtio_address(self, context))
        address = self.address or DimmAddress()
        if isinstance(address, DimmAddress) and address.slot is None:
            return replace(self, address=replace(address, slot=self._free_slot(context)))
        return self

    def _free_slot(self, context: Context) -> int:
        devices = list(context.devices("memory"))
        places = [device.address for device in devices]
        taken = {place.slot for place in places if isinstance(place, DimmAddress)}
        free = iter(number for number in range(len(devices) * 2) if number not in taken)
        for device in devices:
            has_slot = isinstance(device.address, DimmAddress) and device.address.slot is not None
            if isinstance(device, MemoryDevice) and device.model in _DRIVER and not has_slot:
                slot = next(free)
                if device is self:
                    return slot
        return 0

    def stem(self, context: Context) -> str | None:
        if isinstance(self.address, DimmAddress):
            return f"{self.model}{self.address.slot}"
        devices = (device for device in context.devices("memory"))
        same = [
            device
            for device in devices
            if getattr(device, "model", None) is self.model and (device is self or not device.alias)
        ]
        return f"{_ALIAS.get(self.model, 'mem')}{position(self, same)}"

    def pci_kind(self, context: Context) -> PciKind | None:
        return None if self.model in _DRIVER else virtio_pci_kind(self, context)

    @property
    def plugged_bytes(self) -> int:
        return self.size_bytes

    def machine_props(self, context: Context) -> Props:
        del context
        return {"nvdimm": True} if self.model is Model.NVDIMM else {}

    def problems(self, context: Context) -> Iterator[ConfigError]:
        cells = context.domain.numa.cells
        if not context.site.caps.has_type(self._driver()):
            yield self._error(f"this QEMU has no model='{self.model}'", Model.DIMM)
        if self.model is not Model.VIRTIO_PMEM and not cells:
            yield self._error("memory devices need NUMA cells", "<cpu><numa>")
        for is_wrong, message, hint in self._misfits():
            if is_wrong:
                yield self._error(message, hint)
        if self.cell is None and cells and self.model is not Model.VIRTIO_PMEM:
            yield self._error("<target> names no NUMA cell", "<node>0</node>")
        if self.cell is not None and cells and self.cell not in {part.number for part in cells}:
            yield self._error(f"there is no NUMA cell {self.cell}", "see <cpu><numa>")
        slots = context.domain.memory.slots
        if isinstance(self.address, DimmAddress) and (self.address.slot or 0) >= slots:
            yield self._error(f"<maxMemory> has {slots} slots", "give it more")
        if self.model is Model.VIRTIO_MEM:
            yield from self._virtio_mem_problems()
        yield from self._overlaps(context)
        devices = list(context.devices("memory"))
        total = sum(device.plugged_bytes for device in devices)
        if devices[-1] is self and total >= (context.domain.memory.size_bytes or total + 1):
            yield self._error("the memory devices leave nothing of <memory>", "it includes them")

    def _misfits(self) -> Iterator[tuple[bool, str, str]]:
        """Give what does not go together: whether it is so, what is wrong, what would help."""
        label, model = self.label_bytes, self.model
        if label is not None:
            yield label < _LEAST_LABEL, "<label> is below 128 KiB", "<size unit='KiB'>128</size>"
        is_kept = model in _LASTING and bool(self.discards)
        yield is_kept, f"model='{model}' discards nothing", "remove discard="
        is_private = self.access is MemoryAccess.PRIVATE
        is_pmem = model is Model.VIRTIO_PMEM
        yield is_pmem and is_private, "virtio-pmem is always shared", "access='shared'"
        is_askew = self.base is not None and bool(self.base % _PAGE)
        yield is_pmem and is_askew, f"base= is no multiple of {_PAGE:#x}", "it is hexadecimal"
        yield is_pmem and self.cell is not None, "virtio-pmem is in no NUMA cell", "remove <node>"

    def _virtio_mem_problems(self) -> Iterator[ConfigError]:
        block, requested = self.block_bytes, self.requested_bytes
        if block is None:
            yield self._error("<target> needs a <block>", "add one")
        elif block < _LEAST_BLOCK or block & (block - 1):
            yield self._error(f"<block> of {block} bytes is none of 2, 4, 8, ... MiB", "2 MiB")
        elif self.base is not None and self.base % block:
            yield self._error(f"base= is no multiple of {block:#x}", "it is hexadecimal")
        elif requested is not None and (requested > self.size_bytes or requested % block):
            yield self._error("<requested> is no number of blocks within <size>", "change it")

    def _overlaps(self, context: Context) -> Iterator[ConfigError]:
        begin = self.begin
        for other in context.devices("memory"):
            theirs = other.begin if isinstance(other, MemoryDevice) else None
            if other is self or begin is None or theirs is None:
                continue
            if begin <= theirs < begin + self._seen_bytes():
                yield self._error(f"it overlaps the memory at {theirs:#x}", "move one")

    @property
    def begin(self) -> int | None:
        """Where the memory begins for the guest, if the file says so."""
        return self.address.base if isinstance(self.address, DimmAddress) else self.base

    def _seen_bytes(self) -> int:
        """Give how much of it the guest has in its address space: all but an NVDIMM's label."""
        return (self.size_bytes - (self.label_bytes or 0)) // _ALIGNMENT * _ALIGNMENT

    def options(self, context: Context) -> Iterator[Option]:
        yield from self._backends(context)
        own: dict[str, Value] = {
            "driver": self._driver(),
            "node": None if self.model is Model.VIRTIO_PMEM else self.cell,
            "label-size": self.label_bytes,
            "unarmed": True if self.is_readonly else None,
            "block-size": self.block_bytes,
            "requested-size": self.requested_bytes or None,
            "memdev": f"mem{self.alias}",
            "memaddr": self.base,
            "dynamic-memslots": self.is_in_slots,
        }
        if self.model is Model.VIRTIO_MEM and self._is_early(context):
            own["prealloc"] = True
        places = placed(self, context)
        if isinstance(self.address, DimmAddress):
            places |= {"slot": self.address.slot, "addr": self.address.base}
        yield Option.json("device", {**own, **places})

    def _backends(self, context: Context) -> Iterator[Option]:
        domain, site = context.domain, context.site
        backing = domain.memory.backing
        cell = next((part for part in domain.numa.cells if part.number == self.cell), None)
        piece = MemoryObject(
            alias=f"mem{self.alias}",
            size_bytes=self.size_bytes,
            domain=domain.name,
            cell=self.cell,
            access=self._access(cell.access if cell else None),
            discards=self.discards if self.discards is not None or not cell else cell.discards,
            path=self.source.path if self.model in _LASTING else None,
            is_touched=self.model is Model.NVDIMM and not self.source.is_pmem,
        )
        if self.source.page is not None:
            backing = replace(backing, pages=(self.source.page,))
        binding, own = domain.numa.tune.binding(self.cell), self.source.binding
        if own is not None:
            binding = own if binding is None else replace(own, mode=binding.mode)
        is_touched = domain.memory.preallocates(site, domain.numa)  # by one option for all
        untouched: Props = (
            dict.fromkeys(_TOUCHED) if is_touched or self.model is Model.VIRTIO_MEM else {}
        )
        for option in memory_options(piece, backing, binding, site):
            if not untouched or option.props["qom-type"] != "thread-context":
                yield replace(option, props={**self._adapted(option.props), **untouched})

    def _adapted(self, props: Props) -> Props:
        path = props.get("mem-path")
        if isinstance(path, Handle):  # libvirt has the device's name in it
            shown = posixpath.join(posixpath.dirname(path.shown), self.alias)
            props = {**props, "mem-path": replace(path, shown=shown)}
        if self.model is Model.VIRTIO_MEM:
            props = {**props, "reserve": False}
        if self.model in _LASTING:
            source = self.source if self.model is Model.NVDIMM else Source()
            is_pmem = True if source.is_pmem else None
            props = {**props, "align": source.align, "pmem": is_pmem}
        return props

    def _access(self, cells: MemoryAccess | None) -> MemoryAccess | None:
        return MemoryAccess.SHARED if self.model is Model.VIRTIO_PMEM else self.access or cells

    def _is_early(self, context: Context) -> bool:
        backing = context.domain.memory.backing
        return self.source.page is not None or backing.is_early(self.cell)

    def _driver(self) -> str:
        return _DRIVER.get(self.model) or virtio_driver(str(self.model), self.address)

    def _error(self, message: str, hint: str) -> ConfigError:
        return ConfigError(f"<memory>: {message}", at=self.at, hint=hint)


def _binding(node: Node) -> Binding:
    return Binding(node=node, mode=NumaMode.STRICT, nodes=numbers(node, node.text, ""))
