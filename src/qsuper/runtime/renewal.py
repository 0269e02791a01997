"""A restart that somebody asked for, and who waits for it."""

import trio

from qsuper.errors import QsuperError


class Renewal:
    """One restart: over once the new QEMU goes, or waits for its boot signal, or has failed."""

    def __init__(self) -> None:
        """Begin, with the old QEMU still there."""
        self.is_launched = False
        """The new QEMU is there."""
        self._over = trio.Event()
        self._error: QsuperError | None = None

    def finish(self, error: QsuperError | None = None) -> None:
        """Let go of who waits; *error* says why there is no new QEMU that goes."""
        self._error = error
        self._over.set()

    async def over(self) -> None:
        """Wait for the end of it, good or bad."""
        await self._over.wait()

    async def result(self) -> None:
        """Wait for the end of it.

        Raises:
            QsuperError: it has failed.
        """
        await self._over.wait()
        if self._error is not None:
            raise self._error
