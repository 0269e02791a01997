"""Who the guest is: uuid, SMBIOS tables, firmware configuration, generation id."""

import re
from collections.abc import Iterator
from enum import StrEnum, unique
from itertools import islice
from typing import Final, Self

from msgspec import Struct

from qsuper.errors import ConfigError
from qsuper.location import Notice
from qsuper.options import Option, Props, Value
from qsuper.translate.node import Node
from qsuper.translate.site import Site

_UUID: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)
_DATE: Final = re.compile(r"([0-9]{1,9})/([0-9]{1,9})/([0-9]{1,9})", re.ASCII)
# Element of <sysinfo>: number of the SMBIOS structure, entries in the order of the command line.
_TABLES: Final = {
    "bios": (0, ("vendor", "version", "date", "release")),
    "system": (1, ("manufacturer", "product", "version", "serial", "uuid", "sku", "family")),
    "baseBoard": (2, ("manufacturer", "product", "version", "serial", "asset", "location")),
    "chassis": (3, ("manufacturer", "version", "serial", "asset", "sku")),
}
_MONTHS: Final = range(1, 13)
_DAYS: Final = range(1, 32)
_NO_YEARS: Final = range(100, 1900)
_OEM_STRINGS: Final = 11
_FWCFG_NAMES: Final = ("opt/",)
_FWCFG_RESERVED: Final = ("opt/ovmf/", "opt/org.qemu/")
_MOST_STRING: Final = 1023  # what QEMU takes for one value on its command line


@unique
class SmbiosMode(StrEnum):
    """Where the SMBIOS tables come from."""

    EMULATE = "emulate"
    """QEMU's own."""
    HOST = "host"
    SYSINFO = "sysinfo"


@unique
class _SysinfoType(StrEnum):
    SMBIOS = "smbios"
    FWCFG = "fwcfg"


class Sysinfo(Struct, frozen=True, kw_only=True):
    """What `<sysinfo>`, `<os><smbios>` and `<genid>` say."""

    smbios_node: Node | None = None
    mode: SmbiosMode = SmbiosMode.EMULATE
    has_tables: bool = False
    """There is a `<sysinfo type='smbios'>`, with something in it or not."""
    second_board: Node | None = None
    """QEMU has room for one."""
    tables: tuple[Props, ...] = ()
    """Props of `-smbios`."""
    entries: tuple[Props, ...] = ()
    """Props of `-fw_cfg`."""
    remarks: tuple[Notice, ...] = ()
    system_uuid: str = ""
    """Hexadecimal digits of `<system>`'s; must be the domain's."""
    genid_node: Node | None = None
    genid: str = ""
    """`auto`: a new one at each start."""

    @classmethod
    def parse(cls, node: Node) -> Self:
        """Read `<sysinfo>`, `<os><smbios>` and `<genid>` of `<domain>`.

        Raises:
            ConfigError: a date or uuid is none, an entry has no name or no value.
        """
        os = node.child("os")
        smbios = os.child("smbios") if os is not None else None
        infos = [(found.enum("type", _SysinfoType), found) for found in node.children("sysinfo")]
        tabled = [found for kind, found in infos if kind is _SysinfoType.SMBIOS]
        # Of several libvirt takes the first, and still wants the others to be right.
        tables = next(iter([tuple(_tables(found)) for found in tabled]), ())
        boards = (board for found in tabled[:1] for board in found.children("baseBoard"))
        uuids = [str(table["uuid"]) for table in tables if table.get("uuid")]
        genid = node.child("genid")
        if len(list(node.children("genid"))) > 1:
            raise node.error("<genid> is there twice", hint="remove one")
        return cls(
            smbios_node=smbios,
            mode=smbios.enum("mode", SmbiosMode, SmbiosMode.EMULATE)
            if smbios is not None
            else SmbiosMode.EMULATE,
            has_tables=bool(tabled),
            second_board=next(islice(boards, 1, None), None),
            tables=tables,
            entries=tuple(
                entry
                for kind, found in infos
                if kind is _SysinfoType.FWCFG
                for entry in _fwcfg(found)
            ),
            remarks=tuple(notice for found in tabled for notice in _unknown_entries(found)),
            system_uuid=_digits(uuids[0]) if uuids else "",
            genid_node=genid,
            genid=_genid(genid) if genid is not None else "",
        )

    def problems(self, site: Site, *, uuid: str) -> Iterator[ConfigError]:
        """Give what does not fit the machine, the emulator or the domain's *uuid*."""
        node = self.smbios_node
        if node is not None and self.mode is SmbiosMode.HOST:
            yield node.error("mode='host' is not supported", hint="use sysinfo or emulate")
        if node is not None and self.mode is SmbiosMode.SYSINFO:
            if not self.has_tables:
                yield node.error(
                    "there is nothing to take the tables from", hint="add <sysinfo type='smbios'>"
                )
            if self.second_board is not None:
                yield self.second_board.error("QEMU knows one board only", hint="remove it")
            if not (site.is_x86 or site.is_virt):
                yield node.error(f"machine '{site.machine}' has no SMBIOS", hint="remove it")
            if self.system_uuid and uuid and self.system_uuid != _digits(uuid):
                yield node.error(
                    "<uuid> and the uuid in <sysinfo> differ", hint="make them the same"
                )
        if self.genid_node is not None and not site.caps.has_type("vmgenid"):
            yield self.genid_node.error("this emulator has no vmgenid device", hint="remove it")

    def notices(self) -> Iterator[Notice]:
        """Give what was read and has no effect."""
        yield from self.remarks

    def options(self, site: Site, *, uuid: str) -> Iterator[Option]:
        """Give `-uuid`, `-smbios`, `-fw_cfg`, the vmgenid device."""
        del site
        yield Option.word("uuid", uuid)
        if self.mode is SmbiosMode.SYSINFO:
            for table in self.tables:
                yield Option.keyed("smbios", table)
        for entry in self.entries:
            yield Option.keyed("fw_cfg", entry)
        if self.genid:
            yield Option.json("device", {"driver": "vmgenid", "guid": self.genid, "id": "vmgenid0"})


def _tables(node: Node) -> Iterator[Props]:
    for tag, (number, names) in _TABLES.items():
        for table in _first(node, tag):
            values = dict(_entries(table, names))
            if tag == "bios":
                _check_bios(table, values)
            if values.keys() == {"sku"} and tag == "system":
                continue  # libvirt writes no table for it alone
            if values and tag in ("baseBoard", "chassis"):
                values.setdefault("manufacturer", "")  # libvirt writes it, and the guest sees it
            ordered: dict[str, Value] = {name: values.get(name) for name in names}
            if values:
                yield {"type": number} | ordered
    for table in _first(node, "oemStrings"):
        strings = [entry.text for entry in table.children("entry")]
        if strings:
            yield {"type": _OEM_STRINGS, "value": strings}


def _first(node: Node, tag: str) -> Iterator[Node]:
    """Give the first of these elements, which is the one that libvirt takes."""
    yield from islice(node.children(tag), 1)


def _entries(table: Node, names: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for entry in table.children("entry"):
        name = entry.get("name")
        if name is None or name not in names:
            continue  # `_unknown_entries` tells of it
        if len(entry.text) > _MOST_STRING:
            raise entry.error("the value is too long", hint=f"at most {_MOST_STRING} bytes")
        if name == "uuid" and not _UUID.fullmatch(_digits(entry.text)):
            raise entry.error(f"'{entry.text[:60]}' is not a uuid")
        if entry.text:
            yield name, entry.text


def _unknown_entries(node: Node) -> Iterator[Notice]:
    for tag, (_, names) in _TABLES.items():
        for table in node.children(tag):
            for entry in table.children("entry"):
                name = entry.get("name")
                if name is None:
                    yield entry.notice("without name= it has no effect")
                elif name not in names:
                    yield entry.notice(f"name='{name}' is unknown and has no effect")


def _check_bios(table: Node, values: dict[str, str]) -> None:
    date = values.get("date")
    if date is None:
        return
    found = _DATE.fullmatch(date)
    month, day, year = (int(number) for number in found.groups()) if found else (0, 0, 0)
    if month not in _MONTHS or day not in _DAYS or year in _NO_YEARS:
        raise table.error(f"date '{date[:60]}' is none", hint="mm/dd/yyyy")


def _fwcfg(node: Node) -> Iterator[Props]:
    for entry in node.children("entry"):
        name = entry.required("name")
        path = entry.file("file")
        if not name.startswith(_FWCFG_NAMES):
            raise entry.error(f"name='{name}' is none for users", hint="opt/com.example/NAME")
        if name.startswith(_FWCFG_RESERVED):
            raise entry.error(f"name='{name}' is reserved", hint="opt/com.example/NAME")
        if not (path or entry.text):
            raise entry.error("needs a value or a file", hint="either text or file='PATH'")
        if entry.text:
            yield {"name": name, "string": entry.text}
        else:
            yield {"name": name, "file": path}


def _genid(node: Node) -> str:
    if not node.text:
        return "auto"
    if not _UUID.fullmatch(_digits(node.text)):
        raise node.error(f"'{node.text[:60]}' is not a uuid", hint="empty for a new one each time")
    digits = _digits(node.text)
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _digits(uuid: str) -> str:
    return uuid.replace("-", "").lower()
