"""The runtime directory: who owns a name, and the files that a successor can go by.

A name is owned by a lock (`flock`) that the supervisor holds for its life. A lock that can be taken
means its owner is dead; what it left is cleared then, unless a QEMU of it still runs.
"""

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import socket
import stat
from collections.abc import Generator
from typing import Final, Self

from qsuper import paths
from qsuper.errors import QsuperError
from qsuper.runtime.process import Identity
from qsuper.runtime.survivors import end_helpers, survivor

LOCK: Final = "lock"
CONTROL: Final = "control.sock"
PLAN: Final = "plan.json"
SUPERVISOR_PID: Final = "supervisor.pid"
QEMU_PID: Final = "qemu.pid"
GROUP: Final = "group"
SETTINGS: Final = "settings.json"
FABRIC: Final = "fabric.json"
"""By what a successor knows memory and doorbells; only where there are some."""
STARTING: Final = "starting"
"""In a group's directory until all members run: a successor rolls such a start back."""
ENDING: Final = "ending"
"""In a domain's directory from the moment it is to be ended: a successor goes on with that."""
RELEASED: Final = "released"
"""In a domain's directory once it was let run, or its boot signal has come: a QEMU that replaces
another is let run, too."""
GOING: Final = "going"
"""In a domain's directory while its QEMU is to be let run: a successor does it."""
REBOOTING: Final = "rebooting"
"""In a domain's directory from the press of the power button for a reboot to the guest's end."""
SHUT_DOWN: Final = "shut-down"
"""In a domain's directory once it was asked to shut down: so are its dependencies after it."""

_SOCKET_PATH_MAX: Final = 107  # sockaddr_un.sun_path, less its NUL
_TRIES: Final = 100  # to lock a directory that others are removing at the same time


class Rundir:
    """A directory of ours, locked. Use `claim_group` and `claim_domain`."""

    def __init__(self, path: str, lock_fd: int) -> None:
        """Take a locked directory."""
        self.path = path
        self._lock_fd = lock_fd

    @classmethod
    def claim(cls, path: str) -> Self | None:
        """Make and lock the directory; None where it is another's."""
        paths.check_parent(paths.ensure_private(paths.runtime_dir()))
        paths.ensure_private(os.path.dirname(path))
        for _ in range(_TRIES):
            paths.ensure_private(path)
            lock = os.path.join(path, LOCK)
            try:
                lock_fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            except FileNotFoundError:
                continue  # its owner removed the directory in between
            except OSError:
                with contextlib.suppress(OSError):  # there is something in it: it is not new
                    os.rmdir(path)
                raise
            try:
                fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock_fd)
                return None
            if _is_same_file(lock_fd, lock):
                return cls(path, lock_fd)
            os.close(lock_fd)  # locked what its owner has removed
        raise QsuperError(f"{path}: cannot be locked: it comes and goes")

    @classmethod
    def take(cls, path: str) -> Self | None:
        """Lock a directory that is there already; None where it is another's, or gone."""
        lock = os.path.join(path, LOCK)
        try:
            lock_fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock_fd)
            return None
        if _is_same_file(lock_fd, lock):
            return cls(path, lock_fd)
        os.close(lock_fd)  # locked what its owner has removed
        return None

    def file(self, name: str) -> str:
        return os.path.join(self.path, name)

    def mark(self, name: str) -> None:
        """Make an empty file; one that cannot be made, as on a full disk, is done without."""
        if self._lock_fd >= 0:
            with contextlib.suppress(OSError):
                os.close(os.open(self.file(name), os.O_WRONLY | os.O_CREAT, 0o600))

    def has(self, name: str) -> bool:
        """Tell whether there is such a file, of ours."""
        return self._lock_fd >= 0 and os.path.lexists(self.file(name))

    def unmark(self, name: str) -> None:
        """Remove what `mark` made."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.file(name))

    def write(self, name: str, text: str) -> None:
        """Write a file, mode 0600: readers see the old text or the new, never a part.

        Raises:
            QsuperError: it cannot be written, as on a full disk.
        """
        temporary = self.file(f".{name}.new")
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
            os.replace(temporary, self.file(name))
        except OSError as error:
            raise QsuperError(f"{self.file(name)}: {error.strerror}") from error

    def read_identity(self, name: str) -> Identity | None:
        """Read a pid file."""
        return read_identity(self.file(name))

    def clear(self) -> None:
        """Remove everything but the lock, sockets by long paths included."""
        for entry in os.scandir(self.path):
            if entry.name == LOCK:
                continue
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            else:
                remove_socket(entry.path)

    def release(self) -> None:
        """Remove the directory and give up the lock; for the second time, nothing."""
        if self._lock_fd < 0:
            return
        self.clear()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.file(LOCK))
        with contextlib.suppress(OSError):  # a successor may have come in between
            os.rmdir(self.path)
        self.abandon()

    def abandon(self) -> None:
        """Give up the lock, and leave the files for a successor."""
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1


def claim_group(name: str) -> Rundir:
    """Own a group's directory.

    Raises:
        QsuperError: another supervisor runs it, or members of it run without one.
    """
    check_name(name)
    path = paths.group_dir(name)
    if (rundir := Rundir.claim(path)) is None:
        owner = read_identity(os.path.join(path, SUPERVISOR_PID))
        raise QsuperError(f"group {name!r} runs already under {_supervisor(owner)}")
    if alive := _survivors(rundir):
        rundir.abandon()
        members = ", ".join(f"{member} (pid {pid})" for member, pid in alive.items())
        raise QsuperError(
            f"group {name!r}: its supervisor died, and its QEMUs live on: {members}"
            f" (qsuper adopt {name}, or qsuper destroy {name})"
        )
    with _released_on_failure(rundir):
        rundir.clear()
        rundir.write(SUPERVISOR_PID, f"{own_identity()}\n")
    return rundir


def claim_domain(name: str, group: str) -> Rundir:
    """Own a domain's directory, for a group's supervisor.

    Raises:
        QsuperError: another supervisor runs it, or it runs without one.
    """
    check_name(name)
    path = paths.domain_dir(name)
    if (rundir := Rundir.claim(path)) is None:
        raise QsuperError(_in_use(name, path))
    if pid := survivor(path):
        rundir.abandon()
        raise QsuperError(
            f"domain {name!r} still runs as pid {pid}; its supervisor died"
            f" (qsuper adopt {name}, or qsuper destroy {name})"
        )
    with _released_on_failure(rundir):
        end_helpers(path)
        rundir.clear()
        os.symlink(os.path.join("..", "..", "groups", group), rundir.file(GROUP))
    return rundir


@contextlib.contextmanager
def _released_on_failure(rundir: Rundir) -> Generator[None]:
    """Leave nothing of a directory that could not be furnished, as on a full disk."""
    try:
        yield
    except OSError as error:
        rundir.release()
        raise QsuperError(f"{rundir.path}: {error.strerror}") from error
    except BaseException:
        rundir.release()
        raise


def _survivors(group: Rundir) -> dict[str, int]:
    """Give the QEMUs that a group's dead supervisor has left, by the names of their domains."""
    if not os.path.exists(group.file(PLAN)):  # written before the first QEMU is started
        return {}
    found: dict[str, int] = {}
    domains = os.path.join(paths.runtime_dir(), "domains")
    for name in sorted(os.listdir(domains)) if os.path.isdir(domains) else ():
        path = os.path.join(domains, name)
        with contextlib.suppress(OSError):  # it comes and goes, or is no domain's
            if os.path.samefile(os.path.join(path, GROUP), group.path) and (pid := survivor(path)):
                found[name] = pid
    return found


def check_name(name: str) -> None:
    """Check that a domain's name can be a directory's.

    Raises:
        QsuperError: it cannot.
    """
    if name in ("", ".", "..") or "/" in name or not name.isprintable():
        raise QsuperError(f"{name!r} cannot be a domain's name")
    if len(os.fsencode(name)) > os.pathconf("/", "PC_NAME_MAX"):
        raise QsuperError(f"{name!r} is too long for a domain's name")


def own_identity() -> Identity:
    """Give this process's, for a pid file."""
    identity = Identity.of(os.getpid())
    assert identity  # noqa: S101 - we are alive
    return identity


def read_identity(path: str) -> Identity | None:
    """Read a pid file; None where there is none."""
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return Identity.parse(file.read())
    except OSError:
        return None


def socket_path(path: str) -> str:
    """Give where a socket is bound that is known as *path*: there, or by a hash where too long.

    Raises:
        QsuperError: no short path can be made.
    """
    if len(os.fsencode(path)) <= _SOCKET_PATH_MAX:
        return path
    digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
    short = os.path.join(paths.runtime_dir(), f"{digest}.sock")
    if len(os.fsencode(short)) <= _SOCKET_PATH_MAX:
        return short
    raise QsuperError(f"{path}: too long for a socket (set QSUPER_RUNTIME_DIR to a shorter path)")


def bind_listener(path: str) -> socket.socket:
    """Listen on *path*, mode 0600.

    A path over 107 bytes becomes a link to a short one that `socket_path` gives. A socket that
    nobody listens on is replaced.

    Raises:
        QsuperError: somebody listens there, or it cannot be made.
    """
    short = socket_path(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _umask(0o177):
            _bind(listener, short)
        if short != path:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            os.symlink(short, path)
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise QsuperError(f"{path}: cannot listen: {error.strerror or error}") from error
    return listener


def connect(path: str) -> socket.socket:
    """Connect to a listener of `bind_listener`, non-blocking.

    Raises:
        OSError: nobody listens, or too many wait.
    """
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        client.setblocking(False)  # noqa: FBT003 - as socket names it
        client.connect(socket_path(path))
    except OSError:
        client.close()
        raise
    return client


def remove_socket(path: str) -> None:
    """Remove a file or socket, and what it points to where its path was too long."""
    with contextlib.suppress(FileNotFoundError):
        if os.path.islink(path) and os.readlink(path) == socket_path_or_none(path):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.readlink(path))
        os.unlink(path)


def socket_path_or_none(path: str) -> str | None:
    """Give `socket_path`; None where there is none."""
    try:
        return socket_path(path)
    except QsuperError:
        return None


def _bind(listener: socket.socket, path: str) -> None:
    try:
        listener.bind(path)
    except OSError as error:
        if error.errno != errno.EADDRINUSE or not _is_dead_socket(path):
            raise
        os.unlink(path)
        listener.bind(path)


def _is_dead_socket(path: str) -> bool:
    if not stat.S_ISSOCK(os.lstat(path).st_mode):
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # noqa: FBT003 - as socket names it
        return probe.connect_ex(path) == errno.ECONNREFUSED


def _is_same_file(descriptor: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False


def _in_use(name: str, path: str) -> str:
    try:
        group = os.path.basename(os.readlink(os.path.join(path, GROUP)))
    except OSError:
        return f"domain {name!r} is being started or ended by another supervisor"
    owner = read_identity(os.path.join(paths.group_dir(group), SUPERVISOR_PID))
    return f"domain {name!r} runs already in group {group!r}, under {_supervisor(owner)}"


def _supervisor(identity: Identity | None) -> str:
    return f"the supervisor with pid {identity.pid}" if identity else "another supervisor"


@contextlib.contextmanager
def _umask(mask: int) -> Generator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)
