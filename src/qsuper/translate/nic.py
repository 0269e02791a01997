"""The guest's side of a network interface: MAC, models, tuning.

Sources: libvirt `formatdomain.rst`, "Network interfaces"; QEMU `virtio-net.c`.
"""

import re
from typing import Final, Self

from msgspec import Struct, field

from qsuper.options import Value
from qsuper.translate.node import Node
from qsuper.translate.site import Site
from qsuper.translate.virtio import VirtioModel, VirtioOptions

PREFIX: Final = "52:54:00"
"""Of the MACs that are made up; KVM's own."""
EXPRESS_MODELS: Final = frozenset({"e1000e", "igb"})
PLAIN_MODELS: Final = frozenset(
    {
        "82540EM",
        "82543GC",
        "82545EM",
        "Am79C970A",
        "Am79C973",
        "e1000",
        "lan9118",
        "netfront",
        "rtl8139",
        "scm91c111",
        "vlance",
        "vmxnet",
        "vmxnet2",
        "vmxnet3",
    }
)
"""Those that libvirt knows as conventional PCI; one that it does not know is PCI Express."""
BOARD_MODELS: Final = frozenset({"lan9118", "smc91c111"})
"""Those that are part of an arm board."""

_MODEL: Final = re.compile(r"[a-zA-Z0-9_-]+")
_SPELLING: Final[dict[str, str]] = {
    name.lower(): name
    for name in (*EXPRESS_MODELS, *PLAIN_MODELS, *VirtioModel, "usb-net", "spapr-vlan")
}
_MAC: Final = re.compile(r"[0-9a-fA-F]{1,2}(:[0-9a-fA-F]{1,2}){5}", re.ASCII)
_HOST: Final = {
    "csum": "csum",
    "gso": "gso",
    "tso4": "host_tso4",
    "tso6": "host_tso6",
    "ecn": "host_ecn",
    "ufo": "host_ufo",
    "mrg_rxbuf": "mrg_rxbuf",
}
_GUEST: Final = {
    "csum": "guest_csum",
    "tso4": "guest_tso4",
    "tso6": "guest_tso6",
    "ecn": "guest_ecn",
    "ufo": "guest_ufo",
}
_TX: Final = {"iothread": "bh", "timer": "timer"}


class NicDriver(Struct, frozen=True, kw_only=True):
    """What `<driver>` says; of note to virtio models only."""

    wants_vhost: bool | None = None
    """None: where the kernel has it."""
    tx: str | None = None
    ioeventfd: bool | None = None
    event_idx: bool | None = None
    queues: int = 1
    rx_queue_size: int | None = None
    tx_queue_size: int | None = None
    rss: bool | None = None
    rss_hash_report: bool | None = None
    offloads: tuple[tuple[str, bool], ...] = ()
    virtio: VirtioOptions = field(default_factory=VirtioOptions)

    @classmethod
    def parse(cls, node: Node) -> Self:
        """Read an interface's `<driver>`, of which only what calls itself virtio has the most."""
        driver = node.child("driver")
        if driver is None:
            return cls()
        if not virtio_model(parse_model(node)):
            driver.accept()  # as libvirt: for a model that is written as virtio alone
            return cls(virtio=VirtioOptions.parse(driver))
        name = driver.get("name")
        if name not in (None, "vhost", "qemu"):
            raise driver.error(f"name='{name}' is unknown", hint="vhost or qemu")
        tx = driver.get("txmode")
        if tx is not None and tx not in _TX:
            raise driver.error(f"txmode='{tx}' is unknown", hint="iothread or timer")
        return cls(
            wants_vhost=None if name is None else name == "vhost",
            tx=None if tx is None else _TX[tx],
            ioeventfd=driver.on_off("ioeventfd"),
            event_idx=driver.on_off("event_idx"),
            queues=driver.integer("queues", low=0, high=1024) or 1,
            rx_queue_size=_queue_size(driver, "rx_queue_size"),
            tx_queue_size=_queue_size(driver, "tx_queue_size"),
            rss=driver.on_off("rss"),
            rss_hash_report=driver.on_off("rss_hash_report"),
            offloads=(*_offloads(driver, "host", _HOST), *_offloads(driver, "guest", _GUEST)),
            virtio=VirtioOptions.parse(driver),
        )

    def props(self) -> dict[str, Value]:
        """Give the front end's props that come from here, the number of queues aside."""
        return {
            **self.virtio.props(),
            "tx": self.tx,
            "ioeventfd": self.ioeventfd,
            "event_idx": self.event_idx,
            "rx_queue_size": self.rx_queue_size,
            "tx_queue_size": self.tx_queue_size,
            "rss": self.rss,
            "hash": self.rss_hash_report,
            **dict(self.offloads),
        }


def _queue_size(driver: Node, name: str) -> int | None:
    size = driver.integer(name, low=0, high=1 << 16) or None
    if size is not None and size & (size - 1):
        raise driver.error(f"{name}='{size}' is no power of two")
    return size


def _offloads(driver: Node, tag: str, keys: dict[str, str]) -> tuple[tuple[str, bool], ...]:
    side = driver.child(tag)
    if side is None:
        return ()
    found = ((prop, side.on_off(name)) for name, prop in keys.items())
    return tuple((prop, value) for prop, value in found if value is not None)


def parse_model(node: Node) -> str:
    """Read `<model type=>` in the spelling of QEMU, which cares for capitals; empty without one.

    Raises:
        ConfigError: it is no name.
    """
    model = node.child("model")
    text = (model.get("type") or "") if model is not None else ""
    if model is not None and text and not _MODEL.fullmatch(text):
        raise model.error(f"type='{text[:60]}' is no name of a model", hint="virtio, e1000, ...")
    return _SPELLING.get(text.lower(), text)


def parse_mac(node: Node) -> str:
    """Read `<mac address=>` as QEMU writes it; empty without one.

    Raises:
        ConfigError: it is no MAC, or a group's.
    """
    mac = node.child("mac")
    if mac is None:
        return ""
    mac.ignore("currentAddress")
    mac.yes_no("check")
    if mac.get("type") not in (None, "generated", "static"):
        raise mac.error(f"type='{mac.get('type')}' is unknown", hint="generated or static")
    text = mac.get("address")
    if text is None:
        return ""
    if not _MAC.fullmatch(text):
        raise mac.error(f"address='{text}' is no MAC address", hint="52:54:00:12:34:56")
    octets = [int(part, 16) for part in text.split(":")]
    if octets[0] & 1:
        raise mac.error(
            f"address='{text}' is a multicast address", hint="make the first octet even"
        )
    return ":".join(f"{octet:02x}" for octet in octets)


def derived_mac(machine_id: str, domain: str, index: int) -> str:
    """Make up the MAC of a domain's interface number *index*, the same each time."""
    import hashlib  # noqa: PLC0415 - 3 ms, and most files name their addresses

    seed = f"{machine_id}\0{domain}\0interface\0{index}".encode()
    digest = hashlib.sha256(seed).digest()
    return f"{PREFIX}:{digest[0]:02x}:{digest[1]:02x}:{digest[2]:02x}"


def default_model(site: Site) -> str:
    """Give the model of an interface that names none.

    Source: libvirt `qemuDomainDefaultNetModel()`.
    """
    if site.is_virt or site.arch in ("s390x", "s390"):
        return "virtio"
    if site.is_arm:
        return "smc91c111" if site.machine == "versatilepb" else "lan9118"
    for model in ("rtl8139", "e1000"):
        if site.caps.has_type(model):
            return model
    return "virtio"


def virtio_model(model: str) -> VirtioModel | None:
    """Give the kind of virtio that *model* is; None for others."""
    try:
        return VirtioModel(model)
    except ValueError:
        return None
