"""`<seclabel>`: labels for the host's security drivers, which are checked, and then ignored.

Source: libvirt `formatdomain.rst`, "Security label".
"""

from collections.abc import Iterator
from enum import StrEnum, unique
from typing import Final

from qsuper.errors import ConfigError
from qsuper.translate.node import Node

_LABELLED: Final = ("disk", "serial", "parallel", "console", "channel")
"""The devices whose files libvirt labels."""
_UNLABELLED: Final = ("mirror", "dataStore")
"""What of a disk it looks for no labels in."""


@unique
class _Kind(StrEnum):
    DEFAULT = "default"
    NONE = "none"
    DYNAMIC = "dynamic"
    STATIC = "static"


def accept_labels(source: Node) -> None:
    """Take the labels of a device's `<source>` as read.

    Raises:
        ConfigError: they contradict themselves.
    """
    seen: set[str] = set()
    for found in source.children("seclabel"):
        model, relabels = found.get("model"), found.yes_no("relabel")
        has_label = bool(found.child_text("label"))
        if relabels and not has_label:
            raise found.error("relabel='yes' needs a <label>", hint="add it")
        if relabels is False and has_label:
            raise found.error("relabel='no' leaves no use for a <label>", hint="remove one")
        if model is not None and model in seen:
            raise found.error(f"model='{model}' is given twice", hint="one of each")
        seen.add(model or "")
        found.accept()


def label_problems(domain: Node) -> Iterator[ConfigError]:
    """Take the labels of `<domain>` as read; give what is wrong with them."""
    labels = list(domain.children("seclabel"))
    seen: set[str] = set()
    for found in labels:
        model = found.get("model")
        try:
            yield from _problems(found, is_only=len(labels) == 1)
        except ConfigError as error:
            yield error
        if model is not None and model in seen:
            yield found.error(f"model='{model}' is given twice", hint="one of each")
        seen.add(model or "")
        found.accept()
    yield from _override_problems(
        domain, {label.get("model") for label in labels if _is_fixed(label)}
    )


def _is_fixed(found: Node) -> bool:
    return found.get("type") in (_Kind.NONE, _Kind.STATIC) and found.get("relabel") != "yes"


def _override_problems(domain: Node, models: set[str | None]) -> Iterator[ConfigError]:
    devices = domain.child("devices")
    for device in devices.elements if devices is not None else ():
        for found in _labels(device) if device.tag in _LABELLED else ():
            model = found.get("model")
            if model is not None and model in models:
                text = f"the domain's <seclabel model='{model}'> has nothing relabelled"
                yield found.error(text, hint="relabel='yes' there")


def _labels(node: Node) -> Iterator[Node]:
    for part in node.elements:
        if part.tag == "seclabel":
            yield part
        elif part.tag not in _UNLABELLED:
            yield from _labels(part)


def _problems(found: Node, *, is_only: bool) -> Iterator[ConfigError]:
    kind, relabels = found.enum("type", _Kind, None), found.yes_no("relabel")
    has_label = bool(found.child_text("label"))
    is_chosen = is_only and kind in (_Kind.NONE, _Kind.DYNAMIC)
    if not found.get("model") and not is_chosen:
        yield found.error("attribute 'model' is missing", hint="selinux, apparmor or dac")
    if kind is _Kind.STATIC and not has_label:
        yield found.error("type='static' needs a <label>", hint="add it")
    if kind is _Kind.NONE and relabels:
        yield found.error("type='none' has nothing to relabel", hint="relabel='no'")
    if kind in (None, _Kind.DEFAULT, _Kind.DYNAMIC) and relabels is False:
        yield found.error("type='dynamic' always relabels", hint="type='static'")
