"""Displays, graphics cards, sound and input: defaults, rules, secrets."""

import pytest

from qsuper.plan import Command
from qsuper.translate.site import HostData, Network, NetworkKind
from tests.support.domains import FIRST_DEVICE_LINE, device, errors, options, translated
from tests.support.emulators import emulator

VNC = "<graphics type='vnc'/>"


def words(xml: str, name: str, *, live: bool = False) -> str:
    made = translated(xml)
    [option] = [option for option in made.plan.options if option.name == name]
    return option.argv({} if live else None)[1]


@pytest.mark.parametrize("kind", ["vnc", "spice"])
def test_a_password_never_stands_on_the_command_line(kind: str) -> None:
    until = "passwdValidTo='2040-01-01T00:00:00'"
    made = translated(f"<graphics type='{kind}' passwd='hunter2' connected='keep' {until}/>")
    everything = [word for option in made.plan.options for word in option.argv({})]
    assert not any("hunter2" in word for word in everything)
    password = {"protocol": kind, "password": "hunter2", "connected": "keep"}
    assert made.plan.setup == (
        Command(name="set_password", arguments=password),
        Command(name="expire_password", arguments={"protocol": kind, "time": "2208988800"}),
    )


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ("passwd='123456789'", "a VNC password has at most 8 characters, this one 9"),
        ("passwd='x' connected='fail'", "VNC has no connected='fail'"),
        ("passwd='x' connected='maybe'", "connected='maybe' is unknown"),
        ("passwd='x' passwdValidTo='soon'", "passwdValidTo='soon' is no time in UTC"),
    ],
)
def test_a_password_that_vnc_cannot_have(attributes: str, message: str) -> None:
    [error] = errors(f"<graphics type='vnc' {attributes}/>")
    assert message in str(error)


def test_vnc_asks_for_the_password_that_is_still_to_be_set() -> None:
    assert "password=on" in words("<graphics type='vnc' passwd='x'/>", "vnc")


def test_an_open_vnc_port_is_searched_at_launch_only() -> None:
    assert "to=" not in words(VNC, "vnc")
    assert "to=99" in words(VNC, "vnc", live=True)
    assert "to=" not in words("<graphics type='vnc' port='5901' autoport='no'/>", "vnc", live=True)


def test_a_socket_of_our_own_is_in_the_runtime_directory() -> None:
    xml = "<graphics type='vnc'><listen type='socket'/></graphics>"
    assert "unix:/var/lib/libvirt/qemu/domain--1-vm/vnc.sock" in words(xml, "vnc")
    assert "unix:vnc.sock" in words(xml, "vnc", live=True)
    theirs = "<graphics type='vnc' socket='/run/v.sock'/>"
    assert "unix:/run/v.sock" in words(theirs, "vnc", live=True)


def test_spice_without_a_password_lets_anyone_in_who_reaches_it() -> None:
    xml = "<graphics type='spice' port='5999'/>"
    assert words(xml, "spice") == "port=5999,addr=127.0.0.1,seamless-migration=on"
    assert "disable-ticketing=on" in words(xml, "spice", live=True)
    secret = "<graphics type='spice' port='5999' passwd='x'/>"
    assert "disable-ticketing" not in words(secret, "spice", live=True)


def test_a_network_is_listened_on_at_the_hosts_address() -> None:
    xml = "<graphics type='vnc'><listen type='network' network='lan'/></graphics>"
    lan = Network(kind=NetworkKind.BRIDGE, bridge="br0", address="192.168.7.1")
    known = translated(xml, host=HostData(networks={"lan": lan}))
    [option] = [option for option in known.plan.options if option.name == "vnc"]
    assert option.argv()[1].startswith("192.168.7.1:0,")
    assert not [notice for notice in known.notices if "is not known" in str(notice)]
    assert [notice for notice in translated(xml).notices if "is not known" in str(notice)]


@pytest.mark.parametrize(
    ("displays", "audio"),
    [
        ("", ["none"]),
        (VNC, ["none"]),
        ("<graphics type='spice'/>", ["spice"]),
        ("<graphics type='sdl'/>", []),
        ("<graphics type='egl-headless'/>", []),
        ("<graphics type='egl-headless'/>" + VNC, ["none"]),
    ],
)
def test_audio_follows_the_display(displays: str, audio: list[str]) -> None:
    made = translated(displays)
    assert [row["driver"] for row in options(made, "audiodev")] == audio


def test_a_display_brings_a_graphics_card() -> None:
    assert device(translated(VNC), "video0")["driver"] == "cirrus-vga"
    poor = emulator(types=["cirrus-vga"])
    assert device(translated(VNC, caps=poor), "video0")["driver"] == "VGA"
    arm = emulator("aarch64", types=["virtio-vga"])
    made = translated(VNC, arch="aarch64", machine="virt", caps=arm)
    assert device(made, "video0")["driver"] == "virtio-gpu-pci"


def test_the_primary_card_comes_first() -> None:
    xml = "<video><model type='qxl'/></video><video><model type='vga' primary='yes'/></video>"
    made = translated(xml, machine="q35")
    assert device(made, "video0")["driver"] == "VGA"
    assert (device(made, "video0")["bus"], device(made, "video0")["addr"]) == ("pcie.0", "0x1")
    assert device(made, "video1")["driver"] == "qxl"


def test_the_first_ich9_sound_takes_the_chipsets_slot() -> None:
    made = translated("<sound model='ich9'/><sound model='ich9'/>", machine="q35")
    assert device(made, "sound0")["addr"] == "0x1b"
    assert device(made, "sound1")["addr"] != "0x1b"


def test_ps2_devices_are_the_machines_own() -> None:
    xml = "<input type='mouse'/><input type='keyboard'/><input type='tablet'/>"
    made = translated(xml)
    assert device(made, "input0")["driver"] == "usb-tablet"
    arm = translated("<input type='mouse' bus='virtio'/>", arch="aarch64", machine="virt")
    assert device(arm, "input0")["driver"] == "virtio-mouse-pci"


@pytest.mark.parametrize(
    ("xml", "what"),
    [
        ("<graphics type='rdp'/>", "not supported"),
        (VNC * 2, "one type='vnc'"),
        ("<graphics type='vnc' port='80'/>", "below 5900"),
        ("<graphics type='vnc' port='99999'/>", "out of range"),
        ("<graphics type='vnc' sharePolicy='x'/>", "'x' is unknown"),
        ("<graphics type='vnc' listen='a b'/>", "no address to listen on"),
        ("<graphics type='vnc' listen=':::'/>", "no address to listen on"),
        (
            "<graphics type='vnc' listen='::'><listen type='address' address='::1'/></graphics>",
            "differs from",
        ),
        ("<graphics type='vnc'><audio id='7'/></graphics>", "no <audio id='7'>"),
        ("<graphics type='dbus' p2p='yes' address='unix:x'/>", "leaves no place"),
        ("<graphics type='egl-headless'/><graphics type='sdl'><gl enable='yes'/></graphics>", "GL"),
        ("<video><model type='none'/></video><video/>", "no place for others"),
        ("<video><model type='qxl' primary='yes'/></video>" * 2, "one primary"),
        ("<video/><video><model type='cirrus'/></video>", "only be the first"),
        ("<video><model type='vga' vram='1'/></video>", "below 1 MiB"),
        ("<video><model type='qxl' vgamem='9000'/></video>", "power of two"),
        ("<video><model type='vga'><acceleration accel3d='yes'/></model></video>", "accel3d"),
        ("<video><driver name='vhostuser'/><model type='vga'/></video>", "for model type='virtio'"),
        ("<input type='tablet' bus='ps2'/>", "can't be on bus='ps2'"),
        ("<input type='passthrough' bus='virtio'/>", "<source> is missing"),
        ("<input type='joystick'/>", "is unknown"),
        ("<sound model='ich7'/>", "is unknown"),
        ("<sound model='ac97'><audio id='2'/></sound>", "no <audio id='2'>"),
        ("<audio id='1' type='none'/><audio id='1' type='none'/>", "used twice"),
        ("<audio type='none'/>", "'id' is missing"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(xml: str, what: str) -> None:
    found = errors(xml)
    assert any(what in error for error in found), found
    assert found[0].startswith(f"vm.xml:{FIRST_DEVICE_LINE}: ")


def test_a_qemu_without_spice_says_so() -> None:
    poor = emulator(paths=["query-spice"])
    assert "no SPICE" in errors("<graphics type='spice'/>", caps=poor)[0]
