"""From the XML tree to a `Domain` that holds what the file says and no more."""

import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Final, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from qsuper.errors import ConfigError, ConfigErrors
from qsuper.translate.controllers import inserted
from qsuper.translate.families import of_tag, ordered
from qsuper.translate.model import Device, Domain
from qsuper.translate.node import Node
from qsuper.translate.parts.clock import Clock
from qsuper.translate.parts.cpu import Cpu
from qsuper.translate.parts.fabric import Fabric
from qsuper.translate.parts.features import Features
from qsuper.translate.parts.iothreads import Iothreads
from qsuper.translate.parts.lifecycle import LifecyclePart
from qsuper.translate.parts.memory import Memory
from qsuper.translate.parts.numa import Numa
from qsuper.translate.parts.os import Os
from qsuper.translate.parts.passthrough import Passthrough
from qsuper.translate.parts.pm import Pm
from qsuper.translate.parts.rest import accept_harmless, refused
from qsuper.translate.parts.sysinfo import Sysinfo
from qsuper.translate.parts.throttle import Throttle
from qsuper.translate.parts.tuning import Tuning
from qsuper.translate.parts.vcpu import Vcpu

T = TypeVar("T")

_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-?[0-9a-fA-F]{4}){3}-?[0-9a-fA-F]{12}")
_LONGEST_NAME: Final = 200  # it becomes the name of a directory
_OTHERS: Final = ("emulator", "domaindependency")  # under <devices>, and no device


class Parsed(Struct, frozen=True):
    """A domain as it was read, and what could not be: devices, or elements that are refused."""

    domain: Domain
    errors: tuple[ConfigError, ...] = ()


def parse(root: Node) -> Parsed:
    """Read a domain.

    Raises:
        ConfigErrors: a part of it is wrong; it holds everything that was found.
    """
    if root.tag != "domain":
        raise ConfigErrors([root.error("this is no domain", hint="the root must be <domain>")])
    reader = _Reader(root)
    domain = reader.domain()
    accept_harmless(root)
    if domain is None:
        raise ConfigErrors(reader.errors)
    return Parsed(domain, tuple(reader.errors))


class _Reader:
    """Reads part by part and goes on after an error, to find them all."""

    def __init__(self, root: Node) -> None:
        self.root = root
        self.errors: list[ConfigError] = []

    def domain(self) -> Domain | None:
        root = self.root
        is_kvm = self._tried(_is_kvm, root)
        name = self._tried(_name, root)
        uuid = self._tried(_uuid, root)
        os = self._tried(Os.parse, root)
        memory = self._tried(Memory.parse, root)
        numa = self._tried(Numa.parse, root)
        vcpu = self._tried(Vcpu.parse, root)
        cpu = self._tried(Cpu.parse, root)
        features = self._tried(Features.parse, root)
        clock = self._tried(Clock.parse, root)
        lifecycle = self._tried(LifecyclePart.parse, root)
        sysinfo = self._tried(Sysinfo.parse, root)
        pm = self._tried(Pm.parse, root)
        passthrough = self._tried(Passthrough.parse, root)
        iothreads = self._tried(Iothreads.parse, root)
        throttle = self._tried(Throttle.parse, root)
        tuning = self._tried(Tuning.parse, root)
        fabric = self._tried(Fabric.parse, root)
        has_all_parts = not self.errors
        self.errors.extend(refused(root))
        devices: tuple[Device, ...] = ()
        for ordinal, device in enumerate(self._devices(), start=1):
            devices = inserted(devices, replace(device, ordinal=ordinal))
        if not has_all_parts:
            return None
        return Domain(
            at=root.at,
            name=_there(name),
            uuid=_there(uuid),
            is_kvm=_there(is_kvm),
            emulator=_emulator(root),
            os=_there(os),
            memory=_there(memory),
            numa=_there(numa),
            vcpu=_there(vcpu),
            cpu=_there(cpu),
            features=_there(features),
            clock=_there(clock),
            lifecycle=_there(lifecycle),
            sysinfo=_there(sysinfo),
            pm=_there(pm),
            passthrough=_there(passthrough),
            iothreads=_there(iothreads),
            throttle=_there(throttle),
            tuning=_there(tuning),
            fabric=_there(fabric),
            devices=ordered(devices),
        )

    def _tried(self, read: Callable[[Node], T], node: Node) -> T | None:
        try:
            return read(node)
        except ConfigError as error:
            self.errors.append(error)
        except ConfigErrors as several:
            self.errors.extend(several.errors)
        return None

    def _devices(self) -> Iterator[Device]:
        for node in device_nodes(self.root):
            device = self._tried(_device, node)
            if device is not None:
                yield device


def device_nodes(root: Node) -> Iterator[Node]:
    """Give the elements that are devices, as `Device.ordinal` counts them."""
    for section in root.children("devices"):
        for node in section.children():
            if node.tag not in _OTHERS and not node.tag.startswith("{"):
                yield node


def _device(node: Node) -> Device:
    is_known = False
    for family in of_tag(node.tag):
        if family.claims(node):
            return family.parse(node)
        is_known = True
    if is_known:
        raise node.error(f"type='{node.get('type') or ''}' is not supported")
    raise node.error(f"device <{node.tag}> is not supported")


def _is_kvm(root: Node) -> bool:
    kind = root.required("type")
    if kind not in ("kvm", "qemu"):
        raise root.error(f"type='{kind}' is not supported", hint="kvm or qemu")
    return kind == "kvm"


def _name(root: Node) -> str:
    node = root.required_child("name")
    name = node.text
    if not name:
        raise node.error("the name is empty")
    if "/" in name or name in (".", "..") or not name.isprintable():
        raise node.error(f"{name!r} can't be a name", hint="no slash, no control characters")
    if len(name.encode()) > _LONGEST_NAME:
        raise node.error("the name is too long", hint=f"at most {_LONGEST_NAME} bytes")
    return name


def _uuid(root: Node) -> str:
    node = root.child("uuid")
    if node is None:
        return ""
    if not _UUID.fullmatch(node.text):
        raise node.error(f"'{node.text[:60]}' is no uuid", hint="8-4-4-4-12 hexadecimal digits")
    digits = node.text.replace("-", "").lower()
    cuts = (0, 8, 12, 16, 20, 32)
    return "-".join(digits[a:b] for a, b in pairwise(cuts))


def _emulator(root: Node) -> str | None:
    for section in root.children("devices"):
        for node in section.children("emulator"):
            return node.file_text() or None
    return None


def _there(value: T | None) -> T:
    if value is None:  # then there was an error, and nobody asks
        raise AssertionError("a part is missing without an error")
    return value
