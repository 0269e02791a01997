"""The files of a group: the primaries, and the dependencies that they name."""

import os
from collections.abc import Iterable, Iterator
from typing import Final

from msgspec import Struct

from qsuper.errors import ConfigError, ConfigErrors
from qsuper.host.files import XmlFile, read_xml
from qsuper.location import Location
from qsuper.plan import Role
from qsuper.translate.node import Node

_DOMAIN_TYPES: Final = ("kvm", "qemu")


class Found(Struct, frozen=True, kw_only=True):
    """A member's file and its place in the group."""

    file: XmlFile
    role: Role
    needs: tuple[str, ...] = ()
    """Names of its dependencies, in document order."""


def find_members(paths: Iterable[str]) -> tuple[Found, ...]:
    """Read the primaries at *paths* and the dependencies that they name, each file once.

    Returns:
        Dependencies first, then primaries.

    Raises:
        ConfigErrors: everything that is wrong with the files as members of one group.
    """
    finder = _Finder()
    for path in paths:
        finder.add_primary(path)
    for primary in list(finder.primaries.values()):
        finder.add_dependencies(primary)
    finder.check_identities()
    if finder.errors:
        raise ConfigErrors(finder.errors)
    return finder.found()


class _Named(Struct, frozen=True):
    """A dependency, and the first element that names it."""

    file: XmlFile
    by: Node


class _Finder:
    """Goes from file to file and notes what is wrong, to find it all."""

    def __init__(self) -> None:
        self.errors: list[ConfigError] = []
        self.primaries: dict[tuple[int, int], XmlFile] = {}
        self._dependencies: dict[tuple[int, int], _Named] = {}
        self._needs: dict[tuple[int, int], dict[tuple[int, int], Node]] = {}

    def add_primary(self, path: str) -> None:
        try:
            file = read_xml(path)
            check_domain(file.root)
        except ConfigError as error:
            self.errors.append(error)
            return
        if same := self.primaries.get(file.identity):
            text = f"is the same file as {same.path}"
            self.errors.append(ConfigError(text, at=Location(path, 0), hint="name it once"))
        self.primaries.setdefault(file.identity, file)

    def add_dependencies(self, primary: XmlFile) -> None:
        for node in dependency_elements(primary.root):
            try:
                self._add_dependency(primary, node)
            except ConfigError as error:
                self.errors.append(error)

    def _add_dependency(self, primary: XmlFile, node: Node) -> None:
        file = _dependency(primary, node)
        needs = self._needs.setdefault(primary.identity, {})
        if file.identity == primary.identity:
            raise node.error(f"{file.path} is the file that names it")
        if other := self.primaries.get(file.identity):
            raise node.error(f"{file.path} is a primary of this group too ({other.path})")
        if first := needs.get(file.identity):
            raise node.error(f"{file.path} is named twice, first at {first.at}")
        if own := next(dependency_elements(file.root), None):
            text = f"{file.path} has a dependency of its own, at {own.at}"
            raise node.error(text, hint="dependencies have one level")
        needs[file.identity] = node
        self._dependencies.setdefault(file.identity, _Named(file, node))

    def check_identities(self) -> None:
        """Note members whose name or uuid is another's, or whose name can't be a directory's."""
        owners: dict[tuple[str, str], Location] = {}
        for file in self.primaries.values():
            self._check(owners, file, None)
        for named in self._dependencies.values():
            self._check(owners, named.file, named.by)

    def _check(
        self, owners: dict[tuple[str, str], Location], file: XmlFile, by: Node | None
    ) -> None:
        for tag in ("name", "uuid"):
            node = file.root.child(tag)
            if not node or not node.text:  # translation reports a missing name
                continue
            if tag == "name" and node.text.startswith((".", "-")):
                text = f"'{node.text}' can't be the name of a member"
                self.errors.append(node.error(text, hint="it must not start with '.' or '-'"))
            key = (tag, _plain_uuid(node.text) if tag == "uuid" else node.text)
            if owner := owners.get(key):
                text = f"the {tag} {node.text} is that of {owner} too"
                self.errors.append(by.error(f"{node.at}: {text}") if by else node.error(text))
            owners.setdefault(key, node.at)

    def found(self) -> tuple[Found, ...]:
        dependencies = [
            Found(file=named.file, role=Role.DEPENDENCY) for named in self._dependencies.values()
        ]
        primaries = [
            Found(
                file=file,
                role=Role.PRIMARY,
                needs=tuple(
                    self._dependencies[need].file.root.child_text("name") or ""
                    for need in self._needs.get(identity, ())
                ),
            )
            for identity, file in self.primaries.items()
        ]
        return (*dependencies, *primaries)


def check_domain(root: Node) -> None:
    """Check that a file is a domain of ours.

    Raises:
        ConfigError: it is not.
    """
    if root.tag != "domain":
        raise root.error("this file is no domain", hint="the root must be <domain>")
    kind = root.get("type")
    if kind not in _DOMAIN_TYPES:
        raise root.error(f"type='{kind or ''}' is not supported", hint="kvm or qemu")


def dependency_elements(root: Node) -> Iterator[Node]:
    """Give the `<domaindependency>` elements of a domain."""
    for section in root.children("devices"):
        yield from section.children("domaindependency")


def _dependency(primary: XmlFile, node: Node) -> XmlFile:
    """Read the file that an element names.

    Raises:
        ConfigError: the file cannot be read, or is no domain of ours; at the element.
    """
    if not node.text:
        raise node.error("names no file")
    path = os.path.join(os.path.dirname(primary.path), node.text)
    try:
        file = read_xml(path)
        check_domain(file.root)
    except ConfigError as error:
        raise node.error(str(error)) from error
    return file


def _plain_uuid(text: str) -> str:
    """Drop what libvirt does not look at when it compares."""
    return text.replace("-", "").lower()
