"""What can be asked of a domain that its QEMU survives, and what is known of that."""

import trio

from qsuper.plan import Role
from qsuper.runtime import policy
from qsuper.runtime.helping import Emit
from qsuper.runtime.launch import Home, Launched
from qsuper.runtime.monitored import Monitored
from qsuper.runtime.notes import Notes
from qsuper.runtime.policy import Then
from qsuper.runtime.sync import Link


class Steered(Monitored):
    """A domain that is let run, boots by a signal, and has a power button."""

    def __init__(self, home: Home, launched: Launched, emit: Emit) -> None:
        """Take a member whose QEMU is there."""
        super().__init__(home, launched, emit)
        self.settled = trio.Event()
        """Its monitor answers, or it has ended."""
        self.has_started = False
        """Its group's start is over; from now on its lifecycle settings hold."""
        self.notes = Notes(home.place)
        self._unwanted = trio.Event()
        """Its QEMU is to end."""
        self._goes_by_itself = False
        """Nobody lets it go: it does once it is whole, unless it waits for its boot signal."""

    @property
    def is_primary(self) -> bool:
        return self.member.role is Role.PRIMARY

    @property
    def waits(self) -> bool:
        """It waits for its boot signal."""
        return self.plan.boot is not None and not self.notes.released

    def release(self) -> None:
        """Note that it is let run: a QEMU that replaces this one waits for no signal."""
        self.has_started = True
        self.notes.released.set()

    def boot(self) -> Link | None:
        """Take its boot signal.

        Returns:
            Where to say `cont`; None where it goes by itself as soon as its QEMU is there.
        """
        self.notes.going.set()
        self.release()
        is_there = self.settled.is_set() and not self._unwanted.is_set()
        if is_there and not self._goes_by_itself and self.link is not None:
            return self.link
        self._goes_by_itself = True
        return None

    async def power_down(self) -> None:
        """Press the power button; errors as of `command`."""
        self.notes.was_shut_down.set()
        self.notes.reboots.clear()
        await self.command("system_powerdown")

    async def reboot(self) -> None:
        """Press the power button; once the guest has powered off, it is as if it rebooted."""
        if policy.after_reboot(self.plan.lifecycle) is Then.RESET:
            self.notes.reboots.set()
        await self.command("system_powerdown")
