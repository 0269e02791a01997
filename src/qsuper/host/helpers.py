"""Where the programs of a plan's helpers are on this host."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

from msgspec.structs import replace

from qsuper.errors import UnavailableError
from qsuper.plan import GroupPlan, Helper, LaunchPlan, Member

_VIRTIOFSD: Final = "virtiofsd"
_DESCRIPTORS: Final = (  # QEMU, docs/interop/vhost-user.json
    "/etc/qemu/vhost-user",
    "/usr/share/qemu/vhost-user",
)
_OUTSIDE_PATH: Final = ("/usr/libexec", "/usr/lib/qemu")


def with_helpers(group: GroupPlan) -> GroupPlan:
    """Give the group with the absolute paths of all helpers' programs.

    Raises:
        UnavailableError: some are not installed.
    """
    lacks: dict[str, None] = {}
    members = tuple(_member(member, lacks) for member in group.members)
    if lacks:
        raise UnavailableError("\n".join(lacks))
    return replace(group, members=members)


def _member(member: Member, lacks: dict[str, None]) -> Member:
    plan = member.plan
    helpers = tuple(_helper(plan, helper, lacks) for helper in plan.helpers)
    return replace(member, plan=replace(plan, helpers=helpers))


def _helper(plan: LaunchPlan, helper: Helper, lacks: dict[str, None]) -> Helper:
    def program(name: str, package: str) -> str:
        path = _found(name)
        if path is None:
            what = f"{plan.name}: {helper.serves} needs {name}, which is not here"
            lacks[f"{what} (Debian has it in {package})"] = None
        return path or name

    setup = helper.setup
    if setup is not None:
        setup = replace(setup, program=program(setup.program, setup.package))
    return replace(helper, program=program(helper.program, helper.package), setup=setup)


def _found(name: str) -> str | None:
    if os.path.isabs(name):
        return name if os.access(name, os.X_OK) else None
    named = list(_by_descriptor()) if name == _VIRTIOFSD else []
    for path in (*named, *(os.path.join(directory, name) for directory in _OUTSIDE_PATH)):
        if os.access(path, os.X_OK):
            return path
    return shutil.which(name)


def _by_descriptor() -> Iterator[str]:
    """Give what the descriptors of vhost-user programs say serves files, the first best."""
    names: dict[str, str] = {}
    for directory in reversed(_DESCRIPTORS):
        for name in os.listdir(directory) if os.path.isdir(directory) else ():
            if name.endswith(".json"):
                names[name] = os.path.join(directory, name)  # one hides its namesakes below
    for name in sorted(names):
        content = _content(names[name])
        if content.get("type") == "fs" and isinstance(binary := content.get("binary"), str):
            yield binary


def _content(path: str) -> Mapping[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
    except (OSError, ValueError):
        return {}
    return cast("Mapping[str, Any]", content) if isinstance(content, dict) else {}
