"""A domain that `qsuper up` has started, paused, and what its QEMU says that the guest would see.

Every question is one that can be answered wrongly: what is compared stands in the test, as the
domain XML asked for it.
"""

import json
import re
import subprocess
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias

from qsuper.control.client import Connection
from qsuper.errors import QsuperError
from tests.support.lab import Lab
from tests.support.supervised import PATIENCE_S

Json: TypeAlias = Any  # what QEMU answers
Props: TypeAlias = dict[str, str]

_BUS: Final = re.compile(r"bus: (\S+)")
_DEVICE: Final = re.compile(r'dev: (\S+), id "(.*)"')
_PCI: Final = re.compile(r"pci id ([0-9a-f]{4}:[0-9a-f]{4})")
_FILE_DIRECTORY: Final = 0x19  # QEMU docs/specs/fw_cfg.rst

NOTHING: Final = "<controller type='usb' model='none'/><memballoon model='none'/>"
"""Devices for a machine that shall have none but those of the test."""


def xml(
    devices: str,
    *,
    machine: str = "q35",
    arch: str = "x86_64",
    system: str = "",
    parts: str = "",
    memory: str = "<memory unit='MiB'>128</memory>",
) -> str:
    """Give a domain: *system* stands in `<os>`, *parts* beside it."""
    return (
        "<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>"
        f"<name>seen</name><uuid>6d2d6ac4-7a3f-4a5e-9c62-3a0c6f0e4b11</uuid>\n{memory}\n"
        f"<os><type arch='{arch}' machine='{machine}'>hvm</type>{system}</os>\n{parts}\n"
        f"<devices>\n{devices}\n</devices></domain>\n"
    )


def file(source: str, target: str, *, driver: str = "type='raw'", more: str = "") -> str:
    """Give a disk."""
    return (
        f"<disk type='file'><driver name='qemu' {driver}/><source file='{source}'/>"
        f"<target {target}/>{more}</disk>\n"
    )


class Seen:
    """A running domain, asked over its supervisor."""

    def __init__(self, connection: Connection, monitor: Connection) -> None:
        """Take connections to the supervisor and to QEMU's own monitor for others."""
        self._connection = connection
        self._monitor = monitor

    def qmp(self, command: str, /, **arguments: Json) -> Json:
        """Give what QEMU returns for a command; underscores in arguments stand for hyphens."""
        inner = {
            "execute": command,
            "arguments": {key.replace("_", "-"): value for key, value in arguments.items()},
        }
        return self._connection.execute(
            "qmp", {"domain": "seen", "command": inner}, timeout_s=PATIENCE_S
        )

    def rows(self, command: str, key: str = "id", /) -> dict[str, Any]:
        """Give what QEMU lists, by one of the fields of each row."""
        return {str(row.get(key, "")): row for row in self.qmp(command)}

    def hmp(self, line: str) -> str:
        """Give what the human monitor says, where QMP tells nothing of it."""
        return str(self.qmp("human-monitor-command", command_line=line))

    def names(self, path: str = "/machine/peripheral") -> set[str]:
        """Name the children and properties of an object."""
        return {row["name"] for row in self.qmp("qom-list", path=path)}

    def kinds(self, path: str = "/machine/peripheral") -> dict[str, str]:
        """Give the types of an object's children by name: of all devices, unless said otherwise."""
        rows = self.qmp("qom-list", path=path)
        return {
            row["name"]: row["type"].removeprefix("child<").removesuffix(">")
            for row in rows
            if row["type"].startswith("child<")
        }

    def get(self, place: str) -> Json:
        """Give a property, as `net0:mac` of a device or `/objects/x:y` of what has a whole path."""
        path, _, name = place.rpartition(":")
        whole = path if path.startswith("/") else f"/machine/peripheral/{path}"
        try:
            return self.qmp("qom-get", path=whole, property=name)
        except QsuperError as error:
            return f"{type(error).__name__}: {error}"

    def alike(self, wanted: Mapping[str, Json]) -> dict[str, Json]:
        """Give the properties that *wanted* names, to compare with it as a whole."""
        return {place: self.get(place) for place in wanted}

    def tree(self) -> dict[str, Props]:
        """Give all devices by name, else kind: the `bus` and `kind` of each and its properties.

        A PCI device has `pci`, its vendor and device, here alone: `query-pci` knows nothing of what
        is behind bridges before firmware has numbered them.
        """
        found: dict[str, Props] = {}
        buses: list[tuple[int, str]] = []
        current: Props = {}
        for line in self.hmp("info qtree").splitlines():
            word = line.strip()
            depth = len(line) - len(line.lstrip())
            if match := _BUS.fullmatch(word):
                buses = [row for row in buses if row[0] < depth]
                buses.append((depth, match[1]))
            elif match := _DEVICE.fullmatch(word):
                bus = [name for at, name in buses if at < depth][-1]
                current = {"kind": match[1], "bus": bus}
                found[match[2] or match[1]] = current
            elif match := _PCI.search(word):
                current["pci"] = match[1]
            elif " = " in word:
                key, _, value = word.partition(" = ")
                current[key] = value.strip('"')
        return found

    def places(self) -> dict[str, str]:
        """Give each PCI device's bus and address, with its vendor and device."""
        return {
            name: f"{row['bus']} {row['addr']} {row['pci']}"
            for name, row in self.tree().items()
            if "pci" in row
        }

    def built_in(self, kind: str) -> str:
        """Give the path of the first device of a kind that the machine has by itself."""
        path = "/machine/unattached"
        return next(f"{path}/{name}" for name, found in self.kinds(path).items() if found == kind)

    def firmware_files(self, *wanted: str) -> dict[str, bytes]:
        """Give what fw_cfg has for the firmware of a PC, read from its ports as a guest does.

        All that are there; those *wanted* with what is in them.
        """
        count = int.from_bytes(self._firmware_item(_FILE_DIRECTORY, 4))
        listed = self._firmware_item(_FILE_DIRECTORY, 4 + 64 * count)[4:]
        entries = {
            row[8:].rstrip(b"\0").decode(): (
                int.from_bytes(row[4:6]),
                int.from_bytes(row[:4]),
            )
            for row in (listed[at : at + 64] for at in range(0, len(listed), 64))
        }
        return {
            name: self._firmware_item(key, size if name in wanted else 0)
            for name, (key, size) in entries.items()
        }

    def firmware_number(self, key: int) -> int:
        """Give one of fw_cfg's numbers."""
        return int.from_bytes(self._firmware_item(key, 2), "little")

    def _firmware_item(self, key: int, size: int) -> bytes:
        command = "human-monitor-command"
        self._monitor.execute(command, {"command-line": f"o /h 0x510 {key}"})
        read = {"command-line": "i /b 0x511"}
        said = (self._monitor.execute(command, read) for _ in range(size))
        return bytes(int(line.partition(" = ")[2], 16) for line in said)

    def numbered(self) -> dict[str, tuple[int, int, int]]:
        """Give the places of PCI devices on buses that have their number: bus, slot, function."""
        return {
            row["qdev_id"]: (row["bus"], row["slot"], row["function"])
            for bus in self.qmp("query-pci")
            for row in bus["devices"]
        }


def blocks(vm: Seen) -> dict[str, Any]:
    """Give `query-block` by the devices' names."""
    found: dict[str, Any] = {}
    for row in vm.qmp("query-block"):
        name = row["qdev"].removeprefix("/machine/peripheral/").removesuffix("/virtio-backend")
        found[name] = row
    return found


class Boots:
    """Starts domains in a lab, and ends them."""

    def __init__(self, lab: Lab) -> None:
        """Take a lab whose files the domains name."""
        self.lab = lab
        self.root = lab.root
        self.warning = ""
        """What `qsuper up` is to say."""

    def image(self, name: str, *words: str, size: str = "1M", form: str = "raw") -> Path:
        """Make an image, as by `qemu-img create`; give its path."""
        path = self.root / name
        subprocess.run(
            ["qemu-img", "create", "-q", "-f", form, *words, str(path), *((size,) if size else ())],
            check=True,
            timeout=PATIENCE_S,
        )
        return path

    def secret(self, name: str, value: str) -> None:
        """Put a secret where qsuper looks for it."""
        directory = self.root / "config" / "qsuper" / "credentials"
        directory.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(value)

    @contextmanager
    def __call__(self, text: str, *words: str) -> Generator[Seen]:
        """Give a domain that `qsuper up` has started and that waits for its first instruction."""
        file = self.root / "seen.xml"
        file.write_text(text)
        done = self.lab.run("up", "-d", "--paused", *words, str(file))
        assert done.status == 0, (done, self.log())
        control = self.lab.runtime / "groups" / "seen" / "control.sock"
        monitor = self.lab.runtime / "domains" / "seen" / "monitor.sock"
        with (
            Connection(str(control), "seen") as connection,
            Connection(str(monitor), "seen's QEMU") as direct,
        ):
            try:
                assert done.out == "Domain 'seen' started, paused\n"
                assert done.err.removeprefix("qsuper: ").rstrip() == self.warning
                yield Seen(connection, direct)
            finally:
                connection.execute("destroy", {"domain": "seen"}, timeout_s=PATIENCE_S)

    def log(self) -> str:
        """Give what QEMU has said."""
        path = self.lab.state / "qsuper" / "seen" / "qemu.log"
        return path.read_text() if path.exists() else ""

    def line(self) -> list[str]:
        """Give the command line that the domain has, to look at when a test fails."""
        done = self.lab.run("translate", "--format", "json", str(self.root / "seen.xml"))
        found: list[str] = json.loads(done.out)["argv"]
        return found
