"""`<cpu>`: the model of the virtual CPU and its features.

Source: libvirt `formatdomain.rst`, "CPU model and topology"; `qemuBuildCpuCommandLine`.
"""

import re
from collections.abc import Iterator
from enum import StrEnum, unique
from typing import Final, Self

from msgspec import Struct

from qsuper.errors import ConfigError
from qsuper.location import Notice
from qsuper.options import Option, Props, Value
from qsuper.translate.node import Node
from qsuper.translate.parts.clock import Clock
from qsuper.translate.parts.cpu_names import is_feature, is_model, removed_features, switch
from qsuper.translate.parts.features import Features
from qsuper.translate.parts.hostmodel import HostModel, host_model, known_features
from qsuper.translate.site import Site

_TYPE_SUFFIX: Final = re.compile(r"-(x86_64|i386|arm|riscv|riscv32|riscv64|[a-z0-9]+)-cpu")
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,99}", re.ASCII)
_SVE: Final = re.compile(r"sve[0-9]+", re.ASCII)
_MODEL: Final = ""  # QEMU has no key for it, and `model` is a prop of its own
_VENDOR_LENGTH: Final = 12
_MOST_PHYS_BITS: Final = 64


@unique
class CpuMode(StrEnum):
    """Where the model comes from."""

    CUSTOM = "custom"
    HOST_MODEL = "host-model"
    HOST_PASSTHROUGH = "host-passthrough"
    MAXIMUM = "maximum"


@unique
class CpuMatch(StrEnum):
    """How the model is compared with the host's CPU."""

    MINIMUM = "minimum"
    EXACT = "exact"
    STRICT = "strict"


@unique
class _Check(StrEnum):
    """What libvirtd compares before a start."""

    NONE = "none"
    PARTIAL = "partial"
    FULL = "full"


@unique
class _Fallback(StrEnum):
    """Whether a model that the hypervisor lacks may be replaced."""

    ALLOW = "allow"
    FORBID = "forbid"


@unique
class Policy(StrEnum):
    """What becomes of a feature."""

    FORCE = "force"
    REQUIRE = "require"
    OPTIONAL = "optional"
    DISABLE = "disable"
    FORBID = "forbid"


_OFF: Final = (Policy.DISABLE, Policy.FORBID)


@unique
class CacheMode(StrEnum):
    """Which caches the guest sees."""

    EMULATE = "emulate"
    PASSTHROUGH = "passthrough"
    DISABLE = "disable"


@unique
class PhysBitsMode(StrEnum):
    """Where the width of physical addresses comes from."""

    PASSTHROUGH = "passthrough"
    EMULATE = "emulate"


class PhysBits(Struct, frozen=True, kw_only=True):
    """`<maxphysaddr>`."""

    node: Node
    mode: PhysBitsMode
    bits: int | None = None
    limit: int | None = None

    @property
    def props(self) -> Props:
        if self.mode is PhysBitsMode.EMULATE:
            is_hosts = None if self.bits else False
            return {"phys-bits": self.bits, "host-phys-bits": is_hosts}
        return {"host-phys-bits": True, "host-phys-bits-limit": self.limit}


class Cpu(Struct, frozen=True, kw_only=True):
    """The CPU that the guest sees."""

    node: Node | None = None
    mode: CpuMode | None = None
    """None: nothing is said of the model, and the machine's default is taken."""
    match: CpuMatch = CpuMatch.EXACT
    model: str = ""
    may_fall_back: bool = True
    vendor: str | None = None
    """Whose CPU the host must have; libvirtd compares them, QEMU does not."""
    vendor_id: str | None = None
    is_migratable: bool | None = None
    toggles_deprecated: bool = False
    features: tuple[tuple[str, Policy], ...] = ()
    cache_node: Node | None = None
    cache_mode: CacheMode | None = None
    cache_level: int | None = None
    phys_bits: PhysBits | None = None

    @classmethod
    def parse(cls, node: Node) -> Self:
        """Read `<cpu>` of `<domain>`, without what `Vcpu` and `Numa` read of it.

        Raises:
            ConfigError: an unknown word, a model that is missing, a feature given twice.
        """
        found = node.child("cpu")
        if found is None:
            return cls()
        found.enum("check", _Check, None)
        model, cache = found.child("model"), found.child("cache")
        bits = found.child("maxphysaddr")
        name = model.text if model is not None else ""
        if name and not _NAME.fullmatch(name):
            raise found.error(f"model '{name[:60]}' can't be a model")
        mode = found.enum("mode", CpuMode, None)
        if mode in (None, CpuMode.CUSTOM):  # without a model there is nothing to choose
            mode = CpuMode.CUSTOM if name else None
        features = tuple(_features(found))
        if features and mode is None:
            raise found.error("features need a <model>", hint="qemu-system-... -cpu help")
        fallback = model.enum("fallback", _Fallback, None) if model is not None else None
        return cls(
            node=found,
            mode=mode,
            match=found.enum("match", CpuMatch, CpuMatch.EXACT),
            model=name,
            may_fall_back=fallback is not _Fallback.FORBID,
            vendor=found.child_text("vendor"),
            vendor_id=_vendor_id(model) if model is not None else None,
            is_migratable=found.on_off("migratable"),
            toggles_deprecated=found.on_off("deprecated_features") is not None,
            features=features,
            cache_node=cache,
            cache_mode=cache.enum("mode", CacheMode) if cache is not None else None,
            cache_level=cache.integer("level", low=1, high=3) if cache is not None else None,
            phys_bits=_phys_bits(bits) if bits is not None else None,
        )

    def problems(self, site: Site, *, features: Features, clock: Clock) -> Iterator[ConfigError]:
        """Give what the accelerator or the architecture can't do."""
        flags = _flags_of_others(site, features, clock)
        if not (self._model(site) or site.is_x86) and any(
            value is not None for value in flags.values()
        ):
            where = self.node or features.node
            if where is not None:
                yield where.error(
                    "what is switched in the CPU needs a <cpu> that says which", hint="<cpu mode=>"
                )
        if self.node is None:
            return
        passes_through = self.mode is CpuMode.HOST_PASSTHROUGH
        if passes_through and not site.is_kvm and not site.host.force_tcg:
            yield self.node.error("mode='host-passthrough' needs KVM", hint="mode='maximum'")
        if self.mode is CpuMode.HOST_MODEL and host_model(site) is None:
            yield self.node.error(
                "mode='host-model' can't be made out: the emulator does not describe such a CPU",
                hint="mode='host-passthrough' with KVM, mode='maximum' without",
            )
        yield from self._unknown_model(self.node, site)
        is_known = site.caps.has_prop(_probed_cpu(site), "migratable")
        if passes_through and self.is_migratable and not is_known:
            yield self.node.error("this QEMU knows no migratable=", hint="remove it")
        yield from self._misplaced(self.node, site)
        yield from self._cache_problems(site)
        bits = self.phys_bits
        if bits is not None and not site.is_x86:
            yield bits.node.error("only x86 guests have it", hint="remove it")
        no_sve = any(name == "sve" and policy in _OFF for name, policy in self.features)
        if no_sve and any(_SVE.fullmatch(name) for name, _ in self.features):
            yield self.node.error("there are vector lengths, and no SVE", hint="remove them")

    def _unknown_model(self, node: Node, site: Site) -> Iterator[ConfigError]:
        models = site.caps.cpu_models.get("kvm" if site.is_kvm else "tcg")
        if models is None:
            return
        if self.mode is CpuMode.CUSTOM and models and self.model not in models:
            hint = "qemu-system-... -cpu help"
            yield node.error(f"the emulator has no CPU model '{self.model}'", hint=hint)
        if self.mode is CpuMode.MAXIMUM and "max" not in models:
            yield node.error("the emulator has no mode='maximum'", hint="remove <cpu>")

    def _misplaced(self, node: Node, site: Site) -> Iterator[ConfigError]:
        """Give what only CPUs of another mode or architecture have."""
        for name, _ in self.features:
            if not is_feature(name, site):
                yield node.error(f"CPU feature '{name}' is unknown", hint="libvirt's spelling")
        if self.mode is CpuMode.CUSTOM and not is_model(self.model, site):
            yield node.error(f"model '{self.model}' is no certain CPU", hint="mode='maximum'")
        if self.is_migratable is not None and not self._is_host:
            yield node.error("migratable= is for the host's own CPU", hint="host-passthrough")
        if self.vendor and not self.model:
            yield node.error("<vendor> needs a <model>", hint="remove it")
        if self.toggles_deprecated and site.arch != "s390x":
            yield node.error("only s390x CPUs have deprecated_features=", hint="remove it")

    def notices(self) -> Iterator[Notice]:
        """Tell where the guest's CPU is less than libvirt would make it."""
        if self.node is not None and self.mode is CpuMode.HOST_MODEL:
            yield self.node.notice("the host's CPU is written feature by feature, with no model")
        if self.node is not None and self.match is CpuMatch.MINIMUM:
            yield self.node.notice("match='minimum' adds nothing of the host's to the model")

    @property
    def _is_host(self) -> bool:
        """Tell whether the CPU is the host's, or the most of it, which alone shows its caches."""
        return self.mode in (CpuMode.HOST_PASSTHROUGH, CpuMode.MAXIMUM)

    def _cache_problems(self, site: Site) -> Iterator[ConfigError]:
        node, mode = self.cache_node, self.cache_mode
        if node is None:
            return
        if not site.is_x86:
            yield node.error("only x86 guests have it", hint="remove it")
        if mode is CacheMode.EMULATE and self.cache_level != 3:  # noqa: PLR2004 - L3
            yield node.error("mode='emulate' is for level='3' alone", hint="level='3'")
        if mode is not CacheMode.EMULATE and self.cache_level is not None:
            yield node.error(f"mode='{mode}' has no level", hint="remove level=")
        if mode is CacheMode.PASSTHROUGH and not self._is_host:
            yield node.error("mode='passthrough' needs the host's CPU", hint="host-passthrough")

    def options(
        self, site: Site, *, features: Features, clock: Clock, has_hyperv_panic: bool = False
    ) -> Iterator[Option]:
        """Give `-cpu`; nothing on a machine that has no CPUs to choose."""
        model = self._model(site)
        flags = _flags_of_others(site, features, clock, has_hyperv_panic=has_hyperv_panic)
        if self.cache_mode is not None:
            flags |= _cache_flags(self.cache_mode, is_host=self._is_host)
        if self.phys_bits is not None:
            flags |= self.phys_bits.props
        if not model and any(value is not None for value in flags.values()):
            model = {_MODEL: _default_model(site)}
        if model:
            said = {name: value for name, value in flags.items() if value is not None}
            yield Option.keyed("cpu", {**model, **said}, implied=_MODEL)

    def _model(self, site: Site) -> Props:
        match self.mode:
            case CpuMode.HOST_PASSTHROUGH | CpuMode.MAXIMUM:
                return self._whole_host(site)
            case CpuMode.HOST_MODEL:
                found = host_model(site)
                return self._with_features(found, site) if found is not None else {}
            case CpuMode.CUSTOM:
                removed = dict.fromkeys(removed_features(self.model), False)
                return self._with_features(HostModel(name=self.model, props=removed), site)
            case None:
                # libvirt names the default only where it is one CPU for KVM and TCG alike.
                named = site.is_x86 or not site.is_kvm
                default = _default_model(site) if named else ""
                return {_MODEL: default} if default else {}

    def _whole_host(self, site: Site) -> Props:
        is_host = self.mode is CpuMode.HOST_PASSTHROUGH and site.is_kvm
        props: dict[str, Value] = {_MODEL: "host" if is_host else "max"}
        if is_host and site.arch == "armv7l" and site.caps.arch == "aarch64":
            props["aarch64"] = False
        if self.is_migratable is not None or self.mode is CpuMode.HOST_PASSTHROUGH:
            is_known = site.caps.has_prop(_probed_cpu(site), "migratable")
            props["migratable"] = self.is_migratable is not False if is_known else None
        return props | self._flags(site)

    def _with_features(self, base: HostModel, site: Site) -> Props:
        vendor = {"vendor": self.vendor_id} if self.vendor_id is not None else {}
        return {_MODEL: base.name, **base.props, **vendor, **self._flags(site)}

    def _flags(self, site: Site) -> dict[str, Value]:
        known = known_features(site)
        names_options = site.is_x86 and not self._is_host
        flags: dict[str, Value] = {}
        for written, policy in self.features:
            name = switch(written, site)
            is_off, is_option = policy in _OFF, policy is Policy.OPTIONAL
            if not name or (is_option and not names_options):
                continue
            if known and name not in known and (is_off or is_option):
                continue  # the emulator can't give what it does not know
            flags[name] = bool(known.get(name)) if is_option else not is_off
        if any(_SVE.fullmatch(name) for name, _ in self.features):
            flags.setdefault("sve", True)
        return flags


def _flags_of_others(
    site: Site, features: Features, clock: Clock, *, has_hyperv_panic: bool = False
) -> dict[str, Value]:
    """Give what other elements than `<cpu>` switch in the CPU."""
    flags: dict[str, Value] = dict(clock.cpu_props(site))
    flags |= features.cpu_props()
    if has_hyperv_panic:
        flags["hv-crash"] = True
    return {**flags, **features.late_cpu_props()}


def _probed_cpu(site: Site) -> str:
    """Give the type whose props say what the whole host's CPU can be told."""
    return "max-x86_64-cpu" if site.is_x86 else "max-arm-cpu"


def _default_model(site: Site) -> str:
    info = site.machine_info
    accel = "kvm" if site.is_kvm else "tcg"
    if site.caps.cpu_models.get(accel) == frozenset():
        return ""  # an emulator that can't list its models (riscv64 before QEMU 8) uses its own
    by_accel = site.caps.default_cpus.get(accel, {}).get(site.machine)
    name = by_accel or (info.default_cpu if info is not None else None) or ""
    found = _TYPE_SUFFIX.search(name)
    return name[: found.start()] if found else name


def _cache_flags(mode: CacheMode, *, is_host: bool) -> Props:
    if mode is CacheMode.PASSTHROUGH:
        return {"host-cache-info": True, "l3-cache": False}
    hides = False if is_host else None
    return {"l3-cache": mode is CacheMode.EMULATE, "host-cache-info": hides}


def _features(node: Node) -> Iterator[tuple[str, Policy]]:
    seen: set[str] = set()
    for found in node.children("feature"):
        name = found.required("name")
        if not _NAME.fullmatch(name):
            raise found.error(f"name='{name[:60]}' can't be a feature")
        if name in seen:
            raise found.error(f"feature '{name}' is given twice")
        seen.add(name)
        yield name, found.enum("policy", Policy, Policy.REQUIRE)


def _vendor_id(model: Node) -> str | None:
    vendor = model.get("vendor_id") or None
    if vendor is not None and (len(vendor) != _VENDOR_LENGTH or "," in vendor):
        raise model.error(f"vendor_id='{vendor[:60]}' is none", hint="12 characters, no comma")
    return vendor


def _phys_bits(node: Node) -> PhysBits:
    mode = node.enum("mode", PhysBitsMode)
    bits = node.integer("bits", low=0, high=_MOST_PHYS_BITS) or None
    limit = node.integer("limit", low=1, high=_MOST_PHYS_BITS)
    if mode is PhysBitsMode.EMULATE and limit is not None:
        raise node.error("mode='emulate' has no limit", hint="remove limit=")
    if mode is PhysBitsMode.PASSTHROUGH and bits is not None:
        raise node.error("mode='passthrough' has no bits", hint="remove bits=")
    return PhysBits(node=node, mode=mode, bits=bits, limit=limit)
