"""What an emulator and its host can do, as data.

`Caps` is read from a transcript of QMP replies (`host.probe` makes one, `--capabilities FILE` gives
one). Ask it about types, properties and the QMP schema; never about version numbers where one of
those tells.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Self

from msgspec import Struct, field

Json = Any  # a QMP reply: whatever QEMU says
Transcript = Mapping[str, Json]

LIBVIRT_ARCH: Final = {"arm": "armv7l", "i386": "i686"}
"""QEMU's names of architectures that libvirt spells otherwise."""


class Machine(Struct, frozen=True, kw_only=True):
    """A machine type, from `query-machines`."""

    name: str
    """Versioned where the type has versions: `pc-q35-7.2`."""
    alias: str | None = None
    default_cpu: str | None = None
    """As QEMU says it: `qemu64-x86_64-cpu`."""
    default_ram_id: str | None = None
    max_cpus: int = 1
    hotpluggable_cpus: bool = False
    numa_mem: bool = True
    acpi: bool | None = None
    """Whether the machine takes `acpi=`; None where this QEMU does not say (before 8)."""
    deprecated: bool = False
    is_default: bool = False


class Schema(Struct, frozen=True):
    """The reply to `query-qmp-schema`, searched by path."""

    entries: Mapping[str, Json]

    def has(self, path: str) -> bool:
        """Tell whether *path* exists.

        A path starts at a command or event and goes on by member names, variants with a `+`,
        enum values with a `^`, features with a `$`; `arg-type` and `ret-type` stand between a
        command and its members: `blockdev-add/arg-type/+nvme/device`,
        `chardev-add/arg-type/backend/+pty`, `screendump/arg-type/device`.
        """
        name, *steps = path.split("/")
        entry = self.entries.get(name)
        for step in steps:
            if entry is None:
                return False
            found = self._step(entry, step)
            if isinstance(found, bool):
                return found
            entry = self.entries.get(found)
        return entry is not None

    def _step(self, entry: Json, step: str) -> str | bool:
        if step in ("arg-type", "ret-type"):
            return str(entry.get(step, ""))
        while entry and entry.get("meta-type") == "array":
            entry = self.entries[entry["element-type"]]
        if step.startswith("^"):
            return step[1:] in entry.get("values", ())
        if step.startswith("$"):
            return step[1:] in entry.get("features", ())
        rows: Sequence[Json] = entry.get("variants" if step[0] == "+" else "members", ())
        key = "case" if step[0] == "+" else "name"
        for row in rows:
            if row[key] == step.lstrip("+"):
                return str(row["type"])
        return False


class Caps(Struct, frozen=True, kw_only=True):
    """What one emulator can do."""

    arch: str
    """libvirt's name of the guest architecture: x86_64, aarch64, armv7l, riscv64, ..."""
    version: tuple[int, int, int]
    types: frozenset[str]
    """QOM type names: devices, objects, accelerators."""
    props: Mapping[str, frozenset[str]]
    """Property names of the types that the probe asked about."""
    machines: Mapping[str, Machine]
    """By name and by alias."""
    schema: Schema
    command_line: Mapping[str, frozenset[str]] = field(default_factory=dict[str, frozenset[str]])
    """Parameters of each command line option."""
    cpu_models: Mapping[str, frozenset[str]] = field(default_factory=dict[str, frozenset[str]])
    """Names of the CPU models, by accelerator (`kvm`, `tcg`)."""
    cpu_expansions: Mapping[str, Sequence[Json]] = field(default_factory=dict[str, Sequence[Json]])
    """The `query-cpu-model-expansion` exchanges (`arguments`, `return`), by accelerator."""
    default_cpus: Mapping[str, Mapping[str, str]] = field(
        default_factory=dict[str, Mapping[str, str]]
    )
    """Each machine's default CPU type, by accelerator: they differ on s390x and ppc64."""
    gic_versions: Mapping[str, frozenset[int]] = field(default_factory=dict[str, frozenset[int]])
    """Versions of Arm's interrupt controller, by accelerator; empty where QEMU does not say."""
    tpm_models: frozenset[str] = frozenset()
    tpm_types: frozenset[str] = frozenset()
    migration: frozenset[str] = frozenset()
    """Migration capabilities."""
    has_kvm: bool = False
    """The emulator was probed with KVM, and it worked."""

    def has_type(self, *names: str) -> bool:
        """Tell whether QEMU has all these QOM types."""
        return self.types.issuperset(names)

    def has_prop(self, typename: str, name: str) -> bool:
        """Tell whether the type has the property; False where the probe did not ask."""
        return name in self.props.get(typename, ())

    def has_parameter(self, option: str, name: str) -> bool:
        """Tell whether command line *option* takes *name*, as `query-command-line-options` says."""
        return name in self.command_line.get(option, ())

    @property
    def has_sandbox(self) -> bool:
        """It was built with seccomp; taken for granted where the probe did not ask."""
        return not self.command_line or "sandbox" in self.command_line

    def machine(self, name: str) -> Machine | None:
        return self.machines.get(name)

    @classmethod
    def from_transcript(cls, transcript: Transcript) -> Self:
        """Read a capabilities file.

        Raises:
            KeyError, TypeError, ValueError: *transcript* is none.
        """
        first = transcript["first_pass_accel"]
        second = "tcg" if first == "kvm" else None
        passes = {first: transcript["commands"]}
        if second:
            passes[second] = transcript.get("commands_tcg", [])
        replies = _Replies(transcript["commands"])
        version = replies.one("query-version")["qemu"]
        arch = str(transcript["binary_arch"])
        return cls(
            arch=LIBVIRT_ARCH.get(arch, arch),
            version=(version["major"], version["minor"], version["micro"]),
            types=frozenset(row["name"] for row in replies.one("qom-list-types", [])),
            props=replies.props(),
            machines=_machines(replies.one("query-machines", [])),
            schema=Schema({row["name"]: row for row in replies.one("query-qmp-schema", [])}),
            command_line={
                row["option"]: frozenset(part["name"] for part in row["parameters"])
                for row in replies.one("query-command-line-options", [])
            },
            cpu_models={
                accel: frozenset(
                    row["name"] for row in _Replies(rows).one("query-cpu-definitions", [])
                )
                for accel, rows in passes.items()
            },
            cpu_expansions={
                accel: tuple(
                    row
                    for row in rows
                    if row["execute"] == "query-cpu-model-expansion" and "return" in row
                )
                for accel, rows in passes.items()
            },
            default_cpus={
                accel: {
                    row["name"]: row["default-cpu-type"]
                    for row in _Replies(rows).one("query-machines", [])
                    if "default-cpu-type" in row
                }
                for accel, rows in passes.items()
            },
            gic_versions={
                accel: frozenset(
                    row["version"] for row in replies.one("query-gic-capabilities", []) if row[key]
                )
                for accel, key in (("kvm", "kernel"), ("tcg", "emulated"))
            },
            tpm_models=frozenset(replies.one("query-tpm-models", [])),
            tpm_types=frozenset(replies.one("query-tpm-types", [])),
            migration=frozenset(
                row["capability"] for row in replies.one("query-migrate-capabilities", [])
            ),
            has_kvm=first == "kvm" and bool(replies.one("query-kvm", {}).get("enabled")),
        )


class _Replies:
    """The answers of one pass, by command."""

    def __init__(self, rows: Sequence[Json]) -> None:
        self._rows = rows

    def one(self, command: str, default: Json = None) -> Json:
        for row in self._rows:
            if row["execute"] == command and "return" in row:
                return row["return"]
        if default is None:
            raise KeyError(f"no reply to {command}")
        return default

    def props(self) -> dict[str, frozenset[str]]:
        asked = ("device-list-properties", "qom-list-properties")
        return {
            row["arguments"]["typename"]: frozenset(prop["name"] for prop in row["return"])
            for row in self._rows
            if row["execute"] in asked and "return" in row
        }


def _machines(rows: Sequence[Json]) -> dict[str, Machine]:
    result: dict[str, Machine] = {}
    for row in rows:
        machine = Machine(
            name=row["name"],
            alias=row.get("alias"),
            default_cpu=row.get("default-cpu-type"),
            default_ram_id=row.get("default-ram-id"),
            max_cpus=row.get("cpu-max", 1),
            hotpluggable_cpus=row.get("hotpluggable-cpus", False),
            numa_mem=row.get("numa-mem-supported", True),
            acpi=row.get("acpi"),
            deprecated=row.get("deprecated", False),
            is_default=row.get("is-default", False),
        )
        result[machine.name] = machine
        if machine.alias:
            result[machine.alias] = machine
    return result
