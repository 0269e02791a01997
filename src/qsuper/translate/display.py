"""What other families must know of `<graphics>`."""

from collections.abc import Iterator
from enum import StrEnum, unique
from typing import ClassVar

from qsuper.errors import ConfigError
from qsuper.translate.model import Context, Device


@unique
class DisplayKind(StrEnum):
    """Values of `<graphics type=>`."""

    VNC = "vnc"
    SPICE = "spice"
    SDL = "sdl"
    EGL_HEADLESS = "egl-headless"
    DBUS = "dbus"
    RDP = "rdp"


class Display(Device, frozen=True, kw_only=True):
    """A way to see the guest's screen."""

    TAG: ClassVar[str] = "graphics"
    ALIAS: ClassVar[str] = "graphics"
    IS_NAMED: ClassVar[bool] = False  # though some libvirts write it, no schema has it
    KIND: ClassVar[DisplayKind]

    has_gl: bool = False
    """It draws with OpenGL."""
    rendernode: str | None = None
    """The host's GPU that does; None: the host's, or QEMU's choice."""

    def twins(self, context: Context) -> Iterator[ConfigError]:
        """Give an error where there is another display of this type."""
        kinds = [other.KIND for other in context.devices("graphics") if isinstance(other, Display)]
        if kinds.count(self.KIND) > 1:
            text = f"<graphics>: there can be one type='{self.KIND}'"
            yield ConfigError(text, at=self.at, hint="remove the others")

    def gpu(self, context: Context) -> str | None:
        """Give the GPU for `rendernode=`."""
        return self.rendernode or context.site.host.rendernode if self.has_gl else None
