"""Displays, graphics cards, sound and input: defaults, rules, secrets."""

import pytest

from qsuper.plan import Command
from qsuper.translate.site import HostData, Network, NetworkKind
from tests.support.domains import FIRST_DEVICE_LINE, device, errors, options, translated
from tests.support.emulators import emulator

VNC = "<graphics type='vnc'/>"
RDP = "<graphics type='rdp'/>"


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
        ("<graphics type='sdl'/>" + VNC, ["none"]),
        (VNC + "<graphics type='spice'/>", ["spice"]),
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
    assert device(made, "input2")["driver"] == "usb-tablet"  # it is the third <input>
    arm = translated("<input type='mouse' bus='virtio'/>", arch="aarch64", machine="virt")
    assert device(arm, "input0")["driver"] == "virtio-mouse-pci"


@pytest.mark.parametrize(
    ("xml", "what"),
    [
        (RDP, "type='rdp' needs the picture from D-Bus (add <graphics type='dbus'/>)"),
        (f"<graphics type='dbus' p2p='yes'/>{RDP}", "needs the picture from D-Bus"),
        ("<graphics type='rdp' multiUser='yes'/>", "multiUser= is nothing for QEMU's RDP server"),
        ("<graphics type='rdp' autoport='x'/>", "autoport='x' is unknown"),
        (
            "<graphics type='rdp'><listen type='socket'/></graphics>",
            "<listen>: RDP listens on an address",
        ),
        (
            "<graphics type='rdp'><listen type='address'/><listen type='address'/></graphics>",
            "<listen>: there can be one <listen>",
        ),
        (
            "<graphics type='sdl'><gl/></graphics>",
            "<gl>: attribute 'enable' is missing (yes or no)",
        ),
        ("<graphics type='spice'><gl/></graphics>", "<gl>: attribute 'enable' is missing"),
        ("<graphics type='spice'><clipboard/></graphics>", "attribute 'copypaste' is missing"),
        ("<graphics type='spice'><filetransfer/></graphics>", "attribute 'enable' is missing"),
        (
            "<graphics type='spice' port='5900' defaultMode='secure'/>",
            "mode='secure' needs a port with TLS (tlsPort=)",
        ),
        (
            "<graphics type='spice' tlsPort='1'><channel name='main' mode='insecure'/></graphics>",
            "mode='insecure' needs a port without TLS (port=)",
        ),
        ("<graphics type='spice'/>" * 2, "there can be one type='spice'"),
        ("<graphics type='sdl'/>" * 2, "there can be one type='sdl'"),
        ("<graphics type='dbus'/>" * 2, "there can be one type='dbus'"),
        ("<graphics type='egl-headless'/>" * 2, "there can be one type='egl-headless'"),
        ("<graphics type='sdl'/><graphics type='egl-headless'/>", "goes with VNC and SPICE alone"),
        ("<graphics type='dbus'><audio id='1'/></graphics>", "<audio id='1'> is not there, or not"),
        (
            "<graphics type='dbus'><audio id='1'/></graphics><audio id='1' type='none'/>",
            "<audio id='1'> is not there, or not of type='dbus' (add one)",
        ),
        (
            "<graphics type='vnc'><listen type='address' socket='/s'/></graphics>",
            "<listen>: socket= is for type='socket' (remove it)",
        ),
        (
            "<graphics type='vnc'><listen type='socket' network='n'/></graphics>",
            "<listen>: network= is for type='network' (remove it)",
        ),
        (
            "<graphics type='vnc'><listen type='address'/><listen type='address'/></graphics>",
            "QEMU has one <listen> for each (remove one)",
        ),
        ("<video><model type='qxl' vgamem='512'/></video>", "or below 1 MiB (16384)"),
        ("<video><model type='vga' vgamem='16384'/></video>", "type='vga' has no vgamem="),
        ("<video><model type='vga' ram='16384'/></video>", "type='vga' has no ram="),
        ("<video><model type='vga' vram64='16384'/></video>", "type='vga' has no vram64="),
        ("<video><model type='qxl' vram='3000000'/></video>", "vram='3000000' is too much"),
        ("<video><model type='qxl' vram='4194303'/></video>", "out of range (0..4194302)"),
        (
            "<video><model type='ramfb'/><address type='pci' slot='9'/></video>",
            "model type='ramfb' has no address",
        ),
        (
            "<video><model type='cirrus'><resolution x='800' y='600'/></model></video>",
            "model type='cirrus' has no <resolution> (vga or virtio)",
        ),
        ("<video><model type='vga' blob='off'/></video>", "model type='vga' has no blob="),
        (
            "<video><model type='virtio'><acceleration/></model></video>",
            "<acceleration>: it says nothing (accel3d='yes')",
        ),
        (
            "<video><model type='virtio'><acceleration rendernode='/d'/></model></video>",
            "<acceleration>: rendernode= is for <driver name='vhostuser'/>",
        ),
        ("<input type='tablet' bus='usb' model='virtio'/>", "model='virtio' is for bus='virtio'"),
        ("<graphics type='sdl'/><sound model='ac97'/>", "there is no <audio> to play by (add one)"),
        ("<graphics type='sdl'/><sound model='pcspk'/>", "there is no <audio> to play by"),
        ("<audio id='1' type='spice'/>", "type='spice' needs SPICE (<graphics type='spice'/>)"),
        ("<audio id='1' type='sdl' driver='x'/>", "driver='x' is unknown (one of esd, alsa,"),
        (
            "<audio id='1' type='oss'><input fixedSettings='yes'/></audio>",
            "<input>: fixedSettings='yes' needs the mixing engine (mixingEngine='yes')",
        ),
        (
            "<audio id='1' type='oss'><input mixingEngine='yes' voices='0'/></audio>",
            "<input>: voices='0' is out of range",
        ),
        (
            "<audio id='1' type='oss'><output mixingEngine='yes'><settings/></output></audio>",
            "<settings> need fixedSettings='yes'",
        ),
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


@pytest.mark.parametrize(
    ("xml", "name", "expected"),
    [
        ("<graphics type='sdl'><gl enable='no'/></graphics>", "display", "sdl,gl=off"),
        ("<graphics type='sdl'><gl enable='yes'/></graphics>", "display", "sdl,gl=on"),
        ("<graphics type='sdl'/>", "display", "sdl"),
        (
            "<graphics type='dbus' address='unix:path=/b'><gl enable='no'/></graphics>",
            "display",
            "dbus,addr=unix:path=/b,gl=off",
        ),
        ("<graphics type='dbus' p2p='yes'/>", "display", "dbus,p2p=on"),
        (
            "<graphics type='dbus' p2p='yes'><audio id='1'/></graphics><audio id='1' type='dbus'/>",
            "display",
            "dbus,p2p=on,audiodev=audio1",
        ),
        (
            "<graphics type='vnc' port='5900' powerControl='no'/>",
            "vnc",
            "127.0.0.1:0,power-control=off,audiodev=audio1",
        ),
        ("<graphics type='vnc' port='5900' connected='x'/>", "vnc", "127.0.0.1:0,audiodev=audio1"),
        (
            "<graphics type='vnc' socket='/s'><listen type='address'/></graphics>",
            "vnc",
            "vnc=unix:/s,audiodev=audio1",
        ),
        ("<graphics type='spice' port='5900' keymap='de'/>", "k", "de"),
    ],
)
def test_a_display_on_the_command_line(xml: str, name: str, expected: str) -> None:
    assert words(xml, name) == expected


def test_a_bus_is_shown_as_libvirts_and_is_the_sessions_at_launch() -> None:
    xml = "<graphics type='dbus'/>"
    path = "unix:path=/run/libvirt/qemu/dbus/-1-vm-dbus.sock"
    assert words(xml, "display") == f"dbus,addr={path}"
    assert words(xml, "display", live=True) == "dbus"


def test_rdp_is_somebody_elses_work() -> None:
    made = translated(f"<graphics type='dbus'/>\n{RDP}")
    said = "vm.xml:7: <graphics>: start qemu-rdp yourself, on the bus of <graphics type='dbus'>"
    assert said in [str(notice) for notice in made.notices]
    assert len(options(made, "display")) == 1


def test_gl_is_for_viewers_on_this_host() -> None:
    """Libvirt lets it pass, and QEMU may."""
    said = "vm.xml:6: <graphics>: QEMU has <gl> for viewers on this host only"
    remote = translated("<graphics type='spice' port='5900'><gl enable='yes'/></graphics>")
    assert f"{said} (<listen type='none'/>)" in [str(notice) for notice in remote.notices]
    here = "<graphics type='spice'><listen type='none'/><gl enable='yes'/></graphics>"
    assert not [notice for notice in translated(here).notices if "<gl>" in str(notice)]


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("type='vga' vram='9000'", {"driver": "VGA", "vgamem_mb": 16}),
        ("type='cirrus' vram='1'", {"driver": "cirrus-vga"}),
        ("vram='16384'", {"driver": "cirrus-vga"}),
        ("type='virtio' heads='0'", {"driver": "virtio-vga", "max_outputs": None}),
        ("type='virtio' heads='2'", {"driver": "virtio-vga", "max_outputs": 2}),
        ("type='qxl' ram='5000'", {"ram_size": 8 << 20, "vgamem_mb": 16}),
    ],
)
def test_a_graphics_card(model: str, expected: dict[str, object]) -> None:
    card = device(translated(f"<video><model {model}/></video>"), "video0")
    assert {key: card.get(key) for key in expected} == expected


@pytest.mark.parametrize(
    ("audio", "env"),
    [
        ("type='sdl' driver='alsa'", {"SDL_AUDIODRIVER": "alsa"}),
        ("type='pipewire' runtimeDir='/r'", {"PIPEWIRE_RUNTIME_DIR": "/r"}),
        ("type='pipewire'", {}),
    ],
)
def test_some_sound_is_led_by_the_environment(audio: str, env: dict[str, str]) -> None:
    assert translated(f"<audio id='1' {audio}/>").plan.env == env


def test_a_qemu_without_spice_says_so() -> None:
    poor = emulator(paths=["query-spice"])
    assert "no SPICE" in errors("<graphics type='spice'/>", caps=poor)[0]
