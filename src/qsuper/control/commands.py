"""The commands of the control protocol, and what each asks of the group."""

import os
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias, TypeVar, cast

from qsuper import __version__
from qsuper.control.wire import CommandNotFoundError
from qsuper.errors import QsuperError, UnavailableError, UsageError
from qsuper.plan import Console, ConsoleKind
from qsuper.runtime import rundir
from qsuper.runtime.doorbells import Doorbells
from qsuper.runtime.frame import log_name
from qsuper.runtime.group import Group
from qsuper.runtime.guest import Guest
from qsuper.runtime.qmp import CommandError
from qsuper.runtime.save import Saver

Json: TypeAlias = Any  # arguments and answers
Arguments = Mapping[str, Json]
T = TypeVar("T")

_LONGEST_S: Final = 1_000_000.0
_STEERING: Final = frozenset({"suspend", "resume", "shutdown", "reset", "reboot", "restart"})
"""Not while the group is saved."""


class Commands:
    """What a client can ask for. `run` is the only way in."""

    def __init__(self, group: Group, doorbells: Doorbells, saver: Saver, *, grace_s: float) -> None:
        """Take the group and its parts, and the timeout of a `down` that gives none."""
        self._group = group
        self._saver = saver
        self._doorbells = doorbells
        self._grace_s = grace_s
        self._table: dict[str, tuple[frozenset[str], Callable[[Arguments], Awaitable[Json]]]] = {
            "list": (frozenset(), self._list),
            "status": (frozenset(), self._status),
            "info": (frozenset({"domain"}), self._info),
            "suspend": (frozenset({"domain"}), self._suspend),
            "resume": (frozenset({"domain"}), self._resume),
            "destroy": (frozenset({"domain"}), self._destroy),
            "shutdown": (frozenset({"domain"}), self._shutdown),
            "down": (frozenset({"domain", "timeout"}), self._down),
            "reset": (frozenset({"domain", "group"}), self._reset),
            "reboot": (frozenset({"domain", "group"}), self._reboot),
            "restart": (frozenset({"domain", "group"}), self._restart),
            "signal": (frozenset({"domain", "vector", "shmem"}), self._signal),
            "save": (frozenset({"domain", "directory"}), self._save),
            "qmp": (frozenset({"domain", "command"}), self._qmp),
            "console": (frozenset({"domain", "alias"}), self._console),
        }

    async def run(self, command: str, arguments: Arguments) -> Json:
        """Run a command and give its answer.

        Raises:
            CommandNotFoundError: there is none of that name.
            UsageError: its arguments are wrong.
            QsuperError: it failed.
        """
        if command not in self._table:
            raise CommandNotFoundError(f"no command {command!r}")
        known, perform = self._table[command]
        if unknown := arguments.keys() - known:
            raise UsageError(f"{command}: unknown argument {min(unknown)!r}")
        await self._group.ready()
        if command not in _STEERING:
            return await perform(arguments)
        with self._group.steering.verb():
            return await perform(arguments)

    def status(self) -> Json:
        """Give what `status` returns."""
        rows = [row(guest, self._group) for guest in self._group.guests.values()]
        return {
            "pid": os.getpid(),
            "group": self._group.name,
            "version": __version__,
            "domains": rows,
        }

    async def _list(self, _: Arguments) -> Json:
        for guest in self._group.live:
            guest.look()
        return {"domains": self.status()["domains"]}

    async def _status(self, _: Arguments) -> Json:
        return self.status()

    async def _info(self, arguments: Arguments) -> Json:
        guest = self._group.guest(_domain(arguments))
        await guest.refresh()
        details = _details(guest) | {"doorbells": self._doorbells.of(guest.name)}
        return row(guest, self._group) | details

    async def _suspend(self, arguments: Arguments) -> Json:
        return await self._group.suspend(_domain(arguments))

    async def _resume(self, arguments: Arguments) -> Json:
        return await self._group.resume(_domain(arguments))

    async def _destroy(self, arguments: Arguments) -> Json:
        return await self._group.destroy(_domain(arguments))

    async def _shutdown(self, arguments: Arguments) -> Json:
        return await self._group.shutdown(_domain(arguments))

    async def _down(self, arguments: Arguments) -> Json:
        timeout_s = _optional(arguments, "timeout", float, default=self._grace_s)
        if not 0 <= timeout_s <= _LONGEST_S:
            raise UsageError(f"timeout must be 0 to {_LONGEST_S:g} s")
        return await self._group.down(_domain(arguments), timeout_s)

    async def _reset(self, arguments: Arguments) -> Json:
        group = _optional(arguments, "group", bool, default=False)
        return await self._group.reset(_domain(arguments), group=group)

    async def _reboot(self, arguments: Arguments) -> Json:
        group = _optional(arguments, "group", bool, default=False)
        return await self._group.reboot(_domain(arguments), group=group)

    async def _restart(self, arguments: Arguments) -> Json:
        group = _optional(arguments, "group", bool, default=False)
        return await self._group.restart(_domain(arguments), group=group)

    async def _signal(self, arguments: Arguments) -> Json:
        name = _domain(arguments)
        vector = _optional(arguments, "vector", int, default=0)
        share = _optional(arguments, "shmem", str, default="")
        return self._doorbells.ring(name, vector, share or None)

    async def _save(self, arguments: Arguments) -> Json:
        directory = _optional(arguments, "directory", str, default="")
        if not os.path.isabs(directory):
            raise UsageError("'directory' must be an absolute path")
        return await self._saver.save(_domain(arguments), directory)

    async def _qmp(self, arguments: Arguments) -> Json:
        name, inner = _inner(arguments.get("command"))
        return await self._group.execute(_domain(arguments), name, inner)

    async def _console(self, arguments: Arguments) -> Json:
        guest = self._group.guest(_domain(arguments))
        console = _find_console(guest, _optional(arguments, "alias", str, default=""))
        if console.kind is ConsoleKind.PTY:
            endpoint = await _pty(guest, console)
        else:
            endpoint = _endpoint(guest, console)
        return {
            "alias": console.alias,
            "kind": console.kind,
            "endpoint": endpoint,
            "log": _log(guest, console),
        }


def row(guest: Guest, group: Group) -> dict[str, Json]:
    """Give what `list` says of a member."""
    seen = guest.seen
    return {
        "name": guest.name,
        "uuid": guest.plan.uuid,
        "state": seen.state,
        "reason": seen.reason,
        "pid": None if guest.gone.is_set() else guest.process.pid,
        "group": group.name,
        "role": guest.member.role,
        "since": guest.since,
    }


def _details(guest: Guest) -> dict[str, Json]:
    return {
        "emulator": guest.plan.emulator,
        "arch": guest.plan.arch,
        "source": guest.member.source,
        "needs": list(guest.member.needs),
        "helpers": {
            helper.name: None if helper.has_ended else helper.process.pid
            for helper in guest.helpers
        },
        "consoles": [
            {
                "alias": console.alias,
                "kind": console.kind,
                "endpoint": _endpoint(guest, console),
                "log": _log(guest, console),
            }
            for console in guest.plan.consoles
        ],
        "monitor": guest.home.path("monitor.sock"),
        "log": guest.log.path,
        "directory": guest.home.place.path,
    } | _usage(guest)


def _usage(guest: Guest) -> dict[str, Json]:
    """Give what the process uses: `memory_bytes` (resident), `cpu_s`; nothing once it has ended."""
    import psutil  # noqa: PLC0415 - 20 ms that only this needs

    if guest.gone.is_set():
        return {}
    try:
        process = psutil.Process(guest.process.pid)
        with process.oneshot():
            times = process.cpu_times()
            return {
                "memory_bytes": process.memory_info().rss,
                "cpu_s": times.user + times.system,
                "uptime_s": time.time() - process.create_time(),
            }
    except psutil.Error:
        return {}


def _endpoint(guest: Guest, console: Console) -> str:
    """Give where the console is reached, as far as the plan tells."""
    if console.kind is not ConsoleKind.UNIX:
        return console.endpoint
    return rundir.socket_path(guest.home.path(console.endpoint))


def _log(guest: Guest, console: Console) -> str | None:
    """Give the path of the log we keep; None where the XML names its own."""
    return None if console.logged else os.path.join(guest.home.state_dir, log_name(console))


def _find_console(guest: Guest, alias: str) -> Console:
    for console in guest.plan.consoles:
        if alias in ("", console.alias):
            return console
    known = ", ".join(console.alias for console in guest.plan.consoles)
    raise UnavailableError(
        f"domain {guest.name!r} has no console {alias!r} (it has {known})"
        if alias and known
        else f"domain {guest.name!r} has no console"
    )


async def _pty(guest: Guest, console: Console) -> str:
    try:
        rows: Json = await guest.command("query-chardev")
    except CommandError as error:
        raise QsuperError(f"{guest.name}: {error}") from error
    for each in rows:
        if each["label"] == console.chardev:
            return str(each["filename"]).removeprefix("pty:")
    raise UnavailableError(f"{guest.name}: QEMU knows no character device {console.chardev!r}")


def _inner(command: object) -> tuple[str, Arguments]:
    """Read the command that is passed through to QEMU."""
    if not isinstance(command, dict):
        raise UsageError("'command' must be an object")
    content = cast("Arguments", command)
    name, inner = content.get("execute"), content.get("arguments", {})
    if not isinstance(name, str):
        raise UsageError("'command' needs 'execute', a string")
    if not isinstance(inner, dict):
        raise UsageError("'arguments' of 'command' must be an object")
    return name, cast("Arguments", inner)


def _domain(arguments: Arguments) -> str:
    domain = arguments.get("domain")
    if not isinstance(domain, str):
        raise UsageError("'domain' is missing, or no string")
    return domain


def _optional(arguments: Arguments, name: str, kind: type[T], *, default: T) -> T:
    value = arguments.get(name)
    if value is None:
        return default
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return kind(value)  # type: ignore[call-arg]
    if not isinstance(value, kind):
        raise UsageError(f"{name!r} must be a {_WORDS[kind]}")
    return value


_WORDS: Final[dict[type, str]] = {
    float: "number",
    int: "whole number",
    bool: "boolean",
    str: "string",
}
