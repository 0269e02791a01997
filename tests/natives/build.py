"""Make the capabilities files of this directory: `python -m tests.natives.build`.

The QEMUs that they stand for are on no distributor's mirror. Each file is what a QEMU of this host
says to `qsuper capabilities`, cut down to what the translation of the domains here asks of it, with
the types and machines added that the other QEMU has.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from qsuper.host.probe import default_emulator, transcripts_of

Row = dict[str, Any]

DIRECTORY: Final = Path(__file__).parent / "capabilities"
_TYPES: Final = ("ivshmem-doorbell", "pcie-pci-bridge", "pcie-root-port", "qemu-xhci")
_OPTIONS: Final = ("sandbox", "smp-opts")
_MODELS: Final = ("cortex-a53", "qemu64")
_SERIES: Final = {
    "memory-backend-shared": "memory-backend",
    "multi-socket-backend": "object",
    "sdm-communication-socket": "object",
    "sdm-signal-shboot": "object",
    "virtio-sdm-device": "virtio-device",
}
"""What the series of 2016 adds, with the type that each one is of."""
_AMD: Final = {"remote-port": "device"}


class Wanted(NamedTuple):
    """A file, and what is in it."""

    arch: str
    """libvirt's name of the architecture whose emulator is asked."""
    machines: tuple[str, ...] = ()
    """Those of the emulator that are kept, by their aliases."""
    types: Mapping[str, str] = {}
    added: tuple[Row, ...] = ()
    """Further machines."""


FILES: Final = {
    "series-x86_64": Wanted("x86_64", ("q35",), _SERIES),
    "series-aarch64": Wanted("aarch64", ("virt",), _SERIES),
    "amd-aarch64": Wanted("aarch64", types=_AMD, added=({"name": "arm-generic-fdt"},)),
    "amd-microblazeel": Wanted("microblazeel", types=_AMD, added=({"name": "microblaze-fdt"},)),
}
_OF_EACH_MACHINE: Final = {"hotpluggable-cpus": False, "numa-mem-supported": False, "cpu-max": 16}


def main() -> None:
    """Write all files."""
    for name, wanted in FILES.items():
        (DIRECTORY / f"{name}.json").write_text(content(wanted))


def content(wanted: Wanted) -> str:
    """Give a file's content.

    Raises:
        UnavailableError: there is no emulator for its architecture here.
    """
    emulator = default_emulator(wanted.arch)
    transcript = transcripts_of([emulator])[emulator]
    rows = {row["execute"]: row["return"] for row in transcript["commands"] if "return" in row}
    cut = {
        "source": f"tests/natives/build.py, from QEMU {transcript['qemu_version']}",
        "binary_arch": transcript["binary_arch"],
        "qemu_version": transcript["qemu_version"],
        "first_pass_accel": "tcg",
        "commands": [
            {"execute": command, "return": cut(rows[command], wanted)}
            for command, cut in _KEPT.items()
            if command in rows
        ],
    }
    return json.dumps(cut, indent=1) + "\n"


def _types(rows: list[Row], wanted: Wanted) -> list[Row]:
    added = [{"name": name, "parent": parent} for name, parent in wanted.types.items()]
    return [row for row in rows if row["name"] in _TYPES] + added


def _machines(rows: list[Row], wanted: Wanted) -> list[Row]:
    found = (row for row in rows if {row["name"], row.get("alias")} & set(wanted.machines))
    return [*found, *({**_OF_EACH_MACHINE, **row} for row in wanted.added)]


def _options(rows: list[Row], _: Wanted) -> list[Row]:
    return [
        {**row, "parameters": [{"name": each["name"]} for each in row["parameters"]]}
        for row in rows
        if row["option"] in _OPTIONS
    ]


def _models(rows: list[Row], _: Wanted) -> list[Row]:
    return [{"name": row["name"]} for row in rows if row["name"] in _MODELS]


def _whole(answer: Any, _: Wanted) -> Any:  # noqa: ANN401 - whatever QEMU says
    return answer


_KEPT: Final[Mapping[str, Callable[[Any, Wanted], Any]]] = {
    "query-version": _whole,
    "query-target": _whole,
    "qom-list-types": _types,
    "query-machines": _machines,
    "query-command-line-options": _options,
    "query-cpu-definitions": _models,
}


if __name__ == "__main__":
    main()
