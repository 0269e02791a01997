"""A saved member goes on in a new QEMU, which was started to wait for its state."""

import os
from typing import Final

import trio
from msgspec.structs import replace

from qsuper.errors import QsuperError
from qsuper.runtime.guest import Guest

_LOOK_EVERY_S: Final = 0.005


async def bring_back(guest: Guest) -> None:
    """Load a member's state into its QEMU, which waits for it; the member is paused then.

    Raises:
        QsuperError: QEMU refuses the state, or the file cannot be read.
    """
    saved = guest.plan.saved
    if saved is None or guest.link is None:
        return
    try:
        descriptor = os.open(saved.path, os.O_RDONLY)
    except OSError as error:
        raise QsuperError(f"{saved.path}: {error.strerror}") from error
    try:
        await guest.link.execute("getfd", {"fdname": "state"}, descriptor)
    finally:
        os.close(descriptor)
    await guest.link.execute("migrate-incoming", {"uri": "fd:state"})
    status = "inmigrate"
    while status == "inmigrate":
        await trio.sleep(_LOOK_EVERY_S)
        status = (await guest.link.execute("query-status"))["status"]
    # Who restarts after a crash starts anew.
    guest.plan = replace(guest.plan, saved=None)
    guest.member = guest.home.member = replace(guest.member, plan=guest.plan)
    await guest.refresh()
