"""`<channel>`: named lines between host and guest, by virtio-serial or the user-mode network.

Sources: libvirt `formatdomain.rst`, "Channel"; `qemuDomainPrepareChannel`,
`qemuDomainChrDefDropDefaultPath`, `qemuBuildChannelChrDeviceProps`.
"""

import posixpath
import re
from collections.abc import Iterator
from enum import StrEnum, unique
from typing import ClassVar, Final, Self

from msgspec.structs import replace

from qsuper.errors import ConfigError
from qsuper.options import Option, Value
from qsuper.plan import Console
from qsuper.translate.chardev import Chardev, ChardevKind
from qsuper.translate.devices.base import Context, Device, common, placed
from qsuper.translate.model import Need
from qsuper.translate.node import Node
from qsuper.translate.places import Bus, VirtioSerialAddress

_SPICE_NAME: Final = "com.redhat.spice.0"
_GENERATED: Final = re.compile(
    r"(/var/lib/libvirt/qemu|(/var)?/run/libvirt/qemu)/channel/(target/)?"
    r"([^/]+\.|domain-[^/]+/|[0-9]+-[^/]+/)(?P<name>[^/]+)"
)
"""Paths that libvirt made up in an earlier run, under another name or id."""


@unique
class ChannelTarget(StrEnum):
    """How the guest reaches the channel, `<target type=>`."""

    VIRTIO = "virtio"
    GUESTFWD = "guestfwd"
    """A TCP address of the user-mode network."""


class Channel(Device, frozen=True, kw_only=True):
    """A channel."""

    TAG: ClassVar[str] = "channel"
    ALIAS: ClassVar[str] = "channel"

    chardev: Chardev
    target: ChannelTarget
    name: str = ""
    """The port's, by which the guest finds it."""
    forward: tuple[str, int] = ("", 0)
    """Address and port that are forwarded."""

    @classmethod
    def parse(cls, node: Node) -> Self:
        target_node = node.required_child("target")
        target = target_node.enum("type", ChannelTarget)
        chardev = Chardev.parse(node)
        name, forward = "", ("", 0)
        if target is ChannelTarget.VIRTIO:
            target_node.ignore("state")  # what an earlier run saw
            name = target_node.get("name") or ""
        else:
            host = target_node.required("address")
            forward = (host, target_node.required_integer("port", low=1, high=65535))
        if not name and chardev.kind is ChardevKind.SPICEVMC:
            name = _SPICE_NAME
        found = _GENERATED.fullmatch(chardev.path)
        if found and target is ChannelTarget.VIRTIO and name.endswith(found["name"]):
            chardev = replace(chardev, path="")
        return cls(**common(node), chardev=chardev, target=target, name=name, forward=forward)

    def defaulted(self, context: Context) -> Self:
        if self.address is not None and not isinstance(self.address, VirtioSerialAddress):
            raise self._error("the address does not fit", "type='virtio-serial'")
        chardev = self.chardev
        is_virtio = self.target is ChannelTarget.VIRTIO
        if is_virtio and chardev.kind is ChardevKind.UNIX and not chardev.path:
            shown = posixpath.join(
                context.site.host.channel_dir,
                context.domain.name,
                self.name.replace("/", "_") or f"vioser-{self._controller:02}.sock",
            )
            chardev = replace(chardev, listens=True, shown=shown)
        return replace(self, chardev=chardev)

    @property
    def _controller(self) -> int:
        address = self.address
        return address.controller if isinstance(address, VirtioSerialAddress) else 0

    def implied(self, context: Context) -> Iterator[Need]:
        del context
        if self.target is ChannelTarget.VIRTIO:
            yield Need("virtio-serial", self._controller)

    def bus(self, context: Context) -> Bus | None:
        del context
        return Bus.VIRTIO_SERIAL if self.target is ChannelTarget.VIRTIO else None

    def problems(self, context: Context) -> Iterator[ConfigError]:
        yield from self.chardev.problems(context)
        if self.chardev.kind is ChardevKind.SPICEVMC and self.name != _SPICE_NAME:
            text = f"a spicevmc channel can't be named '{self.name}'"
            yield self._error(text, _SPICE_NAME)
        if not _is_host(self.forward[0]):
            yield self._error(f"address='{self.forward[0][:60]}' is no IP address")

    def _error(self, message: str, hint: str = "") -> ConfigError:
        return ConfigError(f"<channel>: {message}", at=self.at, hint=hint)

    def options(self, context: Context) -> Iterator[Option]:
        yield from self.chardev.options(self.alias, context.site.caps)
        if self.target is ChannelTarget.GUESTFWD:
            host, port = self.forward
            rule = f"tcp:{host}:{port}-chardev:char{self.alias}"
            forwards: list[Value] = [{"str": rule}]
            props: dict[str, Value] = {"type": "user", "id": self.alias, "guestfwd": forwards}
            yield Option.json("netdev", props)
            return
        props = {
            "driver": "virtserialport",
            "chardev": f"char{self.alias}",
            "name": self.name or None,
        }
        yield Option.json("device", props | placed(self, context))

    def consoles(self, context: Context) -> Iterator[Console]:
        del context
        yield self.chardev.console(self.alias)


def _is_host(text: str) -> bool:
    return not text or re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,3}){3}", text) is not None
