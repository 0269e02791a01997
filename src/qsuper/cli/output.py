"""Where an answer goes that may be wanted in a file.

Import budget: os.
"""

import os
import sys

from qsuper.errors import QsuperError


def write(path: str | None, text: str) -> None:
    """Write *text* to stdout, or to the file *path*, which is replaced as a whole.

    Raises:
        QsuperError: it can't be written.
    """
    if path is None:
        sys.stdout.write(text)
        return
    fresh = f"{path}.{os.getpid()}"
    try:
        with open(fresh, "x", encoding="utf-8") as file:
            file.write(text)
        os.replace(fresh, path)
    except OSError as error:
        raise QsuperError(f"{path}: {error.strerror}") from error
