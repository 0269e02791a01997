"""Files that a domain keeps for itself, made from a template before its first start."""

import contextlib
import os
from collections.abc import Iterable

from qsuper import paths
from qsuper.errors import QsuperError
from qsuper.plan import Seed


def plant(seeds: Iterable[Seed]) -> None:
    """Make the files that do not exist yet. One is there whole or not at all.

    Raises:
        QsuperError: a template cannot be read or does not fit, or a file cannot be made.
    """
    for seed in seeds:
        if os.path.exists(seed.path):
            continue
        if seed.obstacle:
            raise QsuperError(f"{seed.path}: it does not exist, and {seed.obstacle}")
        try:
            paths.make_private(os.path.dirname(seed.path))
            _copy(seed)
        except OSError as error:
            raise QsuperError(f"{error.filename or seed.path}: {error.strerror}") from error


def _copy(seed: Seed) -> None:
    draft = f"{seed.path}.{os.getpid()}.new"
    with open(seed.template, "rb") as source:
        try:
            target = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
            try:
                done = 0
                while count := os.sendfile(target, source.fileno(), done, 1 << 30):
                    done += count
            finally:
                os.close(target)
            with contextlib.suppress(FileExistsError):  # somebody else was faster, and it is theirs
                os.link(draft, seed.path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(draft)
