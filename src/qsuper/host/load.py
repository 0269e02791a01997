"""From files to plans: read, find out what translation needs to know, translate."""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import NamedTuple

from msgspec.structs import replace

from qsuper.caps import Caps
from qsuper.errors import ConfigError, ConfigErrors, UnavailableError
from qsuper.host.files import XmlFile, read_xml
from qsuper.host.members import Found, check_domain, find_members
from qsuper.host.surroundings import Accel, Settings, Surroundings
from qsuper.location import Notice
from qsuper.plan import GroupPlan, LaunchPlan, Member
from qsuper.translate.group import Judged, group_problems, shared_rams
from qsuper.translate.model import Translation
from qsuper.translate.passes import translate
from qsuper.translate.site import SharedRam

__all__ = [
    "Accel",
    "Loaded",
    "LoadedDomain",
    "Settings",
    "load_domain",
    "load_found",
    "load_group",
    "translated",
]


class Loaded(NamedTuple):
    """A group, ready to be started."""

    group: GroupPlan
    notices: tuple[Notice, ...]


class LoadedDomain(NamedTuple):
    """A domain by itself."""

    plan: LaunchPlan
    notices: tuple[Notice, ...]


def load_domain(path: str, settings: Settings) -> LoadedDomain:
    """Translate the domain in one file; its dependencies are not looked at.

    Raises:
        ConfigError, ConfigErrors: the file is wrong, or asks for what qsuper can't do.
        UnavailableError: this host lacks its emulator, or KVM.
        EmulatorError, TimedOutError: its emulator does not say what it can do.
        UsageError: the settings or the configuration make no sense.
    """
    _, translation = translated(path, settings)
    obstacles = translation.obstacles
    if obstacles and settings.is_to_run:
        raise ConfigErrors(list(obstacles))
    return LoadedDomain(translation.plan, (*translation.notices, *as_notices(obstacles)))


def translated(path: str, settings: Settings) -> tuple[XmlFile, Translation]:
    """Give the file at *path* with what became of it.

    Raises: as `load_domain`.
    """
    file = read_xml(path)
    check_domain(file.root)
    surroundings = _surroundings(settings)
    emulator = surroundings.emulator(file.root)
    caps = surroundings.caps([emulator])[emulator]
    surroundings.check_accel(file.root, emulator, caps)
    return file, _translated(file, emulator, caps, surroundings, {})


def load_group(paths: list[str], settings: Settings) -> Loaded:
    """Translate the primaries in the files at *paths* and the dependencies that they name.

    Raises:
        ConfigErrors: all that is wrong with the files, of all members.
        UnavailableError: this host lacks an emulator, or KVM.
        EmulatorError, TimedOutError: an emulator does not say what it can do.
        UsageError: the settings or the configuration make no sense.
    """
    return load_found(find_members(paths), settings)


def load_found(found: tuple[Found, ...], settings: Settings) -> Loaded:
    """Translate the members of a group.

    Raises: as `load_group`.
    """
    surroundings = _surroundings(settings)
    emulators = _emulators([member.file for member in found], surroundings)
    caps = surroundings.caps(emulators.values())
    memories = shared_rams(
        (member.file.root, caps[emulators[member.file.identity]]) for member in found
    )
    members: list[Member] = []
    judged: list[Judged] = []
    notices: list[Notice] = []
    errors: list[ConfigError] = []
    lacks: list[UnavailableError] = []
    for member in found:
        file = member.file
        emulator = emulators[file.identity]
        try:
            surroundings.check_accel(file.root, emulator, caps[emulator])
        except UnavailableError as error:
            lacks.append(error)
        except ConfigError as error:
            errors.append(error)
        try:
            translation = _translated(file, emulator, caps[emulator], surroundings, memories)
        except ConfigErrors as several:
            errors += several.errors
        except ConfigError as error:
            errors.append(error)
        else:
            if settings.is_to_run:
                errors += translation.obstacles
            notices += (*translation.notices, *as_notices(translation.obstacles))
            judged.append(Judged(role=member.role, domain=translation.domain))
            members.append(
                Member(
                    plan=translation.plan,
                    role=member.role,
                    needs=member.needs,
                    source=file.path,
                    xml=file.text,
                )
            )
    if len(judged) == len(found):  # else what is missing would be wrong once more
        errors += group_problems(judged)
    if errors:
        raise ConfigErrors(errors)
    _raise_all(lacks)
    return Loaded(GroupPlan(tuple(members), surroundings.logs), tuple(notices))


@lru_cache(maxsize=1)
def _surroundings(settings: Settings) -> Surroundings:
    return Surroundings(settings)


def _emulators(files: list[XmlFile], surroundings: Surroundings) -> dict[tuple[int, int], str]:
    result: dict[tuple[int, int], str] = {}
    lacks: list[UnavailableError] = []
    for file in files:
        try:
            result[file.identity] = surroundings.emulator(file.root)
        except UnavailableError as error:
            lacks.append(error)
    _raise_all(lacks)
    return result


def as_notices(obstacles: tuple[ConfigError, ...]) -> Iterator[Notice]:
    """Give the obstacles to a start as they are shown where nothing is started."""
    for obstacle in obstacles:
        yield Notice(obstacle.at, f"this can't be started: {obstacle.text}")


def _raise_all(lacks: list[UnavailableError]) -> None:
    if lacks:
        raise UnavailableError("\n".join(map(str, lacks)))


def _translated(
    file: XmlFile,
    emulator: str,
    caps: Caps,
    surroundings: Surroundings,
    memories: Mapping[str, SharedRam],
) -> Translation:
    data, notices = surroundings.data(file.root)
    translation = translate(file.root, caps, replace(data, memories=memories))
    return replace(
        translation,
        plan=replace(translation.plan, emulator=emulator),
        notices=(*notices, *translation.notices),
    )
