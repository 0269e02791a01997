"""`<interface>`: network cards and what they are plugged into.

Sources: libvirt `formatdomain.rst`, "Network interfaces"; `qemuBuildNicDevProps()`,
`qemuBuildHostNetProps()`.
"""

from collections.abc import Iterator
from enum import StrEnum, unique
from typing import ClassVar, Self, TypeVar, cast

from msgspec import field
from msgspec.structs import replace

from qsuper.errors import ConfigError
from qsuper.location import Notice
from qsuper.options import Option, Props, Value
from qsuper.plan import Command, Helper
from qsuper.translate.devices.base import Context, Device, common, placed
from qsuper.translate.host_side import check_host_side
from qsuper.translate.netdev import Netdev, Plug, TapNet, UserNet
from qsuper.translate.network_type import Kind, parse_netdev
from qsuper.translate.nic import (
    BOARD_MODELS,
    PLAIN_MODELS,
    NicDriver,
    default_model,
    derived_mac,
    parse_mac,
    parse_model,
    virtio_model,
)
from qsuper.translate.node import Node
from qsuper.translate.order import position
from qsuper.translate.passt import PasstNet
from qsuper.translate.places import Bus, PciAddress, PciKind, PciTurn, UsbTurn
from qsuper.translate.sharing import shares_memory
from qsuper.translate.site import NetworkKind
from qsuper.translate.vfio import Rom, host_card
from qsuper.translate.virtio import virtio_address, virtio_driver, virtio_pci_kind


@unique
class LinkState(StrEnum):
    """Whether the cable is plugged in."""

    UP = "up"
    DOWN = "down"


class Interface(Device, frozen=True, kw_only=True):
    """A network card."""

    TAG: ClassVar[str] = "interface"
    ALIAS: ClassVar[str] = "net"
    ALIAS_SKIPS_NAMED: ClassVar[bool] = True
    PCI_TURN: ClassVar[int] = PciTurn.INTERFACE
    USB_TURN: ClassVar[int] = UsbTurn.INTERFACE

    kind: Kind
    netdev: Netdev | None = None
    """None until defaults for `type='network'`."""
    network: str = ""
    mac: str = ""
    model: str = ""
    driver: NicDriver = field(default_factory=NicDriver)
    mtu: int | None = None
    sndbuf: int | None = None
    rom: Rom = field(default_factory=Rom)
    is_failover: bool = False
    """The standby for a host device that may leave."""
    starts_down: bool = False
    script: str = ""
    unset: tuple[Notice, ...] = ()
    """What of the host's side has no effect."""

    @classmethod
    def claims(cls, node: Node) -> bool:
        return node.get("type") != Kind.HOSTDEV

    @classmethod
    def parse(cls, node: Node) -> Self:
        kind = node.enum("type", Kind, Kind.USER)
        mtu = node.child("mtu")
        tune = node.child("tune")
        sndbuf = tune.child("sndbuf") if tune is not None else None
        link = node.child("link")
        script = node.child("script")
        node.accept("guest", "actual")
        unset = check_host_side(node, kind)
        return cls(
            **common(node),
            kind=kind,
            netdev=parse_netdev(node, kind),
            network=_network_name(node) if kind is Kind.NETWORK else "",
            mac=parse_mac(node),
            model=parse_model(node),
            driver=NicDriver.parse(node),
            mtu=mtu.integer("size", low=0, high=0xFFFF) or None if mtu is not None else None,
            sndbuf=sndbuf.integer_text(low=0, high=1 << 40) if sndbuf is not None else None,
            rom=Rom.parse(node),
            is_failover=_failover(node),
            starts_down=link is not None and link.enum("state", LinkState, None) is LinkState.DOWN,
            unset=unset,
            script=(script.get("path") or "") if script is not None else "",
        )

    def defaulted(self, context: Context) -> Self:
        site = context.site
        model = self.model
        if not model:
            is_virtio = self.kind in (Kind.VHOSTUSER, Kind.VDPA)
            model = "virtio" if is_virtio else default_model(site)
        index = position(self, context.devices("interface"))
        mac = self.mac or derived_mac(site.host.machine_id, context.domain.name, index)
        card = replace(self, model=model, mac=mac)
        if virtio_model(model):
            card = replace(card, address=virtio_address(self, context))
        return _on_network(card, self, context) if self.kind is Kind.NETWORK else card

    def pci_kind(self, context: Context) -> PciKind | None:
        kind = virtio_model(self.model)
        if kind:
            return virtio_pci_kind(self, context, kind)
        if self.model == "usb-net" or self._is_on_board(context):
            return None
        if self.model not in PLAIN_MODELS and context.site.has_pcie_root:
            return PciKind.EXPRESS
        return PciKind.CONVENTIONAL

    def bus(self, context: Context) -> Bus | None:
        del context
        return Bus.USB if self.model == "usb-net" else None

    @property
    def boot_class(self) -> str | None:
        return "network"

    def problems(self, context: Context) -> Iterator[ConfigError]:
        if self.netdev is None:
            yield self._error(f"network '{self.network}' cannot be had here", "use another type")
        elif self._queues > 1 and not self.netdev.takes_queues:
            yield self._error(f"type='{self.kind}' has one queue", "remove queues=")
        if not virtio_model(self.model) and not self.driver.virtio.is_default:
            hint = "<model type='virtio'/>"
            yield self._error("iommu=, ats=, packed= and page_per_vq= are of virtio", hint)
        if self.is_failover and not virtio_model(self.model):
            yield self._error("<teaming> needs a virtio model", "<model type='virtio'/>")
        if self.kind in (Kind.VHOSTUSER, Kind.VDPA) and not virtio_model(self.model):
            yield self._error(f"type='{self.kind}' needs a virtio model", "<model type='virtio'/>")
        is_on_pci = self.pci_kind(context) is not None
        if self.rom.is_said and not is_on_pci and not self._is_by_net(context):
            yield self._error("<rom> is for PCI cards", "remove it")
        if self.kind is Kind.VHOSTUSER and not shares_memory(context):
            hint = "<memoryBacking><access mode='shared'/>"
            yield self._error("type='vhostuser' needs shared memory", hint)

    def notices(self, context: Context) -> Iterator[Notice]:
        yield from self.unset
        networks = context.site.host.networks
        if self.kind is Kind.NETWORK and self.network not in networks:
            yield self._notice(
                f"nothing is known of network '{self.network}': user-mode networking takes its"
                f" place (--network {self.network}=bridge:NAME would use a bridge)"
            )
        if isinstance(self.netdev, TapNet) and self.netdev.bridge and self._queues > 1:
            yield self._notice("the queues are a tap device each: type='ethernet' can have one")
        if self.script:
            yield self._notice(f"the script {self.script} is not run: set the tap device up before")

    def obstacles(self, context: Context) -> Iterator[ConfigError]:
        driver = self._driver_name()
        if not self._is_on_board(context) and not context.site.caps.has_type(driver):
            yield self._error(f"this QEMU has no network card '{self.model}'", "virtio, e1000, ...")
        if isinstance(self.netdev, TapNet) and self.netdev.direct:
            hint = "type='bridge', or type='ethernet'"
            yield self._error("macvtap (type='direct') is not supported", hint)

    def setup(self, context: Context) -> Iterator[Command]:
        del context
        if self.starts_down:
            yield Command(name="set_link", arguments={"name": self.alias, "up": False})

    def helpers(self, context: Context) -> Iterator[Helper]:
        if self.netdev is not None:
            yield from self.netdev.helpers(Plug(alias=self.alias), context)

    def details(self, context: Context) -> Iterator[tuple[str, str | int | None]]:
        del context
        yield "mac@address", self.mac or None
        yield "model@type", self.model or None

    def options(self, context: Context) -> Iterator[Option]:
        is_virtio = virtio_model(self.model) is not None
        wants_vhost = self.driver.wants_vhost
        if wants_vhost is None:  # as libvirt, which goes on in silence where it can't be opened
            wants_vhost = context.site.host.has_vhost_net
        plug = Plug(
            alias=self.alias,
            queues=self._queues,
            has_vhost=is_virtio and wants_vhost,
            mtu=self.mtu,
            sndbuf=self.sndbuf,
        )
        if self.netdev is None:  # a problem, reported by the check
            return
        yield from self.netdev.chardevs(plug, context)
        netdev = f"host{self.alias}"
        yield Option.json("netdev", {**self.netdev.props(plug, context), "id": netdev})
        if self._is_by_net(context):
            props: Props = {"type": "nic", "macaddr": self.mac, "netdev": netdev}
            props = {**props, "model": self.model, "id": self.alias}
            yield Option.keyed("net", props, implied="type")
        else:
            props = {"driver": self._driver_name(), "netdev": netdev, "mac": self.mac}
            tuning = self._virtio_props() if is_virtio else {}
            places = placed(self, context) | {"bootindex": self.boot_order}
            yield Option.json("device", {**props, **tuning, **places, **self.rom.props()})

    def _virtio_props(self) -> dict[str, Value]:
        props = self.driver.props() | {"host_mtu": self.mtu}
        if self._queues > 1:
            vectors = 2 * self._queues + 2 if isinstance(self.address, PciAddress) else None
            props |= {"mq": True, "vectors": vectors}
        return props | {"failover": True if self.is_failover else None}

    @property
    def _queues(self) -> int:
        return self.driver.queues if virtio_model(self.model) else 1

    def _driver_name(self) -> str:
        kind = virtio_model(self.model)
        return virtio_driver("virtio-net", self.address, kind) if kind else self.model

    def _is_by_net(self, context: Context) -> bool:
        """Tell whether libvirt writes `-net nic`: on ARM all that is neither virtio nor on PCI."""
        return self._is_on_board(context) or (self.model == "usb-net" and context.site.is_arm)

    def _is_on_board(self, context: Context) -> bool:
        """Tell whether the card is one that the machine makes itself, by `-net nic`."""
        if virtio_model(self.model) or not context.site.is_arm:
            return False
        if context.site.has_pcie_root:
            return False
        return self.model in BOARD_MODELS or not context.site.has_pci_root

    def _error(self, message: str, hint: str) -> ConfigError:
        return ConfigError(f"<interface>: {message}", at=self.at, hint=hint)

    def _notice(self, message: str) -> Notice:
        return Notice(self.at, f"<interface>: {message}")


class HostInterface(Interface, frozen=True, kw_only=True):
    """A host's network card, given to the guest whole."""

    ALIAS: ClassVar[str] = "hostdev"
    ALIAS_SKIPS_NAMED: ClassVar[bool] = True
    """They are counted with the host devices, and before them."""
    PCI_TURN: ClassVar[int] = PciTurn.HOSTDEV
    USB_TURN: ClassVar[int] = UsbTurn.HOSTDEV

    host: str
    """Its PCI address on the host, `0000:03:07.1`, or the path of a USB device."""
    is_usb: bool = False
    failover_pair: str | None = None

    @classmethod
    def claims(cls, node: Node) -> bool:
        return node.get("type") == Kind.HOSTDEV

    @classmethod
    def parse(cls, node: Node) -> Self:
        host, is_usb = host_card(node)
        teaming = node.child("teaming")
        node.ignore("managed")
        node.accept("model", "mac", "driver", "target")
        unset = check_host_side(node, Kind.HOSTDEV)
        return cls(
            **common(node),
            kind=Kind.HOSTDEV,
            host=host,
            is_usb=is_usb,
            mac=parse_mac(node),
            rom=Rom.parse(node),
            unset=unset,
            failover_pair=_failover_pair(teaming) if teaming is not None else None,
        )

    @classmethod
    def of(cls, card: Interface, host: str) -> Self:
        """Make one of a card on a network that is a pool of host devices."""
        return cls(
            at=card.at,
            ordinal=card.ordinal,
            alias=card.alias,
            address=card.address,
            boot_order=card.boot_order,
            kind=Kind.HOSTDEV,
            host=host,
            mac=card.mac,
            rom=card.rom,
        )

    def defaulted(self, context: Context) -> Self:
        del context
        return self

    def pci_kind(self, context: Context) -> PciKind | None:
        if self.is_usb:
            return None
        return PciKind.EXPRESS if context.site.has_pcie_root else PciKind.CONVENTIONAL

    def bus(self, context: Context) -> Bus | None:
        del context
        return Bus.USB if self.is_usb else None

    def problems(self, context: Context) -> Iterator[ConfigError]:
        driver = "usb-host" if self.is_usb else "vfio-pci"
        if not context.site.caps.has_type(driver):
            yield self._error(f"this QEMU has no {driver}", "use another type")

    def obstacles(self, context: Context) -> Iterator[ConfigError]:
        del context  # the model is none of QEMU's
        return iter(())

    def notices(self, context: Context) -> Iterator[Notice]:
        del context
        yield from self.unset
        if self.is_usb:
            yield self._notice("the card keeps its own MAC")
        else:
            yield self._notice(f"bind {self.host} to vfio-pci and set its MAC yourself, before")

    def options(self, context: Context) -> Iterator[Option]:
        if self.is_usb:
            own: Props = {"driver": "usb-host", "hostdevice": self.host}
            boot = {"bootindex": self.boot_order}
            yield Option.json("device", {**own, **boot, **placed(self, context)})
            return
        props: Props = {"driver": "vfio-pci", "host": self.host}
        places = placed(self, context) | {"bootindex": self.boot_order}
        pair = {"failover_pair_id": self.failover_pair}
        yield Option.json("device", {**props, **places, **pair, **self.rom.props()})


C = TypeVar("C", bound=Interface)


def _on_network(card: C, original: Interface, context: Context) -> C:
    """Give the card its back end by the table of networks.

    *original* is the card as the domain has it, without its defaults.
    """
    entry = context.site.host.networks.get(card.network)
    match entry.kind if entry else NetworkKind.USER:
        case NetworkKind.USER:
            return replace(card, netdev=UserNet())
        case NetworkKind.PASST:
            return replace(card, netdev=PasstNet())
        case NetworkKind.DIRECT:
            return replace(card, netdev=TapNet(direct=card.network))
        case NetworkKind.BRIDGE if entry:
            return replace(card, netdev=TapNet(bridge=entry.bridge))
        case NetworkKind.HOSTDEV if entry and entry.devices:
            cards = (other for other in context.devices("interface"))
            rivals = [
                other
                for other in cards
                if isinstance(other, Interface) and other.network == card.network
            ]
            number = min(position(original, rivals), len(entry.devices) - 1)
            return cast("C", HostInterface.of(card, entry.devices[number]))
        case _:
            return card


def _network_name(node: Node) -> str:
    source = node.required_child("source")
    source.ignore("portgroup", "portid", "bridge")
    return source.required("network")


def _failover(node: Node) -> bool:
    teaming = node.child("teaming")
    if teaming is None or teaming.get("type") is None:
        return False
    if teaming.get("type") != "persistent":
        raise teaming.error("only a host device can be transient", hint="type='persistent'")
    if teaming.get("persistent") is not None:
        raise teaming.error("type='persistent' names no other device", hint="remove persistent=")
    return True


def _failover_pair(teaming: Node) -> str:
    if teaming.required("type") != "transient":
        raise teaming.error("a host device can only be transient", hint="type='transient'")
    return teaming.required("persistent")
