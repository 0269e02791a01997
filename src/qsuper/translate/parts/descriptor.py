"""Firmware descriptors: which images there are on the host, and what they can do.

Source: QEMU `docs/interop/firmware.json`; libvirt `qemuFirmwareMatchDomain`.
"""

import re
from collections.abc import Iterator, Mapping
from enum import StrEnum, unique
from fnmatch import translate as to_pattern
from typing import Any, Final, Self

from msgspec import Struct

from qsuper.translate.site import Site

_INTERFACES: Final = {"efi": "uefi", "bios": "bios"}
_QEMU_ARCH: Final = {"i686": "i386", "armv7l": "arm", "armv6l": "arm"}


@unique
class FirmwareKind(StrEnum):
    """What a guest can ask for without naming an image."""

    EFI = "efi"
    BIOS = "bios"


class Wish(Struct, frozen=True, kw_only=True):
    """What a domain asks of its firmware; None and empty: all the same."""

    kind: FirmwareKind
    path: str
    template: str
    format: str
    is_rom: bool | None
    is_readonly: bool | None
    is_stateless: bool
    is_secure: bool | None
    has_smm: bool | None
    secure_boot: bool | None
    enrolled_keys: bool | None
    sleep_features: frozenset[str]


class Descriptor(Struct, frozen=True, kw_only=True):
    """One image, or pair of images, and what it can do."""

    interfaces: frozenset[str]
    targets: tuple[tuple[str, tuple[str, ...]], ...]
    """Architecture as QEMU calls it, patterns of machines."""
    features: frozenset[str]
    is_flash: bool
    mode: str
    """Of flash: split, combined, stateless."""
    path: str
    format: str
    template: str
    template_format: str

    @classmethod
    def parse(cls, content: Mapping[str, Any]) -> Self | None:
        """Read a descriptor; None where it describes what qsuper can't use."""
        try:
            mapping = content["mapping"]
            is_flash = mapping["device"] == "flash"
            if not is_flash and mapping["device"] != "memory":
                return None
            image: Mapping[str, Any] = mapping["executable"] if is_flash else mapping
            vars_: Mapping[str, Any] = mapping.get("nvram-template", {})
            return cls(
                interfaces=frozenset(content["interface-types"]),
                targets=tuple(
                    (str(target["architecture"]), tuple(target["machines"]))
                    for target in content["targets"]
                ),
                features=frozenset(content["features"]),
                is_flash=is_flash,
                mode=str(mapping.get("mode", "split")) if is_flash else "",
                path=str(image["filename"]),
                format=str(image.get("format", "raw")),
                template=str(vars_.get("filename", "")),
                template_format=str(vars_.get("format", "raw")),
            )
        except (KeyError, TypeError, AttributeError):
            return None  # as libvirt: what can't be read is passed over

    @property
    def needs_smm(self) -> bool:
        return "requires-smm" in self.features

    def runs_on(self, site: Site) -> bool:
        """Tell whether it is made for the architecture and the machine."""
        arch = _QEMU_ARCH.get(site.arch, site.arch)
        return any(
            target == arch and any(re.fullmatch(to_pattern(glob), site.machine) for glob in globs)
            for target, globs in self.targets
        )

    def fits(self, wish: Wish) -> bool:
        """Tell whether it is what the domain asks for."""
        return (
            _INTERFACES[wish.kind] in self.interfaces
            and wish.path in ("", self.path)
            and self._fits_device(wish)
            and self._fits_features(wish)
        )

    def _fits_device(self, wish: Wish) -> bool:
        if wish.is_readonly is False:
            return False
        if wish.is_rom is not None and wish.is_rom is self.is_flash:
            return False
        return not self.is_flash or (
            self.mode == ("stateless" if wish.is_stateless else "split")
            and wish.format in ("", self.format)
            and wish.template in ("", self.template)
        )

    def _fits_features(self, wish: Wish) -> bool:
        has = self.features
        wanted = (
            (wish.is_secure, self.needs_smm),
            (wish.secure_boot, "secure-boot" in has),
            (wish.enrolled_keys, "enrolled-keys" in has),
        )
        if not has.issuperset(wish.sleep_features) or (self.needs_smm and wish.has_smm is False):
            return False
        return all(wants is None or wants is there for wants, there in wanted)


def choose(site: Site, wish: Wish) -> Descriptor | None:
    """Give the first descriptor of the host that fits; None without one."""
    return next((found for found in _all(site) if found.runs_on(site) and found.fits(wish)), None)


def _all(site: Site) -> Iterator[Descriptor]:
    for _, content in site.host.firmware:
        found = Descriptor.parse(content)
        if found is not None:
            yield found
