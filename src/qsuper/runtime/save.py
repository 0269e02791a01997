"""A whole group to a directory, and back: what `qsuper save` and `qsuper restore` do.

    DIR/plan.json      the group, as it runs again
    DIR/NAME.state     a member's state, its memory included, as QEMU writes it

The state goes through a descriptor that QEMU is handed, since its sandbox lets it start nothing.
Shared memory is in the state of each member that maps it: all stand still while it is written, so
it is the same in all. QEMU 7.2 cannot leave it out where there are doorbells: docs/fabric.md.
"""

import contextlib
import os
import shutil
from collections.abc import Iterator
from typing import Any, Final, cast

import trio
from msgspec.structs import replace

from qsuper import planfile
from qsuper.errors import QsuperError
from qsuper.options import Option
from qsuper.plan import GroupPlan, SavedState
from qsuper.runtime import rundir
from qsuper.runtime.group import Group
from qsuper.runtime.guest import Guest
from qsuper.runtime.states import State

Json = Any  # an answer of the control protocol

_ROLL_BACK_WITHIN_S: Final = 30.0
_LOOK_EVERY_S: Final = 0.005
_BANDWIDTH: Final = 1 << 36  # bytes a second: as fast as the disk takes it
_DEVICES: Final = ("ivshmem-plain", "ivshmem-doorbell")


async def save(group: Group, name: str, directory: str) -> Json:
    """Save the group of a primary and end it.

    Raises:
        QsuperError: it cannot be saved, or that failed; then it goes on as before, and there is no
            directory.
    """
    _check(group, name)
    before = {guest.name: guest.standing.state for guest in group.live}
    partial = _made(directory)
    begun: set[str] = set()
    try:
        await group.suspend(name)
        async with trio.open_nursery() as nursery:
            for guest in group.live:
                begun.add(guest.name)
                nursery.start_soon(_write_state, guest, os.path.join(partial, _file(guest.name)))
        _write_plan(group, before, partial)
        os.rename(partial, directory)
    except BaseException as error:
        with trio.move_on_after(_ROLL_BACK_WITHIN_S, shield=True):
            shutil.rmtree(partial, ignore_errors=True)
            await _go_on(group, before, begun)
        raise _plain(error) from error
    await group.destroy_all()
    return {"directory": directory, "domains": dict.fromkeys(before, "shut off")}


def _made(directory: str) -> str:
    """Make the directory under the name that it has until all is in it."""
    if os.path.lexists(directory):
        raise QsuperError(f"{directory} exists already")
    partial = f"{directory}.partial"
    try:
        os.mkdir(partial, 0o700)
    except OSError as error:
        raise QsuperError(f"{partial}: {error.strerror}") from error
    return partial


def _check(group: Group, name: str) -> None:
    """Say what keeps the group from being saved, while it still runs.

    Raises:
        QsuperError: something does.
    """
    if not group.guest(name).is_primary:
        raise QsuperError(f"{name!r} is a dependency: save its primary")
    if others := [each.name for each in group.live if each.is_primary and each.name != name]:
        raise QsuperError(f"{name!r} runs together with {', '.join(others)}: start it alone")
    for guest in group.live:
        if guest.link is None:
            raise QsuperError(f"domain {guest.name!r} is not running: {guest.state}")
        for option in _foreign(guest):
            is_doorbell = option.props["driver"] == "ivshmem-doorbell"
            hint = "<q:fabric numbering='private'>" if is_doorbell else "<shmem role='master'>"
            raise QsuperError(
                f"{guest.name}: QEMU does not save {option.props['driver']} like this ({hint})"
            )


def _foreign(guest: Guest) -> Iterator[Option]:
    """Give the devices whose memory belongs to others, in QEMU's eyes."""
    for option in guest.plan.options:
        if option.props.get("driver") not in _DEVICES:
            continue
        doorbells = [each for each in guest.plan.resources() if hasattr(each, "is_private")]
        is_seen_as_zero = all(getattr(each, "is_private", False) for each in doorbells)
        if option.props.get("master") != "on" or not is_seen_as_zero:
            yield option


async def _write_state(guest: Guest, path: str) -> None:
    if guest.link is None:
        raise guest.failure()
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    descriptor = os.open(path, flags, 0o600)
    try:
        await guest.link.execute("getfd", {"fdname": "state"}, descriptor)
    finally:
        os.close(descriptor)
    await guest.link.execute("migrate-set-parameters", {"max-bandwidth": _BANDWIDTH})
    await guest.link.execute("migrate", {"uri": "fd:state"})
    while True:
        answer = await guest.link.execute("query-migrate")
        match answer.get("status"):
            case "completed":
                return
            case "failed" | "cancelled":
                why = answer.get("error-desc", "QEMU does not say why")
                raise QsuperError(f"{guest.name}: not saved: {why}")
            case _:
                await trio.sleep(_LOOK_EVERY_S)


def _write_plan(group: Group, before: dict[str, State], directory: str) -> None:
    members = (
        replace(
            guest.member,
            plan=replace(
                guest.plan,
                boot=guest.plan.boot if guest.waits else None,
                saved=SavedState(path=_file(guest.name), runs=before[guest.name] is State.RUNNING),
            ),
        )
        for guest in group.live
    )
    with open(os.path.join(directory, rundir.PLAN), "x", encoding="utf-8") as file:
        file.write(planfile.dumps(GroupPlan(tuple(members))))


async def _go_on(group: Group, before: dict[str, State], begun: set[str]) -> None:
    """Let the members run that ran; first stop writing those that were *begun*."""
    for guest in group.live:
        if guest.link is None or guest.name not in begun:
            continue
        with contextlib.suppress(QsuperError):  # it has ended
            status = await guest.link.execute("query-migrate")
            if status.get("status") in ("setup", "active"):
                await guest.link.execute("migrate_cancel")
    ran = (guest for guest in group.live if before[guest.name] is State.RUNNING)
    with contextlib.suppress(QsuperError):
        await group.go_on([guest for guest in ran if not guest.gone.is_set()])


def _file(name: str) -> str:
    return f"{name}.state"


def _plain(error: BaseException) -> BaseException:
    """Give the first error of a group, meant for the user."""
    first = error
    while isinstance(first, BaseExceptionGroup):
        first = cast("BaseExceptionGroup[BaseException]", first).exceptions[0]
    if isinstance(first, OSError):
        return QsuperError(f"{first.filename or 'save'}: {first.strerror}")
    return first
