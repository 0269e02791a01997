"""`<tpm>`: a trusted platform module.

Sources: libvirt `formatdomain.rst`, "TPM device"; `qemuBuildTPMCommandLine()`.
"""

import posixpath
from collections.abc import Iterator
from enum import StrEnum, unique
from typing import ClassVar, Final, Self

from msgspec import field
from msgspec.structs import replace

from qsuper.errors import ConfigError
from qsuper.options import Handle, Option, Props, Value
from qsuper.plan import Helper
from qsuper.translate.devices.base import Context, Device, common, placed
from qsuper.translate.fdset import fdset_options, fdset_path
from qsuper.translate.node import Node
from qsuper.translate.parts.backing import short_name
from qsuper.translate.swtpm import NEW, OLD, Swtpm

_DEFAULT_DEVICE: Final = "/dev/tpm0"
_CHARDEV: Final = "chrtpm"


@unique
class Model(StrEnum):
    """The hardware."""

    TIS = "tpm-tis"
    CRB = "tpm-crb"
    SPAPR = "tpm-spapr"


@unique
class Backend(StrEnum):
    """Where the TPM is."""

    PASSTHROUGH = "passthrough"
    """The host's own."""
    EMULATOR = "emulator"
    """A swtpm of the domain's."""
    EXTERNAL = "external"
    """A swtpm that somebody else runs."""


class Tpm(Device, frozen=True, kw_only=True):
    """A TPM."""

    TAG: ClassVar[str] = "tpm"
    ALIAS: ClassVar[str] = "tpm"

    backend: Backend
    model: Model | None = None
    """None until defaults."""
    version: str | None = None
    path: str = ""
    """Of the host's device, or of the external swtpm's socket."""
    swtpm: Swtpm = field(default_factory=Swtpm)

    @classmethod
    def parse(cls, node: Node) -> Self:
        found = node.required_child("backend")
        backend = found.enum("type", Backend)
        path = ""
        match backend:
            case Backend.PASSTHROUGH:
                device = found.child("device")
                path = (device.get("path") if device is not None else None) or _DEFAULT_DEVICE
            case Backend.EXTERNAL:
                source = found.required_child("source")
                if source.required("type") != "unix":
                    raise source.error(f"type='{source.get('type')}' is unknown", hint="unix")
                if source.get("mode") not in (None, "connect"):
                    raise source.error("QEMU connects to an external TPM", hint="mode='connect'")
                path = source.resolve(source.required("path"))
            case Backend.EMULATOR:
                version = found.get("version")
                if version not in (None, "1.2", "2.0"):
                    raise found.error(f"version='{version}' is unknown", hint="1.2 or 2.0")
                found.yes_no("persistent_state")
                found.integer("debug", low=0)
        return cls(
            **common(node),
            backend=backend,
            model=node.enum("model", Model, None),
            version=found.get("version"),
            path=path,
            swtpm=Swtpm.parse(found) if backend is Backend.EMULATOR else Swtpm(),
        )

    def defaulted(self, context: Context) -> Self:
        is_ppc = context.site.arch.startswith("ppc")
        return replace(self, model=self.model or (Model.SPAPR if is_ppc else Model.TIS))

    def problems(self, context: Context) -> Iterator[ConfigError]:
        caps = context.site.caps
        if self.model is not None and not caps.has_type(self._driver(context)):
            yield self._error(f"this QEMU has no model='{self.model}'", Model.TIS)
        kind = "passthrough" if self.backend is Backend.PASSTHROUGH else "emulator"
        if not caps.has_type(f"tpm-{kind}"):
            yield self._error(f"this QEMU has no back end '{kind}'", "remove it")
        is_old = self.version == OLD and self.backend is Backend.EMULATOR
        if self.model is Model.CRB and is_old:
            yield self._error("model='tpm-crb' needs version='2.0'", Model.TIS)
        if is_old and not context.site.is_x86:
            yield self._error("only x86 guests have version='1.2'", "version='2.0'")
        if self.backend is Backend.EMULATOR and self.swtpm.is_new and not self._is_new(context):
            yield self._error("<profile> and <active_pcr_banks> need version='2.0'", "say so")
        if len(list(context.devices("tpm"))) > 1:
            yield self._error("there can be one", "remove the others")

    def helpers(self, context: Context) -> Iterator[Helper]:
        if self.backend is not Backend.EMULATOR:
            return
        domain = context.domain
        yield self.swtpm.helper(
            self.alias,
            NEW if self._is_new(context) else OLD,
            context.site.host,
            identity=f"{domain.name}:{domain.uuid}",
        )

    def _is_new(self, context: Context) -> bool:
        """Tell whether it is a TPM 2.0."""
        if self.version is not None:
            return self.version == NEW
        return not (self.model is Model.TIS and context.site.is_x86)

    def details(self, context: Context) -> Iterator[tuple[str, str | int | None]]:
        del context
        yield "@model", self.model

    def options(self, context: Context) -> Iterator[Option]:
        backend = f"tpm-{self.alias}"
        props: Props = {"type": "emulator", "id": backend, "chardev": _CHARDEV}
        if self.backend is Backend.PASSTHROUGH:
            device, cancel = f"{self.alias}-tpm", f"{self.alias}-cancel"
            name = posixpath.basename(self.path)
            yield from fdset_options(device, self.path)
            yield from fdset_options(cancel, f"/sys/class/tpm/{name}/device/cancel")
            props = {"type": "passthrough", "id": backend, "path": fdset_path(device)}
            props = {**props, "cancel-path": fdset_path(cancel)}
        else:
            way: Props = {"backend": "socket", "id": _CHARDEV, "path": self._socket(context)}
            yield Option.keyed("chardev", way, implied="backend")
        yield Option.keyed("tpmdev", props, implied="type")
        own: Props = {"driver": self._driver(context), "tpmdev": backend}
        yield Option.json("device", {**own, **placed(self, context)})

    def _socket(self, context: Context) -> Value:
        if self.backend is Backend.EXTERNAL:
            return self.path
        shown = context.site.host.swtpm_socket.replace("{domain}", short_name(context.domain.name))
        return Handle(resource=self.swtpm.link(self.alias), shown=shown, live_key="fd")

    def _driver(self, context: Context) -> str:
        if self.model is Model.TIS and context.site.is_virt:  # a board without an ISA bus
            return "tpm-tis-device"
        return str(self.model)

    def _error(self, message: str, hint: str) -> ConfigError:
        return ConfigError(f"<tpm>: {message}", at=self.at, hint=hint)
