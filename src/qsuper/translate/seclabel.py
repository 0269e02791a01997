"""`<seclabel>`: labels for the host's security drivers, which are checked, and then ignored.

Source: libvirt `formatdomain.rst`, "Security label".
"""

from collections.abc import Iterator
from enum import StrEnum, unique

from qsuper.errors import ConfigError
from qsuper.translate.node import Node


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
