"""The memory of a guest that panicked, as a core file."""

import os
import time
from collections.abc import Awaitable, Callable
from typing import Final

_WITHIN_S: Final = 600.0


async def dump_core(command: Callable[..., Awaitable[object]], state_dir: str) -> str:
    """Dump a guest's memory; give the file.

    Args:
        command: The guest's.
        state_dir: Where the file is put.

    Raises:
        QsuperError: QEMU refuses, or takes too long.
    """
    path = os.path.join(state_dir, time.strftime("core-%Y%m%d-%H%M%S"))
    arguments = {"paging": False, "protocol": f"file:{path}"}
    await command("dump-guest-memory", arguments, within_s=_WITHIN_S)
    return path
