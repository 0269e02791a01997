"""Domains for the tests of the translation, from the few lines that a test is about."""

import json
from typing import Any

from qsuper.caps import Caps
from qsuper.errors import ConfigError, ConfigErrors
from qsuper.options import Form, Option
from qsuper.translate.model import Translation
from qsuper.translate.node import parse_xml
from qsuper.translate.passes import translate
from qsuper.translate.site import HostData
from tests.support.emulators import emulator

FIRST_DEVICE_LINE = 6
"""The line of the first device of a `domain`."""

Props = dict[str, Any]


def domain(devices: str, *, machine: str = "pc", arch: str = "x86_64", parts: str = "") -> bytes:
    """Give a domain with these devices; they begin in line FIRST_DEVICE_LINE."""
    return (
        f"<domain type='qemu'><name>vm</name>\n"
        f"<uuid>00000000-0000-0000-0000-000000000001</uuid><memory unit='MiB'>64</memory>\n"
        f"<os><type arch='{arch}' machine='{machine}'>hvm</type></os>{parts}\n"
        f"<devices>\n<emulator>/usr/bin/qemu</emulator>\n{devices}\n</devices></domain>"
    ).encode()


def translated(
    devices: str,
    *,
    machine: str = "pc",
    arch: str = "x86_64",
    parts: str = "",
    caps: Caps | None = None,
    host: HostData | None = None,
) -> Translation:
    """Translate a domain with these devices; its files are taken from `/vm`."""
    xml = domain(devices, machine=machine, arch=arch, parts=parts)
    root = parse_xml(xml, "vm.xml", "/vm")
    return translate(root, caps or emulator(arch), host or HostData(machine_id="m"))


def errors(devices: str, **kwargs: Any) -> list[str]:  # noqa: ANN401 - as `translated`
    """Give the messages for a domain that is wrong; empty if it is not."""
    try:
        translated(devices, **kwargs)
    except ConfigErrors as several:
        return [str(error) for error in several.errors]
    except ConfigError as error:
        return [str(error)]
    return []


def obstacles(devices: str, **kwargs: Any) -> list[str]:  # noqa: ANN401 - as `translated`
    """Give what keeps a domain from being started that is otherwise well."""
    return [str(obstacle) for obstacle in translated(devices, **kwargs).obstacles]


def options(translation: Translation, name: str) -> list[Props]:
    """Give all options of this name as QEMU sees them, bare words as keys without a value."""
    found = [option for option in translation.plan.options if option.name == name]
    return [_props(option) for option in found]


def _props(option: Option) -> Props:
    word = option.argv()[1]
    if option.form is Form.JSON:
        props: Props = json.loads(word)
        return props
    pairs = (pair.partition("=") for pair in word.split(","))
    return {key: value for key, _, value in pairs}


def device(translation: Translation, ident: str) -> Props:
    """Give the `-device` of this id.

    Raises:
        KeyError: there is none.
    """
    return {props["id"]: props for props in options(translation, "device") if "id" in props}[ident]
