"""`<loader>`, `<nvram>` and `firmware=`: what runs before the guest's own system.

Source: libvirt `qemu_firmware.c`; QEMU `docs/interop/firmware.json`.
"""

import posixpath
from collections.abc import Iterator
from enum import StrEnum, unique
from typing import Final, Self

from msgspec import Struct
from msgspec.structs import replace

from qsuper.errors import ConfigError
from qsuper.options import Null, Option, Value
from qsuper.plan import Seed
from qsuper.translate.node import Node
from qsuper.translate.parts.descriptor import Descriptor, FirmwareKind, Wish, choose
from qsuper.translate.parts.loader import (
    ImageFormat,
    Loader,
    LoaderType,
    Nvram,
    read_loader,
    read_nvram,
)
from qsuper.translate.parts.pm import Pm
from qsuper.translate.site import Site
from qsuper.translate.storage import FileStorage, Storage

NVRAM_NODE: Final = "libvirt-pflash1"
CODE_NODE: Final = "libvirt-pflash0"
_OF_OLD: Final = {
    "/usr/share/OVMF/OVMF_CODE.fd": "/usr/share/OVMF/OVMF_VARS.fd",
    "/usr/share/OVMF/OVMF_CODE.secboot.fd": "/usr/share/OVMF/OVMF_VARS.fd",
    "/usr/share/AAVMF/AAVMF_CODE.fd": "/usr/share/AAVMF/AAVMF_VARS.fd",
    "/usr/share/AAVMF/AAVMF32_CODE.fd": "/usr/share/AAVMF/AAVMF32_VARS.fd",
}
"""Images, and what their variables are made from. Source: libvirt `qemu.conf`, `nvram`."""


@unique
class _Feature(StrEnum):
    SECURE_BOOT = "secure-boot"
    ENROLLED_KEYS = "enrolled-keys"


class Firmware(Struct, frozen=True, kw_only=True):
    """What the XML says of the firmware; after `defaulted` with everything filled in."""

    node: Node
    kind: FirmwareKind | None = None
    """Asked for by its kind alone, `<os firmware=>`."""
    secure_boot: bool | None = None
    enrolled_keys: bool | None = None
    loader: Loader | None = None
    nvram: Nvram | None = None
    needs_smm: bool = False
    """A descriptor says so."""

    @classmethod
    def parse(cls, node: Node) -> Self:
        """Read *node*, which is `<os>`.

        Raises:
            ConfigError: an unknown word, or what contradicts itself.
        """
        loader, nvram = node.child("loader"), node.child("nvram")
        asked = node.child("firmware")
        if asked is not None and not node.has("firmware"):
            asked.accept()  # it qualifies the attribute
            asked = None
        features = {
            found.enum("name", _Feature): found.required_yes_no("enabled")
            for found in (asked.children("feature") if asked is not None else ())
        }
        return cls(
            node=node,
            kind=node.enum("firmware", FirmwareKind, None),
            secure_boot=features.get(_Feature.SECURE_BOOT),
            enrolled_keys=features.get(_Feature.ENROLLED_KEYS),
            loader=read_loader(loader, is_named=not node.has("firmware"))
            if loader is not None
            else None,
            nvram=read_nvram(nvram) if nvram is not None else None,
        )

    @property
    def is_pflash(self) -> bool:
        return self.loader is not None and self.loader.kind is LoaderType.PFLASH

    @property
    def is_uefi(self) -> bool:
        return self.kind is FirmwareKind.EFI or self.is_pflash

    def problems(self, site: Site, *, smm: bool | None) -> Iterator[ConfigError]:
        """Give what contradicts itself; *smm* is what `<smm>` says."""
        yield from self._contradictions()
        loader = self.loader
        if loader is not None and loader.is_secure and not self.needs_smm:
            yield from _secure_problems(loader.node, site, smm=smm)

    def _contradictions(self) -> Iterator[ConfigError]:
        """Give what no firmware could meet."""
        loader = self.loader
        if self.nvram is not None:
            yield from self._nvram_problems(self.nvram)
        if self.enrolled_keys and self.secure_boot is False:
            yield self.node.error("enrolled-keys needs secure-boot", hint="enable both")
        if loader is None:
            return
        if self.kind is FirmwareKind.BIOS and loader.is_stateless is False:
            yield loader.node.error("only firmware='efi' can keep variables")
        if self.kind is None:
            yield from self._loader_problems(loader)

    def _loader_problems(self, loader: Loader) -> Iterator[ConfigError]:
        if not loader.path:
            yield loader.node.error("there is no path", hint="or choose by <os firmware='efi'>")
        if loader.kind is LoaderType.ROM and loader.is_stateless is False:
            yield loader.node.error("only <loader type='pflash'> can keep variables")
        is_written = loader.kind is LoaderType.PFLASH and not loader.is_readonly
        nvram = None if loader.is_stateless or not is_written else self.nvram
        if nvram is not None and not nvram.format:
            yield nvram.node.error("nothing says what format= it has", hint="format='raw'")

    def _nvram_problems(self, nvram: Nvram) -> Iterator[ConfigError]:
        if self.kind is FirmwareKind.BIOS:
            yield nvram.node.error("firmware='bios' has no variables to keep", hint="remove it")
        elif self.kind is None and self.loader is None:
            yield nvram.node.error("only a <loader type='pflash'> has variables to keep")
        elif self.loader is not None and self.loader.is_stateless:
            yield nvram.node.error("a stateless loader has no variables", hint="remove it")

    def defaulted(self, site: Site, *, name: str, pm: Pm, smm: bool | None) -> Self:
        """Choose the firmware that was asked for, fill in where its variables are kept.

        Args:
            site: The ground; its host has the descriptors.
            name: The domain's.
            pm: The sleep states that are wanted.
            smm: What `<smm>` says.

        Raises:
            ConfigError: no descriptor fits.
        """
        if any(self._contradictions()):
            return self  # to be refused for what is wrong, and not for want of a firmware
        chosen = self
        if self.kind is not None or self.is_pflash:
            found = choose(site, self._wish(pm, smm=smm))
            if found is not None:
                chosen = self._filled(found)
            elif self.kind is None:
                chosen = self._filled_as_of_old() if self._is_of_old else self
            else:
                raise self.node.error(
                    f"there is no '{self.kind}' firmware here that fits",
                    hint="install one, or name it with <loader>",
                )
        return replace(chosen, nvram=chosen.kept(site, name))

    def _wish(self, pm: Pm, *, smm: bool | None) -> Wish:
        loader, nvram = self.loader, self.nvram
        form = loader.format if loader is not None else None
        if form is None and self.kind is not None:
            asked = nvram.format if nvram is not None and loader is None else None
            form = asked or ImageFormat.RAW
        states = {"acpi-s3": pm.mem, "acpi-s4": pm.disk}
        return Wish(
            kind=self.kind or FirmwareKind.EFI,
            path=loader.path if loader is not None else "",
            template=nvram.template if nvram is not None else "",
            format=form or "",
            is_rom=None if loader is None or loader.kind is None else not self.is_pflash,
            is_readonly=loader.is_readonly if loader is not None else None,
            is_stateless=bool(loader is not None and loader.is_stateless),
            is_secure=loader.is_secure if loader is not None else None,
            has_smm=smm,
            secure_boot=self.secure_boot,
            enrolled_keys=self.enrolled_keys,
            sleep_features=frozenset(name for name, is_wanted in states.items() if is_wanted),
        )

    def _filled(self, found: Descriptor) -> Self:
        base = self.loader or Loader(node=self.node)
        is_flash = found.is_flash
        loader = replace(
            base,
            path=found.path,
            kind=LoaderType.PFLASH if is_flash else LoaderType.ROM,
            is_readonly=True,
            is_secure=True if found.needs_smm else base.is_secure,
            format=ImageFormat(found.format) if is_flash else None,
        )
        nvram = self.nvram
        if found.template:
            # A new element stands, for messages, where the loader does.
            nvram = replace(
                nvram or Nvram(node=base.node),
                template=found.template,
                template_format=ImageFormat(found.template_format),
            )
        return replace(self, loader=loader, nvram=nvram, needs_smm=found.needs_smm)

    @property
    def _is_of_old(self) -> bool:
        """Whether the image is one of those that libvirt knew before there were descriptors."""
        loader = self.loader
        return (
            loader is not None
            and loader.path in _OF_OLD
            and loader.kind is not LoaderType.ROM
            and loader.is_readonly is not False
            and loader.format in (None, ImageFormat.RAW)
            and not loader.is_stateless
        )

    def _filled_as_of_old(self) -> Self:
        base = self.loader or Loader(node=self.node)
        loader = replace(base, kind=LoaderType.PFLASH, is_readonly=True, format=ImageFormat.RAW)
        nvram = self.nvram or Nvram(node=base.node)
        if not nvram.template:
            nvram = replace(nvram, template=_OF_OLD[base.path], template_format=ImageFormat.RAW)
        return replace(self, loader=loader, nvram=nvram)

    def kept(self, site: Site, name: str) -> Nvram | None:
        """Give where the variables of the domain *name* are kept; None: it has none."""
        loader, nvram = self.loader, self.nvram
        if loader is None or loader.kind is not LoaderType.PFLASH:
            return nvram
        if nvram is None and loader.is_readonly and not loader.is_stateless:
            nvram = Nvram(node=loader.node)
        if nvram is None:
            return None
        others = loader.format or ImageFormat.RAW
        storage = nvram.storage
        if storage is None:
            form = nvram.template_format or others
            ending = "fd" if form is ImageFormat.RAW else form
            path = posixpath.join(site.host.nvram_dir, f"{name}_VARS.{ending}")
            storage = FileStorage(at=nvram.node.at, path=path)
        else:
            form = nvram.format or others
        return replace(nvram, storage=storage, format=form)

    @property
    def seeds(self) -> tuple[Seed, ...]:
        """Give the file of the variables and what it is made from."""
        nvram = self.nvram
        if nvram is None or not nvram.template or not isinstance(nvram.storage, FileStorage):
            return ()
        if nvram.storage.is_block:
            return ()
        template_format = nvram.template_format or nvram.format
        obstacle = (
            f"a {template_format} template can't be copied to {nvram.format} variables"
            if template_format is not nvram.format
            else ""
        )
        return (Seed(path=nvram.storage.path, template=nvram.template, obstacle=obstacle),)

    def machine_props(self, site: Site) -> dict[str, Value]:
        """Give `pflash0=` and `pflash1=` of `-machine`."""
        props: dict[str, Value] = {}
        if self.is_pflash:
            props["pflash0"] = f"{CODE_NODE}-format"
            if self.nvram is not None:
                layer = "format" if self._layered(site) else "storage"
                props["pflash1"] = f"{NVRAM_NODE}-{layer}"
        return props

    def options(self, site: Site) -> Iterator[Option]:
        """Give the nodes of the images in flash."""
        loader, nvram = self.loader, self.nvram
        if loader is None or not self.is_pflash:
            return
        code = FileStorage(at=loader.node.at, path=loader.path)
        yield _protocol(code, CODE_NODE)
        yield _format(loader.format, CODE_NODE, is_readonly=bool(loader.is_readonly))
        if nvram is None or nvram.storage is None:
            return
        yield from nvram.storage.before(NVRAM_NODE, site)
        if self._layered(site):
            yield _protocol(nvram.storage, NVRAM_NODE)
            yield _format(nvram.format, NVRAM_NODE, is_readonly=False)
        else:
            name = f"{NVRAM_NODE}-storage"
            props = nvram.storage.props(NVRAM_NODE)
            yield Option.json("blockdev", {**props, "node-name": name, "read-only": False})

    def bios_options(self) -> Iterator[Option]:
        """Give `-bios`, and the `-global` that closes the flash to all but SMM code."""
        loader = self.loader
        if loader is None:
            return
        if loader.kind is LoaderType.PFLASH:
            if loader.is_secure:
                yield Option.keyed(
                    "global", {"driver": "cfi.pflash01", "property": "secure", "value": True}
                )
        elif loader.path:
            yield Option.word("bios", loader.path)

    def _layered(self, site: Site) -> bool:
        """Tell whether the variables need a format node; plain raw images on new QEMUs do not."""
        form = self.nvram.format if self.nvram is not None else None
        is_new = site.caps.schema.has("block-commit/arg-type/backing-mask-protocol")
        return form is ImageFormat.QCOW2 or not is_new


def _secure_problems(node: Node, site: Site, *, smm: bool | None) -> Iterator[ConfigError]:
    """Tell why flash can't be closed to all but SMM code."""
    if not site.is_q35:
        yield node.error("secure='yes' is for q35 machines", hint="machine='q35'")
    elif not smm:
        yield node.error("secure='yes' needs system management mode", hint="<smm state='on'/>")


def _protocol(storage: Storage, node: str) -> Option:
    name = f"{node}-storage"
    flags: dict[str, Value] = {"auto-read-only": True, "discard": "unmap"}
    return Option.json("blockdev", {**storage.props(node), "node-name": name, **flags})


def _format(form: ImageFormat | None, node: str, *, is_readonly: bool) -> Option:
    props: dict[str, Value] = {
        "node-name": f"{node}-format",
        "read-only": is_readonly,
        "driver": form or ImageFormat.RAW,
        "file": f"{node}-storage",
    }
    if form is ImageFormat.QCOW2:
        props["backing"] = Null()
    return Option.json("blockdev", props)
