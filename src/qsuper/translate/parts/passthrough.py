"""`<qemu:...>`: what the XML says to QEMU itself."""

import re
from collections.abc import Iterator, Mapping
from enum import StrEnum, unique
from typing import Final, Self

from msgspec import Struct, field
from msgspec.structs import replace

from qsuper.location import Notice
from qsuper.options import Form, Option, Value
from qsuper.translate.node import Node

QEMU: Final = "{http://libvirt.org/schemas/domain/qemu/1.0}"
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
OURS: Final = "{urn:qsuper:domain:1}"


@unique
class Deprecation(StrEnum):
    """What QEMU does with what will go away."""

    NONE = "none"
    OMIT = "omit"
    REJECT = "reject"
    CRASH = "crash"


@unique
class _PropertyType(StrEnum):
    STRING = "string"
    SIGNED = "signed"
    UNSIGNED = "unsigned"
    BOOL = "bool"
    REMOVE = "remove"


_COMPAT: Final = {
    Deprecation.NONE: None,
    Deprecation.OMIT: {"deprecated-output": "hide"},
    Deprecation.REJECT: {"deprecated-output": "hide", "deprecated-input": "reject"},
    Deprecation.CRASH: {"deprecated-output": "hide", "deprecated-input": "crash"},
}


class Passthrough(Struct, frozen=True, kw_only=True):
    """Arguments, environment and overrides for QEMU."""

    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    deprecation: Deprecation = Deprecation.NONE
    overrides: Mapping[str, Mapping[str, Value]] = field(
        default_factory=dict[str, Mapping[str, Value]]
    )
    """Props by the alias of the device; None removes one."""
    remarks: tuple[Notice, ...] = ()

    @classmethod
    def parse(cls, node: Node) -> Self:
        """Read the elements of the `qemu` namespace.

        Raises:
            ConfigError: an argument has no value, a property is of no known type.
        """
        lines = list(node.children(f"{QEMU}commandline"))
        words = [arg.get("value") for line in lines for arg in line.children(f"{QEMU}arg")]
        variables = [variable for line in lines for variable in line.children(f"{QEMU}env")]
        deprecation = node.child(f"{QEMU}deprecation")
        return cls(
            args=tuple(_value(word, node) for word in words),
            env={_name(var): var.get("value") or "" for var in variables},
            deprecation=(
                deprecation.enum("behavior", Deprecation)
                if deprecation is not None
                else Deprecation.NONE
            ),
            overrides=dict(_overrides(node)),
            remarks=tuple(_remarks(node)),
        )

    def notices(self) -> Iterator[Notice]:
        """Give what was read and has no effect."""
        yield from self.remarks

    def compat_options(self) -> Iterator[Option]:
        """Give `-compat`; it stands first."""
        props = _COMPAT[self.deprecation]
        if props is not None:
            yield Option.json("compat", props)

    def options(self) -> Iterator[Option]:
        """Give the user's own arguments."""
        if self.args:
            yield Option.raw(*self.args)

    def overridden(self, option: Option) -> Option:
        """Give *option* with what `<qemu:override>` says of the device that has its id."""
        if option.name != "device" or option.form is not Form.JSON:
            return option
        props = self.overrides.get(str(option.props.get("id", "")))
        return replace(option, props={**option.props, **props}) if props else option


def _value(word: str | None, node: Node) -> str:
    if word is None:
        raise node.error("a <qemu:arg> has no attribute 'value'")
    return word


def _name(variable: Node) -> str:
    name = variable.required("name")
    if not _VARIABLE.fullmatch(name):
        raise variable.error(f"name='{name[:60]}' is no variable's", hint="letters, digits, _")
    return name


def _overrides(node: Node) -> Iterator[tuple[str, dict[str, Value]]]:
    parent = node.child(f"{QEMU}override")
    for device in parent.children(f"{QEMU}device") if parent is not None else ():
        props: dict[str, Value] = {}
        for front in device.children(f"{QEMU}frontend"):
            for found in front.children(f"{QEMU}property"):
                props[found.required("name")] = _property(found)
        yield device.required("alias"), props


def _property(found: Node) -> Value:
    match found.enum("type", _PropertyType):
        case _PropertyType.REMOVE:
            if found.get("value") is not None:
                raise found.error("type='remove' leaves no value", hint="remove value=")
            return None
        case _PropertyType.STRING:
            text = found.get("value")
            if text is None:
                raise found.error("attribute 'value' is missing")
            return text
        case _PropertyType.SIGNED:
            return found.required_integer("value", low=-(1 << 63), high=(1 << 63) - 1)
        case _PropertyType.UNSIGNED:
            return found.required_integer("value", low=0, high=(1 << 64) - 1)
        case _PropertyType.BOOL:
            text = found.required("value")
            if text not in ("true", "false"):
                raise found.error(f"value='{text}' is unknown", hint="true or false")
            return text == "true"


def _remarks(node: Node) -> Iterator[Notice]:
    parent = node.child(f"{QEMU}capabilities")
    for found in parent.children(f"{QEMU}add", f"{QEMU}del") if parent is not None else ():
        name = found.required("capability")
        yield found.notice(
            f"capability='{name}' has no effect: qsuper asks the emulator what it can do"
        )
