"""Serial ports, consoles, parallel ports, channels, and the back ends they share."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsuper.options import Access, OpenFile, UnixListener
from qsuper.plan import Console, ConsoleKind
from qsuper.translate.site import HostData
from tests.support.domains import device, errors, obstacles, options, translated
from tests.support.emulators import NEW_IN_9, emulator

SPICE = "<graphics type='spice' port='5901'/>"


def channel(kind: str, inside: str = "", *, name: str = "port") -> str:
    target = f"<target type='virtio' name='{name}'/>"
    return f"<channel type='{kind}'>{inside}{target}</channel>\n"


def chardev(xml: str, ident: str = "charchannel0", **kwargs: object) -> dict[str, str]:
    found = options(translated(xml, **kwargs), "chardev")  # type: ignore[arg-type]
    return next(props for props in found if props["id"] == ident)


@pytest.mark.parametrize(
    ("kind", "inside", "expected"),
    [
        ("null", "", "null"),
        ("vc", "", "vc"),
        ("pty", "<source path='/dev/pts/3'/>", "pty"),
        ("stdio", "", "stdio"),
        ("pipe", "<source path='/p'/>", "pipe,path=/p"),
        ("dev", "<source path='/dev/ttyS0'/>", "serial,path=/dev/ttyS0"),
        ("unix", "<source mode='bind' path='/s'/>", "socket,path=/s,server=on,wait=off"),
        ("unix", "<source mode='connect' path='/s'/>", "socket,path=/s"),
        (
            "tcp",
            "<source mode='bind' host='h' service='1'/><protocol type='telnet'/>",
            "socket,host=h,port=1,telnet=on,server=on,wait=off",
        ),
        (
            "tcp",
            "<source host='h' service='1'><reconnect enabled='yes' timeout='2'/></source>",
            "socket,host=h,port=1,reconnect-ms=2000",
        ),
        (
            "udp",
            "<source mode='connect' host='h' service='1'/><source mode='bind' service='2'/>",
            "udp,host=h,port=1,localaddr=,localport=2",
        ),
        ("spiceport", "<source channel='c'/>", "spiceport,name=c"),
        ("dbus", "<source channel='c'/>", "dbus,name=c"),
        (
            "qemu-vdagent",
            "<source><clipboard copypaste='no'/><mouse mode='client'/></source>",
            "qemu-vdagent,name=vdagent,clipboard=off,mouse=on",
        ),
    ],
)
def test_back_ends(kind: str, inside: str, expected: str) -> None:
    plan = translated(channel(kind, inside) + SPICE).plan
    option = next(option for option in plan.options if option.name == "chardev")
    backend, comma, props = expected.partition(",")
    assert option.argv()[1] == f"{backend},id=charchannel0{comma}{props}"


@pytest.mark.parametrize(
    ("append", "access"),
    [("", Access.WRITE), ("append='off'", Access.WRITE), ("append='on'", Access.APPEND)],
)
def test_files_are_opened_for_qemu(append: str, access: Access) -> None:
    """Who opens a file decides what becomes of its content; QEMU itself only adds to it."""
    xml = channel("file", f"<source path='out' {append}/><log file='log' {append}/>")
    found = translated(xml)
    [log, out] = sorted(found.plan.resources(), key=lambda each: each.name)
    assert out == OpenFile(name="channel0-source", path="/vm/out", access=access)
    assert log == OpenFile(name="channel0-log", path="/vm/log", access=access)
    sets = {row["opaque"]: f"/dev/fdset/{row['set']}" for row in options(found, "add-fd")}
    assert options(found, "chardev")[0] == {
        "file": "",
        "id": "charchannel0",
        "path": sets["channel0-source"],
        "append": "on",
        "logfile": sets["channel0-log"],
        "logappend": "on",
    }


def test_an_old_qemu_reconnects_in_seconds() -> None:
    source = "<source host='h' service='1'><reconnect enabled='yes' timeout='2'/></source>"
    assert chardev(channel("tcp", source), caps=emulator(paths=NEW_IN_9))["reconnect"] == "2"


def test_tls_names_its_credentials() -> None:
    source = "<source mode='bind' host='h' service='1' tls='yes'/>"
    translation = translated(channel("tcp", source))
    credentials = options(translation, "object")[-1]
    assert (credentials["qom-type"], credentials["endpoint"]) == ("tls-creds-x509", "server")
    assert options(translation, "chardev")[0]["tls-creds"] == credentials["id"]


def test_a_listening_socket_is_inherited() -> None:
    plan = translated(channel("unix", "<source mode='bind' path='/s'/>")).plan
    assert list(plan.resources()) == [UnixListener(name="channel0", path="/s")]
    option = next(option for option in plan.options if option.name == "chardev")
    assert option.argv({"channel0": 7})[1] == "socket,id=charchannel0,fd=7,server=on,wait=off"


@pytest.mark.parametrize(
    "source",
    [
        "",
        "<source mode='bind' path='/var/lib/libvirt/qemu/channel/target/domain-3-old/port'/>",
        "<source mode='bind' path='/run/libvirt/qemu/channel/3-old/port'/>",
    ],
)
def test_a_channel_without_a_path_gets_its_own(source: str) -> None:
    host = HostData(machine_id="m", channel_dir="/channels")
    translation = translated(channel("unix", source), host=host)
    assert options(translation, "chardev")[0]["path"] == "/channels/vm/port"
    assert list(translation.plan.resources()) == [UnixListener(name="channel0")]


def test_ports_count_on_from_the_highest() -> None:
    xml = (
        "<serial type='null'/><serial type='null'><target port='1'/></serial><serial type='null'/>"
    )
    translation = translated(xml)
    assert [device(translation, f"serial{n}")["index"] for n in range(3)] == [2, 1, 3]


@pytest.mark.parametrize(
    ("address", "driver"),
    [
        ("", "isa-serial"),
        ("<address type='isa' iobase='0x3e8'/>", "isa-serial"),
        ("<address type='pci' slot='0x9'/>", "pci-serial"),
        ("<address type='usb' bus='0'/>", "usb-serial"),
    ],
)
def test_the_address_tells_the_kind_of_port(address: str, driver: str) -> None:
    xml = f"<serial type='null'>{address}</serial>"
    assert device(translated(xml), "serial0")["driver"] == driver


def test_a_boards_own_port_is_no_device() -> None:
    translation = translated("<serial type='null'/>", arch="aarch64", machine="virt")
    words = [option.argv() for option in translation.plan.options if option.name == "serial"]
    assert words == [("-serial", "chardev:charserial0")]


def test_what_used_to_be_written_for_a_boards_own_port() -> None:
    """Older libvirts wrote isa-serial for all machines once."""
    xml = "<serial type='null'><target type='isa-serial' port='0'/></serial>"
    translation = translated(xml, arch="riscv64", machine="virt")
    words = [option.argv() for option in translation.plan.options if option.name == "serial"]
    assert words == [("-serial", "chardev:charserial0")]


def test_the_first_console_is_the_first_serial_port() -> None:
    both = translated("<serial type='null'/><console type='pty'/>")
    assert [props["id"] for props in options(both, "chardev")] == ["charserial0"]
    alone = translated("<console type='pty'/>")
    assert device(alone, "serial0")["driver"] == "isa-serial"


def test_other_consoles_count_after_that_of_the_serial_port() -> None:
    virtio = "<console type='pty'><target type='virtio'/></console>"
    assert device(translated(virtio), "console0")["driver"] == "virtconsole"
    both = translated(f"<serial type='pty'/>{virtio}")
    assert device(both, "console1")["chardev"] == "charconsole1"


def test_parallel_ports_have_a_back_end_of_their_own() -> None:
    xml = "<parallel type='dev'><source path='/dev/parport0'/></parallel>"
    props = chardev(xml, "charparallel0")
    assert "parallel" in props
    assert props["path"] == "/dev/parport0"


def test_guestfwd_is_a_user_mode_network() -> None:
    target = "<target type='guestfwd' address='10.0.2.1' port='4600'/>"
    translation = translated(f"<channel type='pty'>{target}</channel>")
    assert options(translation, "netdev") == [
        {
            "type": "user",
            "id": "channel0",
            "guestfwd": [{"str": "tcp:10.0.2.1:4600-chardev:charchannel0"}],
        }
    ]


def test_what_the_runtime_can_attach_to() -> None:
    xml = (
        "<serial type='pty'><log file='/log'/></serial>"
        "<serial type='tcp'><source mode='bind' host='::1' service='9'/></serial>"
        "<serial type='file'><source path='/out'/></serial>"
        "<console type='pty'/>" + channel("unix") + channel("null", name="other")
    )
    assert translated(xml).plan.consoles == (
        Console(alias="serial0", chardev="charserial0", kind=ConsoleKind.PTY, logged=True),
        Console(alias="serial1", chardev="charserial1", kind=ConsoleKind.TCP, endpoint="[::1]:9"),
        Console(alias="serial2", chardev="charserial2", kind=ConsoleKind.FILE, endpoint="/out"),
        Console(
            alias="channel0",
            chardev="charchannel0",
            kind=ConsoleKind.UNIX,
            endpoint="channel0.sock",
        ),
        Console(alias="channel1", chardev="charchannel1", kind=ConsoleKind.OTHER),
    )


@pytest.mark.parametrize(
    ("xml", "expected"),
    [
        ("<serial type='unix'/>", "vm.xml:6: <source>: attribute 'path' is missing"),
        ("<serial type='tcp'><source service='1'/></serial>", "attribute 'host' is missing"),
        ("<serial type='udp'><source host='h'/></serial>", "attribute 'service' is missing"),
        ("<serial type='nmdm'/>", "<serial>: type='nmdm' is unknown"),
        ("<serial type='spiceport'/>", "attribute 'channel' is missing"),
        (
            "<serial type='null'><source/><source/></serial>",
            "vm.xml:6: <serial>: there are too many <source> (at most 1)",
        ),
        (
            "<serial type='udp'><source/><source/><source/></serial>",
            "vm.xml:6: <serial>: there are too many <source> (at most 2)",
        ),
        (
            "<serial type='null'><protocol type='raw'/><protocol type='raw'/></serial>",
            "vm.xml:6: <serial>: there are too many <protocol> (at most 1)",
        ),
        (
            channel("qemu-vdagent", "<source><clipboard/></source>"),
            "<clipboard>: attribute 'copypaste' is missing (yes or no)",
        ),
        ("<serial type='null'><target port='x'/></serial>", "<target>: port='x' is not a number"),
        ("<serial type='null'><target type='system-serial'/></serial>", "has no 'system-serial'"),
        ("<serial type='null'><target type='sclp-serial'/></serial>", "has no 'sclp-serial'"),
        (
            "<serial type='null'><target type='spapr-vio-serial'/></serial>",
            "has no 'spapr-vio-serial'",
        ),
        (
            "<serial type='null'><target type='pci-serial'/><address type='isa'/></serial>",
            "the address does not fit 'pci-serial'",
        ),
        (
            "<serial type='null'><target type='usb-serial'/><address type='isa'/></serial>",
            "the address does not fit 'usb-serial'",
        ),
        (
            "<parallel type='null'><address type='pci' slot='0x9'/></parallel>",
            "it takes an address of type='isa' only",
        ),
        (
            "<console type='pty'><target type='virtio'/><address type='isa'/></console>",
            "the address does not fit 'virtio'",
        ),
        (
            "<channel type='pty'><target type='virtio'/><address type='isa'/></channel>",
            "the address does not fit (type='virtio-serial')",
        ),
        (
            "<serial type='null'><target type='isa-serial'><model name='pl011'/></target></serial>",
            "model 'pl011' does not go with 'isa-serial' (isa-serial)",
        ),
        (
            "<console type='pty'><target type='virtio'/></console><console type='pty'/>",
            "only the first console can be a serial port",
        ),
        ("<console type='pty'><target type='sclp'/></console>", "has no 'sclp' consoles"),
        (
            channel("unix", "<source mode='bind' path='/s'><reconnect enabled='no'/></source>"),
            "<reconnect> is for mode='connect'",
        ),
        (
            channel("unix", "<source path='/s'><reconnect enabled='yes' timeout='0'/></source>"),
            "timeout='0' is out of range",
        ),
        (channel("spicevmc"), "type='spicevmc' needs SPICE (<graphics type='spice'/>)"),
        (channel("spicevmc", name="agent"), "a spicevmc channel can't be named 'agent'"),
        ("<channel type='pty'><target type='xen'/></channel>", "type='xen' is unknown"),
        (
            "<channel type='pty'><target type='guestfwd' address='a,b' port='1'/></channel>",
            "address='a,b' is no IP address",
        ),
    ],
)
def test_errors(xml: str, expected: str) -> None:
    found = errors(xml)
    assert any(expected in message for message in found), found


@pytest.mark.parametrize(
    ("ports", "expected"),
    [
        ((4,), "vm.xml:6: <serial>: port 4 is beyond the last (0..3)"),
        ((1, 1), "vm.xml:7: <serial>: port 1 is taken, by line 6"),
    ],
)
def test_ports_that_qemu_has_not(ports: tuple[int, ...], expected: str) -> None:
    """Libvirt writes them, and QEMU does not start."""
    serial = "<serial type='null'><target port='{}'/></serial>\n"
    xml = "".join(serial.format(port) for port in ports)
    assert obstacles(xml) == [expected]
    rows = options(translated(xml), "device")
    assert [row["index"] for row in rows if row["driver"] == "isa-serial"] == list(ports)


@pytest.mark.parametrize("device_xml", ["<serial type='pty'>{}</serial>", "<console>{}</console>"])
def test_a_port_below_the_first_is_none(device_xml: str) -> None:
    xml = device_xml.format("<target port='-1'/>")
    rows = options(translated(xml), "device")
    assert [row["index"] for row in rows if row["driver"] == "isa-serial"] == [0]


def test_a_back_end_that_this_qemu_lacks() -> None:
    caps = emulator(paths=["chardev-add/arg-type/backend/+dbus"])
    xml = channel("dbus", "<source channel='c'/>")
    assert errors(xml, caps=caps) == ["vm.xml:6: this QEMU has no character device of type 'dbus'"]


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=40))
def test_a_socket_path_stays_what_it_is(name: str) -> None:
    quoted = name.replace("&", "&amp;").replace("<", "&lt;").replace("'", "&apos;")
    plan = translated(channel("unix", f"<source mode='connect' path='/s/{quoted}'/>")).plan
    option = next(option for option in plan.options if option.name == "chardev")
    doubled = name.replace(",", ",,")
    assert option.argv() == ("-chardev", f"socket,id=charchannel0,path=/s/{doubled}")
