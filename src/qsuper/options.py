"""QEMU options as data, and the one renderer through which every value reaches QEMU.

An option keeps its props as a mapping until the last moment, so that the command line and QMP
(`device_add`, `object-add`) can be given the same ones. Whatever a value holds, it stays that
value: JSON where QEMU takes JSON, commas doubled elsewhere, so that none can become another
option.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum, unique
from typing import Final, Self, TypeAlias, cast

from msgspec import Struct


@unique
class Access(StrEnum):
    """How a file is opened for QEMU."""

    READ = "read"
    WRITE = "write"
    """Written from the start, what was there is lost."""
    APPEND = "append"
    READ_WRITE = "read-write"
    DEVICE = "device"
    """Read and written, and never made: a device of the host."""


class UnixListener(Struct, frozen=True, kw_only=True):
    """A listening UNIX socket that QEMU inherits."""

    name: str
    path: str | None = None
    """Where it is bound; None: `<name>.sock` in the domain's runtime directory."""


class OpenFile(Struct, frozen=True, kw_only=True):
    """A file that is opened, and made if need be, for QEMU to inherit."""

    name: str
    path: str
    access: Access = Access.READ


class SharedMemory(Struct, frozen=True, kw_only=True):
    """Memory that every member of the group naming *share* maps: a sealed memfd."""

    name: str
    share: str
    """Its name in the group; members that use one name get one memory."""
    size_bytes: int
    """Of the whole memory, whichever part of it a member uses."""
    on_host: bool = False
    """It is the file /dev/shm/*share*, for programs outside the group."""


class Doorbell(Struct, frozen=True, kw_only=True):
    """A connection to the group's own ivshmem server of memory *share*."""

    name: str
    share: str
    size_bytes: int
    vectors: int
    """How many the device has."""
    is_private: bool = False
    """It sees itself as peer 0."""
    on_host: bool = False
    """As for `SharedMemory`."""


class Tap(Struct, frozen=True, kw_only=True):
    """A tap device's descriptor."""

    name: str
    bridge: str | None = None
    """Attached to this bridge by QEMU's bridge helper; None: *ifname* exists or is made."""
    ifname: str | None = None
    queue: int = 0
    mtu: int | None = None
    """None: the kernel's."""


class VhostNet(Struct, frozen=True, kw_only=True):
    """/dev/vhost-net, opened."""

    name: str
    queue: int = 0


class FreePort(Struct, frozen=True, kw_only=True):
    """A TCP port that nobody listens on, kept for QEMU as long as it lives.

    Its number is the port's; what is inherited keeps others with qsuper off the port.
    """

    name: str
    address: str
    """Where QEMU is going to listen."""
    first: int
    """The lowest that may be taken."""


class HelperLink(Struct, frozen=True, kw_only=True):
    """A connection between QEMU and a helper; each inherits its own end."""

    name: str
    listens: bool = False
    """The helper wants a listening socket, on which QEMU's end waits to be accepted."""


class Readiness(Struct, frozen=True, kw_only=True):
    """A pipe into which a helper writes something once it is ready, and nobody else."""

    name: str


Resource: TypeAlias = (
    UnixListener
    | OpenFile
    | SharedMemory
    | Doorbell
    | Tap
    | VhostNet
    | FreePort
    | HelperLink
    | Readiness
)
"""What must be made before the spawn and is inherited. `name` is unique within a domain."""


class Handle(Struct, frozen=True, kw_only=True):
    """A value that stands for an inherited descriptor.

    Printed without numbers (`qsuper translate`) it is *shown*, what a person can paste. At launch
    it is the number of the descriptor, or port, in *live*, and *live_key* takes its key's place.
    """

    resource: Resource
    shown: str
    live: str = "{}"
    live_key: str | None = None


Word: TypeAlias = "str | Handle"
"""A word of a helper's command line."""


class Joined(Struct, frozen=True):
    """Handles whose values are written as one word, colons between: `fds=3:4:5`."""

    handles: tuple[Handle, ...]


class Null(Struct, frozen=True):
    """JSON's null, which None can't say: that leaves a prop out."""


class AtLaunch(Struct, frozen=True, kw_only=True):
    """A value that is one thing printed and another run, such as a path in the runtime directory.

    Where either is None, the prop is not there.
    """

    shown: str | int | bool | None
    live: str | int | bool | None


Scalar: TypeAlias = "str | int | bool | Handle | Joined | AtLaunch | Null"
Value: TypeAlias = "Scalar | Mapping[str, Value] | Sequence[Value] | None"
Props: TypeAlias = Mapping[str, Value]
Numbers: TypeAlias = Mapping[str, int]
"""Numbers of descriptors and ports by the name of the resource."""


@unique
class Form(StrEnum):
    """How an option is written."""

    JSON = "json"
    KEYED = "keyed"
    WORD = "word"
    FLAG = "flag"
    RAW = "raw"


_PLAIN: Final = frozenset((str, int, bool))
_BARE: Final = re.compile(r"[A-Za-z0-9_.:+-]+")  # can be nothing but the implied key's value


class Option(Struct, frozen=True):
    """`-name props`. Use the constructors `json`, `keyed`, `word`, `flag` and `raw`.

    A prop that is None is left out.
    """

    name: str
    form: Form
    props: Props
    implied: str | None = None
    """For `keyed`: the key that QEMU assumes for a first bare word."""

    @classmethod
    def json(cls, name: str, props: Props) -> Self:
        """`-device '{"driver":...}'`; for device, object, blockdev, netdev, audiodev."""
        return cls(name, Form.JSON, props)

    @classmethod
    def keyed(cls, name: str, props: Props, *, implied: str | None = None) -> Self:
        """`-machine pc,usb=off`; *implied* is the key whose value may stand first, bare."""
        return cls(name, Form.KEYED, props, implied)

    @classmethod
    def word(cls, name: str, value: str | Handle | AtLaunch) -> Self:
        """`-uuid VALUE`, for the options in which QEMU takes the whole word as it is."""
        return cls(name, Form.WORD, {"": value})

    @classmethod
    def flag(cls, name: str) -> Self:
        """`-no-reboot`."""
        return cls(name, Form.FLAG, {})

    @classmethod
    def raw(cls, *words: str) -> Self:
        """Words the user wrote for QEMU as they are (`<qemu:commandline>`), dash included."""
        return cls("", Form.RAW, {str(number): word for number, word in enumerate(words)})

    def argv(self, numbers: Numbers | None = None) -> tuple[str, ...]:
        """Render for exec.

        Args:
            numbers: The descriptors' numbers; None to show what a person can paste.

        Raises:
            KeyError: *numbers* lacks a resource that the option uses.
        """
        match self.form:
            case Form.FLAG:
                return (f"-{self.name}",)
            case Form.RAW:
                return tuple(str(word) for word in self.props.values())
            case Form.WORD:
                return f"-{self.name}", str(_live(self.props[""], numbers))
            case Form.JSON:
                text = json.dumps(_lived(self.props, numbers), separators=(",", ":"))
                return f"-{self.name}", text
            case Form.KEYED:
                return f"-{self.name}", ",".join(self._pairs(numbers))

    def handles(self) -> Iterator[Handle]:
        """Give every handle among the values, however deep."""
        yield from _handles(self.props)

    def _pairs(self, numbers: Numbers | None) -> Iterator[str]:
        for number, (key, value) in enumerate(_lived(self.props, numbers).items()):
            parts = cast("list[object]", value) if isinstance(value, list) else [value]
            for part in parts:
                text = _text(part)
                if number == 0 and key == self.implied and _BARE.fullmatch(text):
                    yield text
                else:
                    yield f"{key}={text.replace(',', ',,')}"


def spelled(words: Sequence[Word], numbers: Numbers) -> tuple[str, ...]:
    """Render a helper's command line for exec.

    Raises:
        KeyError: *numbers* lacks a resource.
    """
    return tuple(str(_live(word, numbers)) for word in words)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)


def _live(value: Value, numbers: Numbers | None) -> object:
    result: object = value
    if type(value) in _PLAIN:  # most are; the match takes as long as all the rest
        return result
    match value:
        case Handle():
            number = None if numbers is None else numbers[value.resource.name]
            result = value.shown if number is None else value.live.format(number)
        case AtLaunch():
            result = value.shown if numbers is None else value.live
        case Joined():
            result = ":".join(str(_live(part, numbers)) for part in value.handles)
        case Null():
            result = None
        case Mapping():
            result = _lived(value, numbers)
        case Sequence() if not isinstance(value, str):
            result = [_live(part, numbers) for part in value]
        case _:
            pass
    return result


def _lived(props: Props, numbers: Numbers | None) -> dict[str, object]:
    result: dict[str, object] = {}
    for key, value in props.items():
        if value is None:
            continue
        if type(value) in _PLAIN:
            result[key] = value
            continue
        if isinstance(value, AtLaunch) and _live(value, numbers) is None:
            continue
        live = numbers is not None and isinstance(value, Handle) and value.live_key
        result[live or key] = _live(value, numbers)
    return result


def _handles(value: Value) -> Iterator[Handle]:
    if isinstance(value, Handle):
        yield value
    elif isinstance(value, Joined):
        yield from value.handles
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _handles(part)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for part in value:
            yield from _handles(part)
