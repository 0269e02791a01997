"""Ports and channels as the guest finds them, and the host's ends of them, which work.

Not here: `dev` and parallel ports of the host, which a test has none of; `stdio` and `vc`, whose
other end is QEMU's own terminal or window; smartcards in the host's reader or certificates.
"""

import os
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from tests.support.ports import free_port, listening
from tests.support.seen import Boots, xml
from tests.support.supervised import PATIENCE_S

pytestmark = pytest.mark.qemu

NONE: Final = "<memballoon model='none'/>"


def test_serial_ports(boot: Boots) -> None:
    """Of a PC: four on ISA, with their places, one on PCI and one on USB."""
    port = free_port()
    devices = (
        "<serial type='pty'><log file='console.log' append='off'/></serial>"
        "<serial type='null'><target type='isa-serial' port='1'/>"
        "<address type='isa' iobase='0x2e8' irq='7'/></serial>"
        f"<serial type='tcp'><source mode='bind' host='127.0.0.1' service='{port}'/>"
        "<protocol type='telnet'/><target type='isa-serial' port='2'/></serial>"
        "<serial type='file'><source path='out,put' append='on'/><target type='pci-serial'/>"
        "</serial>"
        "<serial type='null'><target type='usb-serial'/></serial>"
        "<serial type='null'><target type='isa-debug'/><address type='isa' iobase='0x402'/>"
        "</serial>"
        "<parallel type='null'><target port='0'/></parallel>"
    )
    with boot(xml(devices + NONE, machine="pc")) as vm:
        wanted = {
            "serial0:index": 3,  # the first that no other asked for
            "serial1:index": 1,
            "serial1:iobase": 0x2E8,
            "serial1:irq": 7,
            "serial2:index": 2,
            "serial5:iobase": 0x402,
            "parallel0:chardev": "charparallel0",
        }
        assert vm.alike(wanted) == wanted
        kinds = vm.kinds()
        assert {f"serial{number}": kinds[f"serial{number}"] for number in range(6)} == {
            "serial0": "isa-serial",
            "serial1": "isa-serial",
            "serial2": "isa-serial",
            "serial3": "pci-serial",
            "serial4": "usb-serial",
            "serial5": "isa-debugcon",
        }
        ends = {name: row["filename"] for name, row in vm.rows("query-chardev", "label").items()}
        assert Path(ends["charserial0"].removeprefix("pty:")).is_char_device()
        assert ends["charserial2"] == f"disconnected:telnet:127.0.0.1:{port},server=on"
        with socket.create_connection(("127.0.0.1", port)) as terminal:
            terminal.settimeout(PATIENCE_S)
            assert terminal.recv(1) == b"\xff"  # telnet negotiates
        assert (boot.root / "out,put").exists()
        assert (boot.root / "console.log").exists()
        assert ends["charserial3"] == "file"


def test_channels_and_consoles(boot: Boots) -> None:
    """Of virtio-serial, each over another kind of end on the host."""
    udp, other = free_port(socket.SOCK_DGRAM), free_port(socket.SOCK_DGRAM)
    for way in ("in", "out"):
        os.mkfifo(boot.root / f"pipe.{way}")
    devices = (
        "<controller type='virtio-serial' index='0' ports='9' vectors='4'/>"
        "<controller type='virtio-serial' index='1'/>"
        "<console type='pty'/>"
        "<console type='unix'><source mode='bind' path='console.sock'/><target type='virtio'/>"
        "</console>"
        "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>"
        "<channel type='unix'><source mode='connect' path='outside.sock'>"
        "<reconnect enabled='yes' timeout='3'/></source><target type='virtio' name='outside'/>"
        "<address type='virtio-serial' controller='1' bus='0' port='7'/></channel>"
        f"<channel type='udp'><source mode='bind' host='127.0.0.1' service='{udp}'/>"
        f"<source mode='connect' host='127.0.0.1' service='{other}'/>"
        "<target type='virtio' name='udp'/></channel>"
        "<channel type='pipe'><source path='pipe'/><target type='virtio' name='pipe'/></channel>"
        "<channel type='qemu-vdagent'><source><clipboard copypaste='yes'/><mouse mode='client'/>"
        "</source><target type='virtio' name='com.redhat.spice.0'/></channel>"
        "<channel type='null'><target type='virtio' name='null'/></channel>"
    )
    with (
        listening(boot.root / "outside.sock") as outside,
        boot(xml(devices + NONE)) as vm,
        ExitStack() as stack,
    ):
        stack.enter_context(outside.accept()[0])
        wanted = {
            "virtio-serial0:max_ports": 9,
            "virtio-serial0:vectors": 4,
            "virtio-serial1:max_ports": 31,
            "channel0:name": "org.qemu.guest_agent.0",
            "channel1:name": "outside",
            "channel1:nr": 7,
            "channel1:parent_bus": "/machine/peripheral/virtio-serial1/virtio-backend/"
            "virtio-serial1.0",
            "channel2:name": "udp",
            "channel4:name": "com.redhat.spice.0",
            "channel5:name": "null",
        }
        assert vm.alike(wanted) == wanted
        assert vm.kinds()["console1"] == "virtconsole"
        ends = {name: row["filename"] for name, row in vm.rows("query-chardev", "label").items()}
        assert ends["charchannel2"] == "udp"
        assert ends["charchannel3"] == "pipe"
        assert ends["charchannel4"] == "qemu-vdagent"
        assert ends["charchannel5"] == "null"
        with socket.socket(socket.AF_UNIX) as console:
            console.connect(str(boot.root / "console.sock"))
            assert ends["charchannel1"] == "unix:"
        with socket.socket(socket.AF_UNIX) as agent:
            path = vm.rows("query-chardev", "label")["charchannel0"]["filename"]
            agent.connect(path.split(":", 1)[1].split(",", 1)[0].removeprefix("unix:"))


def test_what_spice_carries(boot: Boots) -> None:
    """Channels, a smartcard, USB redirection with its filter; and a forwarded port."""
    devices = (
        f"<graphics type='spice' port='{free_port()}' autoport='no' listen='127.0.0.1'/>"
        "<channel type='spicevmc'><target type='virtio'/></channel>"
        "<channel type='spiceport'><source channel='org.example.spice'/>"
        "<target type='virtio' name='org.example.spice'/></channel>"
        "<controller type='usb' model='qemu-xhci'/>"
        "<smartcard mode='passthrough' type='spicevmc'/>"
        "<redirdev bus='usb' type='spicevmc'><boot order='3'/></redirdev>"
        "<redirdev bus='usb' type='unix'><source mode='bind' path='redir.sock'/>"
        "<address type='usb' bus='0' port='4'/></redirdev>"
        "<redirfilter><usbdev class='0x08' vendor='0x15E1' product='0x2007' version='1.1'"
        " allow='yes'/><usbdev allow='no'/></redirfilter>"
    )
    with boot(xml(devices + NONE)) as vm:
        passes = "0x08:0x15E1:0x2007:0x0110:1|-1:-1:-1:-1:0"
        wanted = {
            "channel0:name": "com.redhat.spice.0",
            "channel1:name": "org.example.spice",
            "redir0:filter": passes,
            "redir0:bootindex": 3,
            "redir1:filter": passes,
            "redir1:port": "4",
        }
        assert vm.alike(wanted) == wanted
        kinds = vm.kinds()
        assert kinds["ccid0"] == "usb-ccid"
        assert kinds["smartcard0"] == "ccid-card-passthru"
        ends = {name: row["filename"] for name, row in vm.rows("query-chardev", "label").items()}
        assert ends["charchannel0"] == ends["charsmartcard0"] == ends["charredir0"] == "spicevmc"
        assert ends["charchannel1"] == "spiceport"
        with socket.socket(socket.AF_UNIX) as redirected:
            redirected.connect(str(boot.root / "redir.sock"))


def test_a_card_over_a_socket(boot: Boots) -> None:
    devices = (
        "<controller type='usb' model='piix3-uhci'/>"
        "<smartcard mode='passthrough' type='unix'><source mode='connect' path='card.sock'/>"
        "<address type='ccid' controller='0' slot='0'/></smartcard>"
    )
    with listening(boot.root / "card.sock") as card, boot(xml(devices + NONE)) as vm:
        reader, _ = card.accept()
        with reader:
            assert vm.get("smartcard0:parent_bus").startswith("/machine/peripheral/ccid0/")
