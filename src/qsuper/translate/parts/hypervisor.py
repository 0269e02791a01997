"""`<hyperv>` and `<kvm>` in `<features>`: what the hypervisor offers to guests that know it."""

from enum import StrEnum, unique
from typing import Final, Self

from msgspec import Struct

from qsuper.options import Props, Value
from qsuper.translate.node import Node

_KVM_FEATURES: Final = ("hidden", "hint-dedicated", "poll-control", "pv-ipi", "dirty-ring")
_LEAST_RETRIES: Final = 0xFFF
_MOST_VENDOR: Final = 12
_MOST_RING: Final = 65536
_LEAST_RING: Final = 1024


@unique
class HypervMode(StrEnum):
    """Who chooses the enlightenments."""

    CUSTOM = "custom"
    PASSTHROUGH = "passthrough"


# Elements in the order of the command line, with QEMU's names.
_ENLIGHTENMENTS: Final = {
    "relaxed": "hv-relaxed",
    "vapic": "hv-vapic",
    "spinlocks": "hv-spinlocks",
    "vpindex": "hv-vpindex",
    "runtime": "hv-runtime",
    "synic": "hv-synic",
    "stimer": "hv-stimer",
    "reset": "hv-reset",
    "vendor_id": "hv-vendor-id",
    "frequencies": "hv-frequencies",
    "reenlightenment": "hv-reenlightenment",
    "tlbflush": "hv-tlbflush",
    "ipi": "hv-ipi",
    "evmcs": "hv-evmcs",
    "avic": "hv-avic",
    "emsr_bitmap": "hv-emsr-bitmap",
    "xmm_input": "hv-xmm-input",
}
_PARTS: Final = {
    "stimer": {"direct": "hv-stimer-direct"},
    "tlbflush": {"direct": "hv-tlbflush-direct", "extended": "hv-tlbflush-ext"},
}
_VALUES: Final = {"spinlocks": "retries", "vendor_id": "value"}


class Hyperv(Struct, frozen=True, kw_only=True):
    """Enlightenments for Windows guests, as props of `-cpu`."""

    node: Node
    cpu_props: Props

    @classmethod
    def parse(cls, node: Node) -> Self:
        """Read `<hyperv>`.

        Raises:
            ConfigError: a state is neither on nor off, a value is out of range.
        """
        props: dict[str, Value] = {}
        if node.enum("mode", HypervMode, HypervMode.CUSTOM) is HypervMode.PASSTHROUGH:
            node.accept()
            return cls(node=node, cpu_props={"hv-passthrough": True})
        refuse_unknown(node, tuple(_ENLIGHTENMENTS))
        for tag, name in _ENLIGHTENMENTS.items():
            found = node.child(tag)
            if found is not None:
                props |= _enlightenment(found, tag, name)
        return cls(node=node, cpu_props=props)


def state(node: Node) -> bool:
    """Read `state`, which is on where nothing is said."""
    return node.on_off("state") is not False


def said_state(node: Node) -> bool:
    """Read `state`.

    Raises:
        ConfigError: it is missing, or neither on nor off.
    """
    if node.get("state") is None:
        raise node.error("attribute 'state' is missing", hint="on or off")
    return state(node)


def refuse_unknown(node: Node, tags: tuple[str, ...], *, unsaid: tuple[str, ...] = ()) -> None:
    """Check that there are no other elements; of those *unsaid* the message does not tell.

    Raises:
        ConfigError: there is one.
    """
    for found in node.children():
        if found.tag not in (*tags, *unsaid) and not found.tag.startswith("{"):
            raise found.error("unknown", hint=f"one of {', '.join(tags)}")


def _enlightenment(found: Node, tag: str, name: str) -> Props:
    if not said_state(found):
        for part in found.children():
            part.accept()
        if tag in _VALUES:
            found.ignore(_VALUES[tag])
        return {}
    if tag == "spinlocks":
        retries = found.integer("retries", low=_LEAST_RETRIES, high=0xFFFFFFFF)
        if retries is None:
            raise found.error("attribute 'retries' is missing", hint=f"at least {_LEAST_RETRIES}")
        return {name: f"0x{retries:x}"}
    if tag == "vendor_id":
        return {name: _vendor(found, found.get("value"))}
    parts = ((found.child(child), key) for child, key in _PARTS.get(tag, {}).items())
    return {name: True} | {
        key: True for part, key in parts if part is not None and said_state(part)
    }


def _vendor(found: Node, vendor: str | None) -> str:
    if not vendor:
        raise found.error("attribute 'value' is missing")
    if len(vendor) > _MOST_VENDOR or "," in vendor:
        raise found.error(
            f"value='{vendor[:60]}' is no vendor id", hint="at most 12 characters, no comma"
        )
    return vendor


class KvmFeatures(Struct, frozen=True, kw_only=True):
    """What of KVM the guest may see."""

    node: Node
    is_hidden: bool = False
    is_dedicated: bool = False
    polls: bool = False
    has_ipi: bool = True
    ring_size: int | None = None
    """Entries of the ring of dirty pages."""

    @classmethod
    def parse(cls, node: Node) -> Self:
        """Read `<kvm>`.

        Raises:
            ConfigError: a state is neither on nor off, the ring's size is out of range.
        """
        refuse_unknown(node, _KVM_FEATURES)
        for found in node.children():
            said_state(found)
        return cls(
            node=node,
            is_hidden=_is_on(node, "hidden"),
            is_dedicated=_is_on(node, "hint-dedicated"),
            polls=_is_on(node, "poll-control"),
            has_ipi=_is_on(node, "pv-ipi", otherwise=True),
            ring_size=_ring_size(node),
        )

    @property
    def cpu_props(self) -> Props:
        """Give the props of `-cpu`."""
        return {
            "kvm": False if self.is_hidden else None,
            "kvm-hint-dedicated": True if self.is_dedicated else None,
            "kvm-poll-control": True if self.polls else None,
            "kvm-pv-ipi": None if self.has_ipi else False,
        }


def _ring_size(node: Node) -> int | None:
    ring = node.child("dirty-ring")
    if ring is None or not state(ring):
        return None
    size = ring.required_integer("size", low=_LEAST_RING, high=_MOST_RING)
    if size & (size - 1):
        raise ring.error("size is no power of two", hint=f"{_LEAST_RING}..{_MOST_RING}")
    return size


def _is_on(node: Node, tag: str, *, otherwise: bool = False) -> bool:
    found = node.child(tag)
    return otherwise if found is None else state(found)
