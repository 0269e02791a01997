"""Where qsuper keeps things.

    RUNTIME/groups/<primary>/   control.sock  supervisor.pid  lock  plan.json
    RUNTIME/domains/<name>/     group -> ../../groups/<primary>  lock  qmp.sock  sync.sock
                                monitor.sock  <resource>.sock  qemu.pid  domain.xml  argv.json
    STATE/<name>/               qemu.log  <console>.log  events.jsonl  nvram/
    CACHE/capabilities/         one file per emulator
    CONFIG/config.toml

RUNTIME is `$QSUPER_RUNTIME_DIR`, else `$XDG_RUNTIME_DIR/qsuper`, else `/run/qsuper` for root, else
`/tmp/qsuper-UID`. The others follow the XDG base directories.

Import budget: `os` and `errors`, since every command loads this.
"""

import contextlib
import os
import stat

from qsuper.errors import QsuperError


def runtime_dir() -> str:
    """Give RUNTIME, an absolute path that need not exist."""
    if own := os.environ.get("QSUPER_RUNTIME_DIR"):
        return os.path.abspath(own)
    if session := os.environ.get("XDG_RUNTIME_DIR"):
        return os.path.join(os.path.abspath(session), "qsuper")
    if os.getuid() == 0:
        return "/run/qsuper"
    return f"/tmp/qsuper-{os.getuid()}"  # noqa: S108 - owner and mode are checked


def state_dir() -> str:
    """Give STATE."""
    return _xdg("XDG_STATE_HOME", ".local/state")


def cache_dir() -> str:
    """Give CACHE."""
    return _xdg("XDG_CACHE_HOME", ".cache")


def config_dir() -> str:
    """Give CONFIG."""
    return _xdg("XDG_CONFIG_HOME", ".config")


def group_dir(group: str) -> str:
    """Give the runtime directory of the group named after primary *group*."""
    return os.path.join(runtime_dir(), "groups", group)


def domain_dir(name: str) -> str:
    """Give the runtime directory of domain *name*."""
    return os.path.join(runtime_dir(), "domains", name)


def domain_state_dir(name: str) -> str:
    """Give where the logs and state of domain *name* are kept."""
    return os.path.join(state_dir(), name)


def ensure_private(path: str) -> str:
    """Make the directory *path* with mode 0700, or check that it is ours and nobody else's.

    Raises:
        QsuperError: it cannot be made, or as of `check_private`.
    """
    try:
        make_private(os.path.dirname(path))
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, 0o700)
    except OSError as error:
        culprit = error.filename if error.filename != path else ""
        reason = ": ".join(filter(None, (culprit, error.strerror)))
        raise QsuperError(
            f"{path}: cannot be made: {reason} (QSUPER_RUNTIME_DIR can name another place)"
        ) from error
    return check_private(path)


def make_private(path: str) -> None:
    """Make the directory *path*, and those above it that are missing, with mode 0700.

    Raises:
        OSError: it cannot be made.
    """
    if os.path.isdir(path):
        return
    make_private(os.path.dirname(path))
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        if not os.path.isdir(path):
            raise


def check_parent(path: str) -> None:
    """Check that nobody else can rename the directory *path* and put another in its place.

    Raises:
        QsuperError: its parent belongs to another user than us or root, or others may write there
            and it is not sticky, as /tmp is.
    """
    parent = os.path.dirname(path)
    try:
        found = os.stat(parent)
    except FileNotFoundError:
        return
    except OSError as error:
        raise QsuperError(f"{parent}: {error.strerror}") from error
    if found.st_uid not in (0, os.getuid()):
        raise QsuperError(f"{path}: its parent belongs to uid {found.st_uid}, not to us or root")
    if found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX:
        raise QsuperError(
            f"{path}: others can replace it, since they may write to {parent}"
            f" (chmod go-w {parent}, or set QSUPER_RUNTIME_DIR to another place)"
        )


def check_private(path: str) -> str:
    """Check that the directory *path*, if there is one, is ours and nobody else's.

    Raises:
        QsuperError: it is a link, no directory, somebody else's or open to others.
    """
    try:
        found = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return path
    except OSError as error:
        raise QsuperError(f"{path}: {error.strerror}") from error
    if stat.S_ISLNK(found.st_mode):
        raise QsuperError(f"{path}: a symbolic link, and must be a directory itself")
    if not stat.S_ISDIR(found.st_mode):
        raise QsuperError(f"{path}: not a directory")
    if found.st_uid != os.getuid():
        raise QsuperError(f"{path}: belongs to uid {found.st_uid}, not to us (uid {os.getuid()})")
    if found.st_mode & 0o077:
        raise QsuperError(f"{path}: open to others (chmod 0700 {path})")
    return path


def _xdg(variable: str, default: str) -> str:
    base = os.environ.get(variable) or os.path.join(os.path.expanduser("~"), default)
    return os.path.join(os.path.abspath(base), "qsuper")
