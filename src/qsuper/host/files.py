"""Files that users hand us: opened once, of bounded size, and regular."""

import os
import stat
from typing import Final

from lxml import etree
from msgspec import Struct

from qsuper.errors import ConfigError
from qsuper.location import Location
from qsuper.translate.node import Node, parse_xml

XML_BYTES_MAX: Final = 4 << 20


class XmlFile(Struct, frozen=True):
    """An XML file as it was when it was read."""

    path: str
    """As the user named it."""
    identity: tuple[int, int]
    """Device and inode: what tells two names of one file from two files."""
    data: bytes
    root: Node

    @property
    def text(self) -> str:
        """The file's text, from whatever encoding it has."""
        try:
            return self.data.decode()
        except UnicodeDecodeError:
            return etree.tostring(etree.fromstring(self.data), encoding="unicode")


def read_xml(path: str) -> XmlFile:
    """Read an XML file of at most XML_BYTES_MAX.

    Raises:
        ConfigError: there is no such file, it cannot be read, is not regular or too big, or its
            content is refused by `translate.node.parse_xml`.
    """
    try:
        data, identity = read_regular(path, XML_BYTES_MAX)
    except OSError as error:
        raise ConfigError(reason(error), at=Location(path, 0)) from error
    root = parse_xml(data, path, os.path.dirname(os.path.abspath(path)))
    return XmlFile(path, identity, data, root)


def read_regular(path: str, bytes_max: int) -> tuple[bytes, tuple[int, int]]:
    """Read a regular file whole.

    Returns:
        Its content, and its device and inode.

    Raises:
        OSError: it cannot be read, or is no regular file, or is bigger than *bytes_max*; only
            the first has an `errno`.
    """
    # Without O_NONBLOCK a FIFO in the place of a file would hang us.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK)
    try:
        found = os.fstat(descriptor)
        if stat.S_ISDIR(found.st_mode):
            raise OSError("is a directory")
        if not stat.S_ISREG(found.st_mode):
            raise OSError("is not a regular file")
        with open(descriptor, "rb", closefd=False) as file:
            data = file.read(bytes_max + 1)  # not st_size: files of /proc say 0
    finally:
        os.close(descriptor)
    if len(data) > bytes_max:
        raise OSError(f"is bigger than {bytes_max >> 20} MiB")
    return data, (found.st_dev, found.st_ino)


def reason(error: OSError) -> str:
    """Say why a file could not be read, without its name."""
    if isinstance(error, FileNotFoundError):
        return "no such file"
    return error.strerror or str(error)
