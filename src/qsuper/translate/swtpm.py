"""swtpm: the helper that is a domain's TPM.

It inherits one end of its control connection, QEMU the other; the data connection QEMU hands over
by that. Its state is kept in the domain's state directory and manufactured before the first start.

Sources: libvirt `formatdomain.rst`, "TPM device"; swtpm(8), swtpm_setup(8).
"""

from collections.abc import Iterator
from typing import Final, Self

from msgspec import Struct

from qsuper.options import Access, Handle, HelperLink, OpenFile, Word
from qsuper.plan import Helper, Setup
from qsuper.translate.node import Node
from qsuper.translate.secret import UUID, Secret
from qsuper.translate.site import HostData

OLD: Final = "1.2"
NEW: Final = "2.0"
_BANKS: Final = ("sha1", "sha256", "sha384", "sha512")
_REMOVALS: Final = ("check", "fips-host")


class Swtpm(Struct, frozen=True, kw_only=True):
    """What a file says of swtpm: the children of `<backend type='emulator'>`."""

    secret: Secret | None = None
    """The passphrase of its state."""
    directory: str = ""
    """Empty: in the domain's state directory."""
    file: str = ""
    """Instead of a directory."""
    banks: tuple[str, ...] = ()
    """Of the PCRs that are active."""
    profile: tuple[str, ...] = ()
    """What swtpm_setup is told of it."""

    @classmethod
    def parse(cls, backend: Node) -> Self:
        """Read it from `<backend>`.

        Raises:
            ConfigError: an unknown word, or a path that swtpm could not be told.
        """
        encryption, source = backend.child("encryption"), backend.child("source")
        found, banks = backend.child("profile"), backend.child("active_pcr_banks")
        if banks is not None:
            for bank in banks.children():
                if bank.tag not in _BANKS:
                    raise bank.error("there is no such bank", hint=", ".join(_BANKS))
        kind = source.required("type") if source is not None else "dir"
        if source is not None and kind not in ("dir", "file"):
            raise source.error(f"type='{kind}' is unknown", hint="dir or file")
        path = source.resolve(source.required("path")) if source is not None else ""
        if source is not None and kind == "file" and "," in path:
            raise source.error("swtpm takes no path with a comma", hint="rename it")
        return cls(
            secret=_secret(encryption) if encryption is not None else None,
            directory=path if kind == "dir" else "",
            file=path if kind == "file" else "",
            banks=tuple(
                bank for bank in _BANKS if banks is not None and banks.child(bank) is not None
            ),
            profile=tuple(_profile(found)) if found is not None else (),
        )

    @property
    def is_new(self) -> bool:
        """Whether it says what only a TPM 2.0 has."""
        return bool(self.banks or self.profile)

    def link(self, alias: str) -> HelperLink:
        """Give the control connection with the QEMU of device *alias*."""
        return HelperLink(name=f"{alias}-swtpm")

    def helper(self, alias: str, version: str, host: HostData, *, identity: str) -> Helper:
        """Give the process for device *alias*.

        Args:
            alias: The device's.
            version: `1.2` or `2.0`.
            host: Where the secrets are.
            identity: What its certificates name as the machine.
        """
        link = self.link(alias)
        is_new = version == NEW
        state = f"backend-uri=file://{self.file}" if self.file else "dir=."
        words: list[Word] = ["socket", "--terminate"]
        words += ["--tpm2"] if is_new else []
        words += [
            "--ctrl",
            Handle(
                resource=link,
                shown=f"type=unixio,clientfd=<{link.name}>",
                live="type=unixio,clientfd={}",
            ),
        ]
        words += ["--tpmstate", f"{state},mode=0600"]
        words += self._key(host, "--key", "pwdfd={},mode=aes-256-cbc")
        setup: list[Word] = ["--tpm2"] if is_new else []
        setup += ["--tpmstate", f"file://{self.file}" if self.file else "."]
        setup += ["--vmid", identity, "--createek", "--create-ek-cert", "--create-platform-cert"]
        setup += ["--lock-nvram", "--not-overwrite", *self.profile]
        setup += ["--pcr-banks", ",".join(self.banks)] if self.banks and is_new else []
        if key := self._key(host, "--pwdfile-fd", "{}"):
            setup += [*key, "--cipher", "aes-256-cbc"]
        return Helper(
            name=link.name,
            serves=alias,
            program="swtpm",
            package="swtpm",
            words=tuple(words),
            link=link,
            directory=self.directory or f"tpm/{version}",
            setup=Setup(program="swtpm_setup", package="swtpm-tools", words=tuple(setup)),
        )

    def _key(self, host: HostData, option: str, live: str) -> list[Word]:
        if self.secret is None:
            return []
        file = OpenFile(name="swtpm-key", path=self.secret.path(host), access=Access.READ)
        return [option, Handle(resource=file, shown=live.format("<key>"), live=live)]


def _secret(node: Node) -> Secret | None:
    name = node.get("secret")
    if not name:
        return None
    if not UUID.fullmatch(name):
        raise node.error(f"secret='{name[:60]}' is no uuid")
    return Secret(kind="vtpm", name=name.lower())


def _profile(node: Node) -> Iterator[str]:
    node.ignore("name")  # what it turned out to be called, in an earlier run
    if source := node.get("source"):
        yield from ("--profile-name", source)
    if removal := node.get("removeDisabled"):
        if removal not in _REMOVALS:
            raise node.error(f"removeDisabled='{removal}' is unknown", hint=" or ".join(_REMOVALS))
        yield from ("--profile-remove-disabled", removal)
