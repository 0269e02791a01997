"""Screens, sound and input as the guest finds them, and what the host shows of them.

Not here: SDL and GTK windows, EGL and what needs a GPU of the host; sound servers of the host
(alsa, oss, pulseaudio, jack, pipewire); `evdev` input devices of the host.
"""

import json
import re
import socket
from typing import Any, Final

import pytest

from tests.support.ports import free_port
from tests.support.seen import Boots, xml
from tests.support.supervised import PATIENCE_S

pytestmark = pytest.mark.qemu

LISTEN: Final = "<listen type='socket' socket='vnc.sock'/>"
NONE: Final = "<memballoon model='none'/>"


def test_vnc_with_screens_of_all_kinds(boot: Boots) -> None:
    """On a port with a password and web sockets; each video card, the first of them primary."""
    port, web = free_port(), free_port()
    devices = (
        f"<graphics type='vnc' port='{port}' websocket='{web}' passwd='secret' keymap='de'"
        " sharePolicy='force-shared' powerControl='yes'><listen type='address'"
        " address='127.0.0.1'/></graphics>"
        "<video><model type='vga' vram='32768' primary='yes'><resolution x='800' y='600'/></model>"
        "</video><video><model type='virtio' heads='2'><resolution x='1024' y='768'/></model>"
        "</video>"
        "<video><model type='qxl' ram='32768' vram='16384' vgamem='8192' heads='2'/></video>"
        "<controller type='usb' model='qemu-xhci'/>"
    )
    with boot(xml(devices + NONE)) as vm:
        [server] = vm.qmp("query-vnc-servers")
        [plain] = [row for row in server["server"] if not row["websocket"]]
        assert (plain["host"], plain["service"]) == ("127.0.0.1", str(port))
        assert server["auth"] == "vnc"
        assert vm.qmp("query-vnc")["enabled"]
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.settimeout(PATIENCE_S)
            assert client.recv(4) == b"RFB "
        with socket.create_connection(("127.0.0.1", web)):
            pass
        kinds = vm.kinds()
        assert [kinds[f"video{number}"] for number in range(3)] == ["VGA", "virtio-gpu-pci", "qxl"]
        wanted = {
            "video0:vgamem_mb": 32,
            "video0:xres": 800,
            "video0:yres": 600,
            "video1:max_outputs": 2,
            "video1:xres": 1024,
            "video2:ram_size": 32 << 20,
            "video2:vram_size": 16 << 20,
            "video2:vgamem_mb": 8,
            "video2:max_outputs": 2,
        }
        assert vm.alike(wanted) == wanted


def test_vnc_on_a_socket(boot: Boots) -> None:
    devices = (
        "<graphics type='vnc'><listen type='socket' socket='v,nc.sock'/></graphics>"
        "<video><model type='bochs' vram='16384'/></video>"
    )
    with boot(xml(devices + NONE)) as vm:
        [server] = vm.qmp("query-vnc-servers")
        [unix] = server["server"]
        assert (unix["family"], unix["service"]) == ("unix", str(boot.root / "v,nc.sock"))
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE_S)
            client.connect(str(boot.root / "v,nc.sock"))
            assert client.recv(4) == b"RFB "
        wanted = {"video0:type": "bochs-display", "video0:vgamem": 16 << 20}
        assert vm.alike(wanted) == wanted


def test_spice(boot: Boots) -> None:
    port = free_port()
    devices = (
        f"<graphics type='spice' port='{port}' autoport='no' listen='127.0.0.1' passwd='secret'>"
        "<image compression='auto_glz'/><jpeg compression='auto'/><zlib compression='never'/>"
        "<playback compression='on'/><streaming mode='filter'/><clipboard copypaste='no'/>"
        "<mouse mode='client'/><filetransfer enable='no'/></graphics>"
        "<video><model type='qxl'/></video><audio id='1' type='spice'/><sound model='ich9'/>"
    )
    with boot(xml(devices + NONE)) as vm:
        told = vm.qmp("query-spice")
        wanted = {"enabled": True, "host": "127.0.0.1", "port": port, "auth": "spice"}
        assert {key: told[key] for key in wanted} == wanted
        assert told["mouse-mode"] == "server"  # until a tablet of the agent's is there
        with socket.create_connection(("127.0.0.1", port)):
            pass
        assert vm.get("sound0-codec0:audiodev") == "audio1"


def test_spice_ports_of_three_that_ask_for_any(boot: Boots) -> None:
    """Two of them start at once; no port is taken before QEMU takes it."""
    seen = xml("<graphics type='spice' autoport='yes'/>" + NONE)
    other = re.sub("<uuid>.*</uuid>", "", seen)
    primary, dependency = boot.root / "a.xml", boot.root / "b.xml"
    dependency.write_text(other.replace("seen", "b"))
    named = f"<domaindependency>{dependency}</domaindependency></devices>"
    primary.write_text(other.replace("seen", "a").replace("</devices>", named))
    with boot(seen) as vm:
        assert boot.lab.run("up", "-d", "--paused", str(primary)).status == 0
        others = [boot.lab.run("qmp", name, "query-spice").out for name in ("a", "b")]
        ports = {told["port"] for told in (vm.qmp("query-spice"), *map(json.loads, others))}
        assert len(ports) == 3
        for port in ports:
            assert port >= 5900
            with socket.create_connection(("127.0.0.1", port)):
                pass
        assert boot.lab.run("destroy", "a").status == 0


def test_spice_on_a_socket(boot: Boots) -> None:
    """And the video cards that the tests of VNC do not have."""
    devices = (
        "<graphics type='spice'><listen type='socket' socket='spi,ce.sock'/></graphics>"
        "<video><model type='cirrus' vram='16384' primary='yes'/></video>"
    )
    with boot(xml(devices + NONE, machine="pc")) as vm:
        assert vm.qmp("query-spice")["enabled"]
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(boot.root / "spi,ce.sock"))
        assert vm.places()["video0"] == "pci.0 02.0 1013:00b8"


@pytest.mark.parametrize(
    ("model", "kind"), [("vmvga", "vmware-svga"), ("ramfb", "ramfb"), ("virtio", "virtio-vga")]
)
def test_one_screen(boot: Boots, model: str, kind: str) -> None:
    devices = f"<graphics type='vnc'>{LISTEN}</graphics><video><model type='{model}'/></video>"
    with boot(xml(devices + NONE)) as vm:
        assert vm.kinds()["video0"] == kind


def test_dbus(boot: Boots) -> None:
    """Between the two of them alone, without a bus: `p2p`."""
    devices = "<graphics type='dbus' p2p='yes'/><video><model type='virtio'/></video>"
    with boot(xml(devices + NONE)) as vm:
        shown = vm.qmp("query-display-options")
        assert (shown["type"], shown["p2p"]) == ("dbus", True)


SOUNDS: Final = {
    "sound0": ("intel-hda", "8086:2668"),
    "sound1": ("ich9-intel-hda", "8086:293e"),
    "sound2": ("AC97", "8086:2415"),
    "sound3": ("ES1370", "1274:5000"),
}


def test_sound(boot: Boots) -> None:
    """Every card on a PC, with its codecs, each on the back end that it names.

    What the back ends are set to no QEMU before 8.0 tells.
    """
    devices = (
        "<audio id='1' type='none' timerPeriod='500'><output mixingEngine='yes' fixedSettings='yes'"
        " voices='2'><settings frequency='44100' channels='2' format='s16'/></output></audio>"
        "<audio id='2' type='file' path='out,put.wav'/><audio id='3' type='none'/>"
        "<sound model='ich6'><audio id='1'/></sound>"
        "<sound model='ich9'><codec type='micro'/><codec type='output'/><audio id='1'/></sound>"
        "<sound model='ac97'><audio id='2'/></sound><sound model='es1370'><audio id='3'/></sound>"
        "<sound model='sb16'/><sound model='usb' multichannel='yes'><audio id='3'/></sound>"
    )
    with boot(xml(devices + NONE, machine="pc")) as vm:
        tree = vm.tree()
        found = {name: (tree[name]["kind"], tree[name]["pci"]) for name in SOUNDS}
        assert found == SOUNDS
        wanted: dict[str, Any] = {
            "sound0-codec0:type": "hda-duplex",
            "sound0-codec0:audiodev": "audio1",
            "sound1-codec0:type": "hda-micro",
            "sound1-codec1:type": "hda-output",
            "sound2:audiodev": "audio2",
            "sound3:audiodev": "audio3",
            "sound4:type": "sb16",
            "sound5:multi": True,
        }
        assert vm.alike(wanted) == wanted
        assert tree["sound1-codec1"]["bus"] == "sound1.0"


def test_a_speaker(boot: Boots) -> None:
    devices = "<sound model='pcspk'/><audio id='1' type='none'/>"
    with boot(xml(devices + NONE)) as vm:
        assert vm.tree()["isa-pcspk"]["audiodev"] == "audio1"


def test_input(boot: Boots) -> None:
    """Keyboards, mice and tablets on each bus."""
    devices = (
        "<controller type='usb' model='qemu-xhci'/>"
        "<input type='tablet' bus='usb'/><input type='mouse' bus='usb'/>"
        "<input type='keyboard' bus='usb'/>"
        "<input type='keyboard' bus='virtio'/><input type='mouse' bus='virtio'/>"
        "<input type='tablet' bus='virtio'/>"
    )
    with boot(xml(devices + NONE)) as vm:
        kinds = vm.kinds()
        assert [kinds[f"input{number}"] for number in range(6)] == [
            "usb-tablet",
            "usb-mouse",
            "usb-kbd",
            "virtio-keyboard-pci",
            "virtio-mouse-pci",
            "virtio-tablet-pci",
        ]
        mice = {row["name"]: row["absolute"] for row in vm.qmp("query-mice")}
        assert mice["QEMU HID Tablet"]
        assert not mice["QEMU HID Mouse"]
