"""The options that the supervisor adds around a launch plan's own.

The relative paths are the domain's: sockets in its runtime directory, which is QEMU's working
directory; logs in its state directory.
"""

import re
from collections.abc import Iterator
from typing import Final

from qsuper.options import Access, Form, Handle, OpenFile, Option, Props, UnixListener
from qsuper.plan import Console, LaunchPlan

MONITORS: Final = ("qmp", "sync", "monitor")
"""The supervisor's own, the group's for `stop` and `cont`, the users'; each NAME.sock."""

_SANDBOX: Final[Props] = {
    "enable": True,
    "obsolete": "deny",
    "elevateprivileges": "deny",
    "spawn": "deny",
    "resourcecontrol": "deny",
}
_FD_SET: Final = re.compile(r"(?:^|,)set=(\d+)|/dev/fdset/(\d+)")


def framed(plan: LaunchPlan) -> tuple[Option, ...]:
    """Give all of QEMU's options: the plan's, with name, monitors, logs and sandbox."""
    name: Props = {"guest": plan.name, "debug-threads": True}
    sets = _first_free_set(plan)
    logs = {console.chardev: console for console in plan.consoles if not console.logged}
    body: list[Option] = []
    for option in plan.options:
        console = logs.get(str(option.props.get("id"))) if option.name == "chardev" else None
        if console is None or option.form is not Form.KEYED:
            body.append(option)
        else:
            body.extend(_logged(option, console, sets))
            sets += 1
    return (
        Option.keyed("name", name),
        Option.flag("S"),
        *([Option.word("incoming", "defer")] if plan.saved is not None else []),
        *body,
        *(option for monitor in MONITORS for option in _monitor(monitor)),
        *([Option.keyed("sandbox", _SANDBOX, implied="enable")] if plan.has_sandbox else []),
        Option.keyed("msg", {"timestamp": True}),
    )


def log_name(console: Console) -> str:
    """Give the name of a console's log file in the domain's state directory."""
    return f"{console.alias}.log"


def _monitor(name: str) -> Iterator[Option]:
    chardev = f"qsuper-{name}"
    listener = Handle(resource=UnixListener(name=name), shown=f"{name}.sock", live_key="fd")
    props: Props = {
        "backend": "socket",
        "id": chardev,
        "path": listener,
        "server": True,
        "wait": False,
    }
    yield Option.keyed("chardev", props, implied="backend")
    yield Option.keyed("mon", {"chardev": chardev, "id": f"{chardev}-mon", "mode": "control"})


def _logged(option: Option, console: Console, fd_set: int) -> Iterator[Option]:
    """QEMU holds the log file itself: our end blocks nobody."""
    file = OpenFile(name=f"{console.alias}-log", path=log_name(console), access=Access.APPEND)
    handle = Handle(resource=file, shown=f"<{log_name(console)}>")
    yield Option.keyed("add-fd", {"set": fd_set, "fd": handle, "opaque": file.name})
    props: Props = {
        **option.props,
        "logfile": f"/dev/fdset/{fd_set}",
        "logappend": True,
    }
    yield Option(option.name, option.form, props, option.implied)


def _first_free_set(plan: LaunchPlan) -> int:
    words = (word for option in plan.options for word in option.argv())
    used = (
        int(number) for word in words for pair in _FD_SET.findall(word) for number in pair if number
    )
    return max(used, default=-1) + 1
