"""`<redirdev>` and `<redirfilter>`: USB devices of whoever looks at the guest.

Sources: libvirt `formatdomain.rst`, "Redirected devices"; `qemuBuildRedirdevDevProps()`.
"""

import re
from collections.abc import Iterator
from typing import ClassVar, Final, Self

from msgspec.structs import replace

from qsuper.errors import ConfigError
from qsuper.options import Option, Props
from qsuper.translate.chardev import Chardev, ChardevKind
from qsuper.translate.devices.base import Context, Device, common, placed
from qsuper.translate.node import Node
from qsuper.translate.places import Bus, UsbTurn

_VERSION: Final = re.compile(r"([0-9]{1,2})\.([0-9]{1,2})", re.ASCII)
_ANY: Final = "-1"
_DBUS_NAME: Final = "org.qemu.usbredir"
"""What a D-Bus client looks for."""


class RedirFilter(Device, frozen=True, kw_only=True):
    """Which USB devices may be redirected."""

    TAG: ClassVar[str] = "redirfilter"
    ALIAS: ClassVar[str] = "redirfilter"
    IS_NAMED: ClassVar[bool] = False

    rules: tuple[str, ...]
    """In QEMU's syntax; the first that fits decides."""

    @classmethod
    def parse(cls, node: Node) -> Self:
        return cls(**common(node), rules=tuple(_rule(part) for part in node.children("usbdev")))

    def problems(self, context: Context) -> Iterator[ConfigError]:
        if len(list(context.devices(self.TAG))) > 1:
            yield ConfigError("<redirfilter>: there can be one", at=self.at, hint="put all in one")

    def options(self, context: Context) -> Iterator[Option]:
        del context
        return iter(())


class Redirdev(Device, frozen=True, kw_only=True):
    """A USB port whose device is somewhere else."""

    TAG: ClassVar[str] = "redirdev"
    ALIAS: ClassVar[str] = "redir"
    USB_TURN: ClassVar[int] = UsbTurn.REDIRDEV

    chardev: Chardev

    @classmethod
    def parse(cls, node: Node) -> Self:
        bus = node.get("bus")
        if bus not in (None, "usb"):
            raise node.error(f"bus='{bus}' is unknown", hint="usb")
        node.required("type")
        chardev = Chardev.parse(node)
        if chardev.kind is ChardevKind.DBUS and not chardev.channel:
            chardev = replace(chardev, channel=_DBUS_NAME)
        return cls(**common(node), chardev=chardev)

    def bus(self, context: Context) -> Bus | None:
        del context
        return Bus.USB

    def problems(self, context: Context) -> Iterator[ConfigError]:
        yield from self.chardev.problems(context)
        if not context.site.caps.has_type("usb-redir"):
            text = "<redirdev>: this QEMU has no usb-redir"
            yield ConfigError(text, at=self.at, hint="remove it")

    def options(self, context: Context) -> Iterator[Option]:
        yield from self.chardev.options(self.alias, context.site.caps, spice="usbredir")
        filters = (device for device in context.devices("redirfilter"))
        rules = next((part.rules for part in filters if isinstance(part, RedirFilter)), ())
        props: Props = {"driver": "usb-redir", "chardev": f"char{self.alias}"}
        places = placed(self, context) | {"bootindex": self.boot_order}
        yield Option.json("device", {**props, "filter": "|".join(rules) or None, **places})


def _rule(node: Node) -> str:
    """Write one rule: class:vendor:product:version:allow."""
    parts = [
        _hex(node, "class", 2, 0xFF),
        _hex(node, "vendor", 4, 0xFFFF),
        _hex(node, "product", 4, 0xFFFF),
        _version(node),
    ]
    allow = node.yes_no("allow")
    if allow is None:
        raise node.error("attribute 'allow' is missing", hint="yes or no")
    return ":".join([*parts, str(int(allow))])


def _hex(node: Node, name: str, digits: int, high: int) -> str:
    value = node.integer(name, low=-1, high=high)
    return _ANY if value in (None, -1) else f"0x{value:0{digits}X}"


def _version(node: Node) -> str:
    text = node.get("version")
    if text is None or text == _ANY:
        return _ANY
    found = _VERSION.fullmatch(text)
    if not found:
        raise node.error(f"version='{text}' is no version", hint="like 1.10")
    # Binary coded decimal: 2.1 is 0x0210.
    return f"0x{found[1]:0>2}{found[2]:0<2}"
