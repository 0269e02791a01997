"""What a supervisor's successor has to know of a member: facts that are files in its directory."""

from qsuper.runtime import rundir
from qsuper.runtime.rundir import Rundir


class Note:
    """A fact: true while there is a file of that name."""

    def __init__(self, place: Rundir, name: str) -> None:
        """Take what a predecessor has left."""
        self._place = place
        self._name = name
        self._is_true = place.has(name)

    def __bool__(self) -> bool:
        return self._is_true

    def set(self) -> None:
        """Make it true, now and for a successor."""
        if not self._is_true:
            self._is_true = True
            self._place.mark(self._name)

    def clear(self) -> None:
        """Make it false."""
        if self._is_true:
            self._is_true = False
            self._place.unmark(self._name)


class Notes:
    """All that is noted of one member."""

    def __init__(self, place: Rundir) -> None:
        """Take what a predecessor has left."""
        self.released = Note(place, rundir.RELEASED)
        """It was let run, or its boot signal has come: its next QEMU is let run, too."""
        self.going = Note(place, rundir.GOING)
        """Its QEMU is to be let run."""
        self.reboots = Note(place, rundir.REBOOTING)
        """Once it has powered off, it is reset."""
        self.was_shut_down = Note(place, rundir.SHUT_DOWN)
        """The shutdown verb was used on it."""
