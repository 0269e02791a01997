"""A whole group to a directory: what `qsuper save` does.

    DIR/plan.json      the group, as it runs again
    DIR/NAME.state     a member's state, its own memory included, as QEMU writes it
    DIR/SHARE.memory   what members share, once
    inside of qcow2 files: a snapshot with their content

All stand still meanwhile, and no verb but `destroy` is obeyed. What it takes to go on as before is
written down first, so that a successor can do that, too.
"""

import contextlib
import os
import secrets
import shutil
from collections.abc import Callable, Generator, Iterator
from typing import Any, Final

import msgspec
import trio
from msgspec import Struct
from msgspec.structs import replace

from qsuper import planfile
from qsuper.errors import QsuperError, first
from qsuper.fabric.group import Fabric
from qsuper.options import Doorbell, Form, Handle, Option, SharedMemory
from qsuper.plan import LaunchPlan, SavedState
from qsuper.runtime import disks, migration, rundir, vmstate
from qsuper.runtime.disks import Disks
from qsuper.runtime.group import Group
from qsuper.runtime.guest import Guest
from qsuper.runtime.rundir import Rundir
from qsuper.runtime.states import State

Json = Any  # an answer of the control protocol

SAVING: Final = "saving"
"""In a group's directory while it is saved: an `Attempt`."""
_UNDO_WITHIN_S: Final = 30.0
_PLAIN: Final = "ivshmem-plain"
_DOORBELL: Final = "ivshmem-doorbell"
_ORPHANED: Final = "its supervisor died while it was saved"


class Attempt(Struct, frozen=True, kw_only=True):
    """What undoes a save that came to nothing."""

    directory: str
    """Where it writes, until all is there."""
    ran: tuple[str, ...]
    """The members that ran."""
    snapshot: str
    nodes: dict[str, tuple[str, ...]]
    """The disks' nodes that may have the snapshot, by member."""


class Saver:
    """Saves one group."""

    def __init__(self, group: Group, fabric: Fabric, place: Rundir) -> None:
        """Take the group, what it shares, and its directory."""
        self._group = group
        self._fabric = fabric
        self._place = place

    async def save(self, name: str, directory: str) -> Json:
        """Save the group of a primary and end it.

        Raises:
            QsuperError: it cannot be saved, or that failed; then it goes on as before, and there
                is no directory.
        """
        _check(self._group, name)
        self._fabric.check_memory()
        async with self._group.steering.held(f"{name!r} is being saved"):
            members = list(self._group.live)
            found = {guest.name: await disks.writable(guest) for guest in members}
            attempt = _attempt(members, found, directory)
            self._place.write(SAVING, msgspec.json.encode(attempt).decode())
            try:
                _make(directory, attempt.directory)
                await self._write(members, found, attempt)
                os.rename(attempt.directory, directory)
                self._place.unmark(SAVING)
            except BaseException as error:
                with trio.move_on_after(_UNDO_WITHIN_S, shield=True):
                    await self._undo(attempt)
                raise _plain(error) from error
            await self._group.destroy_all()
        left_out = {name: list(each.others) for name, each in found.items() if each.others}
        return {
            "directory": directory,
            "domains": {guest.name: guest.state.value for guest in members},
            "left-out": left_out,
        }

    async def undo_predecessors(self) -> None:
        """Let the group go on where a supervisor died while it saved it."""
        if (attempt := _read(self._place.file(SAVING))) is None:
            return
        await self._group.started.wait()
        async with self._group.steering.held(_ORPHANED):
            await self._undo(attempt)

    async def _write(self, members: list[Guest], found: dict[str, Disks], attempt: Attempt) -> None:
        await self._group.stop(members)
        saved: dict[str, SavedState] = {}

        async def member(guest: Guest) -> None:
            nodes = attempt.nodes[guest.name]
            await disks.keep(guest, nodes, attempt.snapshot)
            path = os.path.join(attempt.directory, _state_file(guest.name))
            saved[guest.name] = SavedState(
                path=_state_file(guest.name),
                runs=guest.name in attempt.ran,
                has_shared=await _write_state(guest, path),
                disks=tuple(found[guest.name].snapshotted.values()),
                snapshot=attempt.snapshot,
            )

        async with trio.open_nursery() as nursery:
            for guest in members:
                nursery.start_soon(member, guest)
            for share in self._fabric.shares.names:
                path = os.path.join(attempt.directory, _memory_file(share))
                nursery.start_soon(trio.to_thread.run_sync, self._fabric.shares.write, share, path)
        self._write_plan(members, saved, attempt.directory)
        await trio.to_thread.run_sync(_sync, attempt.directory)

    def _write_plan(
        self, members: list[Guest], saved: dict[str, SavedState], directory: str
    ) -> None:
        plans = (
            replace(
                guest.member,
                plan=replace(
                    guest.plan,
                    boot=guest.plan.boot if guest.waits else None,
                    saved=saved[guest.name],
                ),
            )
            for guest in members
        )
        group = replace(
            self._group.plan,
            members=tuple(plans),
            memories={share: _memory_file(share) for share in self._fabric.shares.names},
            rung=self._fabric.pending(),
        )
        with (
            _created(os.path.join(directory, rundir.PLAN)) as descriptor,
            open(descriptor, "w", encoding="utf-8", closefd=False) as file,
        ):
            file.write(planfile.dumps(group))

    async def _undo(self, attempt: Attempt) -> None:
        """Have the group go on, and remove what was made."""
        shutil.rmtree(attempt.directory, ignore_errors=True)
        members = [guest for guest in self._group.live if not guest.gone.is_set()]
        async with trio.open_nursery() as nursery:
            for guest in members:
                nursery.start_soon(_cancel, guest)
        with contextlib.suppress(QsuperError):
            await self._group.go_on([guest for guest in members if guest.name in attempt.ran])
        async with trio.open_nursery() as nursery:
            for guest in members:
                # QEMU has given the disks of one that stands still up, as if it were elsewhere.
                if guest.standing.state is State.RUNNING:
                    nursery.start_soon(_drop, guest, attempt)
        self._place.unmark(SAVING)


def _read(path: str) -> Attempt | None:
    try:
        with open(path, "rb") as file:
            return msgspec.json.decode(file.read(), type=Attempt)
    except (OSError, msgspec.DecodeError):
        return None


def _attempt(members: list[Guest], found: dict[str, Disks], directory: str) -> Attempt:
    running = (guest for guest in members if guest.standing.state is State.RUNNING)
    return Attempt(
        directory=f"{directory}.partial",
        ran=tuple(guest.name for guest in running),
        snapshot=f"qsuper-{secrets.token_hex(4)}",
        nodes={name: tuple(each.snapshotted) for name, each in found.items()},
    )


def _make(directory: str, partial: str) -> None:
    """Make the directory under the name that it has until all is in it."""
    if os.path.lexists(directory):
        raise QsuperError(f"{directory} exists already")
    try:
        os.mkdir(partial, 0o700)
    except OSError as error:
        raise QsuperError(f"{partial}: {error.strerror}") from error


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
        if guest.plan.meeting is not None:
            text = "what its QEMU shares with others by itself would not be saved"
            raise QsuperError(f"{guest.name}: {text}")
        for option in _foreign(guest.plan):
            is_doorbell = option.props["driver"] == _DOORBELL
            hint = "<q:fabric numbering='private'>" if is_doorbell else "<shmem role='master'>"
            raise QsuperError(
                f"{guest.name}: QEMU does not save {option.props['driver']} like this ({hint})"
            )


def _foreign(plan: LaunchPlan) -> Iterator[Option]:
    """Give the devices whose memory belongs to others, in QEMU's eyes."""
    doorbells = [each for each in plan.resources() if isinstance(each, Doorbell)]
    is_seen_as_zero = all(each.is_private for each in doorbells)
    for option in plan.options:
        if option.props.get("driver") not in (_PLAIN, _DOORBELL):
            continue
        if option.props.get("master") != "on" or not is_seen_as_zero:
            yield option


async def _write_state(guest: Guest, path: str) -> bool:
    """Write a member's state; tell whether the memory that it shares is in it."""
    if _shares_only_ours(guest.plan):
        with _created(path) as descriptor:
            has_shared = not await _migrate(guest, descriptor, ignores_shared=True)
            with contextlib.suppress(ValueError):
                if not has_shared:
                    vmstate.unmap(descriptor, _is_mapped_by_device(guest.plan))
                return has_shared
        os.unlink(path)  # its state has another form than we know: the long way
    with _created(path) as descriptor:
        await _migrate(guest, descriptor, ignores_shared=False)
    return True


async def _migrate(guest: Guest, descriptor: int, *, ignores_shared: bool) -> bool:
    """Have a member's QEMU write its state, as `migration.write`; errors name the member."""
    if guest.link is None:
        raise QsuperError(f"{guest.name}: not saved: QEMU has ended")
    before = guest.log.length
    try:
        return await migration.write(guest.link, descriptor, ignores_shared=ignores_shared)
    except QsuperError as error:
        said = guest.log.tail(before)
        raise type(error)(f"{guest.name}: not saved: {said or error}") from error


@contextlib.contextmanager
def _created(path: str) -> Generator[int]:
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _shares_only_ours(plan: LaunchPlan) -> bool:
    """Tell whether the memory that QEMU takes for shared is all of the fabric's, and is some."""
    backends = [
        option.props.get("mem-path")
        for option in plan.options
        if str(option.props.get("qom-type", "")).startswith("memory-backend-")
        and option.props.get("share")
    ]
    ours = all(
        isinstance(each, Handle) and isinstance(each.resource, SharedMemory) for each in backends
    )
    # What the user says to QEMU by himself, we do not read.
    words = (word for each in plan.options if each.form is Form.RAW for word in each.argv())
    resources = plan.resources()
    return (
        ours
        and not any("memory-backend" in word for word in words)
        and any(isinstance(each, SharedMemory | Doorbell) for each in resources)
    )


def _is_mapped_by_device(plan: LaunchPlan) -> Callable[[str], bool]:
    """Tell by its name whether a block of memory is that of a shared memory device."""
    backends = [
        str(option.props["memdev"])
        for option in plan.options
        if option.props.get("driver") == _PLAIN
    ]
    names = ("ivshmem.bar2", *backends)
    return lambda block: block.rpartition("/")[2] in names


async def _cancel(guest: Guest) -> None:
    if guest.link is not None and guest.standing.state is not State.UNRESPONSIVE:
        with contextlib.suppress(QsuperError):
            await migration.cancel(guest.link)


async def _drop(guest: Guest, attempt: Attempt) -> None:
    with contextlib.suppress(QsuperError):  # there is none yet
        await disks.drop(guest, attempt.nodes.get(guest.name, ()), attempt.snapshot)


def _state_file(name: str) -> str:
    return f"{name}.state"


def _memory_file(share: str) -> str:
    return f"{share}.memory"


def _sync(directory: str) -> None:
    """Have the disk hold all of a directory: the guests end next."""
    for path in (*(entry.path for entry in os.scandir(directory)), directory):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _plain(error: BaseException) -> BaseException:
    """Give the first error of a group, meant for the user."""
    cause = first(error)
    if isinstance(cause, OSError):
        return QsuperError(f"{cause.filename or 'save'}: {cause.strerror}")
    return cause
