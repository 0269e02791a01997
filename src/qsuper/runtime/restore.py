"""A saved member goes on in a new QEMU, which was started to wait for its state."""

import os

from msgspec.structs import replace

from qsuper.errors import QsuperError
from qsuper.runtime import migration
from qsuper.runtime.guest import Guest


async def bring_back(guest: Guest) -> None:
    """Load a member's state into its QEMU, which waits for it; the member is paused then.

    Raises:
        QsuperError: QEMU refuses the state, or the file cannot be read.
    """
    saved = guest.plan.saved
    if saved is None or guest.link is None:
        return
    try:
        descriptor = os.open(saved.path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise QsuperError(f"{saved.path}: {error.strerror}") from error
    try:
        await migration.read(guest.link, descriptor, ignores_shared=not saved.has_shared)
    except QsuperError as error:
        raise guest.failure(str(error)) from error
    finally:
        os.close(descriptor)
    guest.plan = guest.plan.started()
    guest.member = guest.home.member = replace(guest.member, plan=guest.plan)
    await guest.refresh()
