"""How sound cards and displays find the audio back end they play to."""

from qsuper.translate.model import Context, Device
from qsuper.translate.node import Node


class AudioBackend(Device, frozen=True, kw_only=True):
    """What the `<audio>` family is to others."""

    audio_id: int

    @property
    def goes_to_dbus(self) -> bool:
        """Whether it plays to a display on D-Bus."""
        return False

    def stem(self, context: Context) -> str | None:
        del context
        return f"audio{self.audio_id}"


def audio_id(node: Node) -> int | None:
    """Read the `<audio id=>` of a device that plays sound; None: the first back end."""
    audio = node.child("audio")
    return audio.required_integer("id", low=1, high=1 << 16) if audio is not None else None


def find_audio(context: Context, wanted: int | None) -> AudioBackend | None:
    """Find the back end with the id *wanted*, the first one for None."""
    for device in context.devices("audio"):
        if isinstance(device, AudioBackend) and wanted in (None, device.audio_id):
            return device
    return None


def plays_to_dbus(context: Context, wanted: int) -> bool:
    """Tell whether the back end with the id *wanted* is there and plays to D-Bus."""
    found = find_audio(context, wanted)
    return found is not None and found.goes_to_dbus


def audiodev(context: Context, wanted: int | None) -> str | None:
    """Give the back end's name for `audiodev=`; None without one."""
    found = find_audio(context, wanted)
    return f"audio{found.audio_id}" if found else None
