"""Group plans as JSON: how a plan reaches the supervisor, and how its successor reads it.

Structs become objects with their class under `$class`, enums their value under `$enum`;
tuples become lists and come back as tuples.
"""

import json
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Final, cast

from msgspec import Struct

from qsuper import options, plan
from qsuper.plan import GroupPlan

_CLASSES: Final[dict[str, Callable[..., object]]] = {
    kind.__name__: kind
    for kind in (
        options.AtLaunch,
        options.Doorbell,
        options.FreePort,
        options.Handle,
        options.HelperLink,
        options.Joined,
        options.Null,
        options.OpenFile,
        options.Option,
        options.Readiness,
        options.SharedMemory,
        options.Tap,
        options.UnixListener,
        options.VhostNet,
        plan.Command,
        plan.Console,
        plan.GroupPlan,
        plan.Helper,
        plan.LaunchPlan,
        plan.Lifecycle,
        plan.LogLimits,
        plan.Meeting,
        plan.Member,
        plan.PlugCpu,
        plan.SavedState,
        plan.Seed,
        plan.Setup,
        plan.Signal,
        plan.Vector,
    )
}
_ENUMS: Final = {
    kind.__name__: kind
    for kind in (
        options.Access,
        options.Form,
        plan.ConsoleKind,
        plan.OnEnd,
        plan.OnSignal,
        plan.Role,
    )
}


def dumps(group: GroupPlan) -> str:
    """Write a group plan as JSON, on one line."""
    return json.dumps(_encode(group), separators=(",", ":"))


def loads(text: str | bytes) -> GroupPlan:
    """Read what `dumps` wrote.

    Raises:
        ValueError: *text* is no group plan, or one of another version of qsuper.
    """
    try:
        result = _decode(json.loads(text))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"not a group plan: {error!r}") from error
    if not isinstance(result, GroupPlan):
        raise ValueError("not a group plan")  # noqa: TRY004 - the caller knows one error
    return result


def _encode(value: object) -> object:
    if isinstance(value, StrEnum):
        if type(value) not in _ENUMS.values():
            return value.value  # a device family's: among the props it is a word for QEMU
        return {"$enum": [type(value).__name__, value.value]}
    if isinstance(value, Struct):
        content = {name: _encode(getattr(value, name)) for name in value.__struct_fields__}
        return {"$class": type(value).__name__, **content}
    if isinstance(value, Mapping):
        mapping = cast("Mapping[str, object]", value)
        return {key: _encode(part) for key, part in mapping.items()}
    if isinstance(value, tuple | list):
        return [_encode(part) for part in cast("tuple[object, ...]", value)]
    return value


def _decode(value: object) -> object:
    if isinstance(value, list):
        return tuple(_decode(part) for part in cast("list[object]", value))
    if not isinstance(value, dict):
        return value
    content = cast("dict[str, object]", value)
    if "$enum" in content:
        name, word = cast("list[str]", content["$enum"])
        return _ENUMS[name](word)
    decoded = {key: _decode(part) for key, part in content.items() if key != "$class"}
    if "$class" in content:
        return _CLASSES[str(content["$class"])](**decoded)
    return decoded
