"""What the members of a group share, judged across the members."""

from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct

from qsuper.caps import Caps
from qsuper.errors import ConfigError
from qsuper.plan import Role, Vector
from qsuper.translate.model import Domain, Share
from qsuper.translate.node import Node
from qsuper.translate.parts.fabric import Fabric, Ram
from qsuper.translate.parts.sdm import is_native
from qsuper.translate.site import SharedRam


def shared_rams(members: Iterable[tuple[Node, Caps]]) -> Mapping[str, SharedRam]:
    """Find the main memories that are shared, from the `<domain>`s as they are read.

    What is wrong with them is not said here: translation and `group_problems` say it.
    """
    owners: dict[str, Ram] = {}
    windows: dict[str, list[tuple[int, int]]] = {}
    in_pieces: set[str] = set()
    names: dict[str, str] = {}
    plain: set[str] = set()
    for root, caps in members:
        try:
            ram = Fabric.parse(root).ram
        except ConfigError:
            continue
        if ram is None:
            continue
        if not is_native(caps):
            plain.add(ram.memory)
        if not ram.is_window:
            owners[ram.memory] = ram
            names[ram.memory] = root.child_text("name") or ""
            continue
        end = ram.offset_bytes + ram.size_bytes
        windows.setdefault(ram.memory, []).append((ram.offset_bytes, end))
        if not caps.has_prop("memory-backend-file", "offset"):
            in_pieces.add(ram.memory)
    return {
        name: SharedRam(
            name=name,
            size_bytes=ram.size_bytes,
            windows=tuple(sorted(windows.get(name, ()))),
            in_pieces=name in in_pieces and name in plain,
            owner=names[name],
            is_native=name not in plain,
            on_host=ram.on_host,
        )
        for name, ram in owners.items()
    }


class Judged(Struct, frozen=True, kw_only=True):
    """A member that was translated."""

    role: Role
    domain: Domain


def group_problems(members: Iterable[Judged]) -> Iterator[ConfigError]:
    """Give what is wrong between the members."""
    members = tuple(members)
    yield from _ram_problems(members)
    shares: dict[str, Share] = {}
    for member in members:
        yield from _share_problems(member.domain, shares)
    yield from _name_problems(members, shares)
    for member in members:
        yield from _vector_problems(member.domain, shares)


def _ram_problems(members: tuple[Judged, ...]) -> Iterator[ConfigError]:
    owners: dict[str, Ram] = {}
    for member in members:
        ram = member.domain.fabric.ram
        if ram is None:
            continue
        if ram.is_window and member.role is Role.PRIMARY:
            yield ram.node.error("a window is for a dependency", hint="<q:memory>")
        if not ram.is_window and member.role is Role.DEPENDENCY:
            yield ram.node.error("a memory belongs to a primary", hint="<q:window>")
        if ram.is_window:
            continue
        if first := owners.get(ram.memory):
            yield ram.node.error(f"memory '{ram.memory}' is that of {first.node.at} too")
        owners.setdefault(ram.memory, ram)
    rams = (member.domain.fabric.ram for member in members)
    yield from _window_problems([ram for ram in rams if ram is not None and ram.is_window], owners)


def _window_problems(windows: list[Ram], owners: Mapping[str, Ram]) -> Iterator[ConfigError]:
    for number, window in enumerate(windows):
        owner = owners.get(window.memory)
        if owner is None:
            text = f"no primary of the group has a memory '{window.memory}'"
            yield window.node.error(text, hint=f"<q:memory name='{window.memory}' size=>")
            continue
        begin, end = window.offset_bytes, window.offset_bytes + window.size_bytes
        if end > owner.size_bytes:
            text = f"memory '{window.memory}' ends before the window does"
            yield window.node.error(text, hint=f"it has {owner.size_bytes >> 20} MiB")
        for other in windows[:number]:
            other_end = other.offset_bytes + other.size_bytes
            same = other.memory == window.memory
            if same and begin < other_end and other.offset_bytes < end:
                yield window.node.error(f"overlaps the window at {other.node.at}")


def _share_problems(domain: Domain, shares: dict[str, Share]) -> Iterator[ConfigError]:
    """Compare a domain's `<shmem>`s with those before it, and add them."""
    own: set[str] = set()
    for device in domain.devices:
        share = device.shared_memory
        if share is None:
            continue
        first = shares.setdefault(share.name, share)
        if first.size_bytes != share.size_bytes:
            text = f"'{share.name}' has {share.size_bytes >> 20} MiB"
            yield share.error(f"{text}, but {first.size_bytes >> 20} MiB at {first.at}")
        if share.vectors and share.name in own:
            yield share.error(f"the domain has two doorbells on '{share.name}'")
        if share.vectors:
            own.add(share.name)
        if share.vectors > first.vectors:
            shares[share.name] = share


def _name_problems(
    members: tuple[Judged, ...], shares: Mapping[str, Share]
) -> Iterator[ConfigError]:
    for member in members:
        fabric = member.domain.fabric
        if fabric.ram is not None and fabric.ram.memory in shares:
            at = shares[fabric.ram.memory].at
            yield fabric.ram.node.error(f"'{fabric.ram.memory}' is the name of the shmem at {at}")


def _vector_problems(domain: Domain, shares: Mapping[str, Share]) -> Iterator[ConfigError]:
    named: list[tuple[Node, Vector]] = [
        (rule.node, rule.signal.vector) for rule in domain.fabric.rules
    ]
    if domain.fabric.boot is not None:
        named.append((domain.fabric.boot.node, domain.fabric.boot.vector))
    for node, vector in named:
        share = shares.get(vector.share)
        if share is None or not share.vectors:
            yield node.error(
                f"no member of the group has a doorbell on shmem '{vector.share}'",
                hint="<model type='ivshmem-doorbell'/> without <server path=>",
            )
        elif vector.number >= share.vectors:
            text = f"shmem '{vector.share}' has no vector {vector.number}"
            yield node.error(text, hint=f"it has 0 to {share.vectors - 1}")
