"""Network interfaces: what is filled in, what is refused, and which network they get."""

import re
from string import printable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsuper.options import Handle, Tap
from qsuper.translate.nic import derived_mac
from qsuper.translate.site import HostData, Network, NetworkKind
from tests.support.domains import FIRST_DEVICE_LINE, device, errors, obstacles, options, translated
from tests.support.emulators import emulator

NETWORK = "<interface type='network'><source network='lan'/></interface>"


def on_network(network: Network) -> HostData:
    return HostData(machine_id="m", networks={"lan": network})


def test_a_missing_mac_is_the_same_each_time() -> None:
    first, second = (translated("<interface type='user'/>" * 2) for _ in range(2))
    macs = [device(first, f"net{number}")["mac"] for number in range(2)]
    assert macs == [device(second, f"net{number}")["mac"] for number in range(2)]
    assert macs[0] != macs[1]
    assert all(re.fullmatch(r"52:54:00(:[0-9a-f]{2}){3}", mac) for mac in macs)


def test_a_mac_depends_on_host_domain_and_position() -> None:
    macs = {derived_mac(host, vm, n) for host in "ab" for vm in "xy" for n in range(2)}
    assert len(macs) == 8


@pytest.mark.parametrize(
    ("arch", "machine", "lacking", "driver"),
    [
        ("x86_64", "pc", (), "rtl8139"),
        ("x86_64", "q35", ("rtl8139",), "e1000"),
        ("x86_64", "q35", ("rtl8139", "e1000"), "virtio-net-pci"),
        ("aarch64", "virt", (), "virtio-net-pci"),
    ],
)
def test_the_default_model_is_what_libvirt_takes(
    arch: str, machine: str, lacking: tuple[str, ...], driver: str
) -> None:
    caps = emulator(arch, types=lacking)
    made = translated("<interface type='user'/>", arch=arch, machine=machine, caps=caps)
    assert device(made, "net0")["driver"] == driver


def test_a_board_without_pci_makes_its_own_card() -> None:
    made = translated("<interface type='user'/>", arch="aarch64", machine="vexpress-a9")
    [nic] = options(made, "net")
    assert nic["model"] == "lan9118"
    assert nic["netdev"] == "hostnet0"


def test_an_unknown_network_is_user_mode_networking_with_a_notice() -> None:
    made = translated(NETWORK)
    assert options(made, "netdev") == [{"type": "user", "id": "hostnet0"}]
    [notice] = [str(notice) for notice in made.notices if "--network" in str(notice)]
    assert notice.startswith(f"vm.xml:{FIRST_DEVICE_LINE}: ")
    assert "--network lan=bridge:NAME" in notice


def test_a_network_follows_the_table() -> None:
    bridge = on_network(Network(kind=NetworkKind.BRIDGE, bridge="br7"))
    made = translated(NETWORK, host=bridge)
    [netdev] = [option for option in made.plan.options if option.name == "netdev"]
    handle = netdev.props["fd"]
    assert isinstance(handle, Handle)
    assert handle.resource == Tap(name="net0-tap0", bridge="br7")
    passt = translated(NETWORK, host=on_network(Network(kind=NetworkKind.PASST)))
    assert options(passt, "netdev")[0]["type"] == "stream"


def test_a_pool_of_host_devices_gives_each_card_another() -> None:
    pool = Network(kind=NetworkKind.HOSTDEV, devices=("0000:03:10.0", "0000:03:10.2"))
    made = translated(NETWORK * 2, host=on_network(pool))
    hosts = [device(made, f"hostdev{number}")["host"] for number in range(2)]
    assert hosts == ["0000:03:10.0", "0000:03:10.2"]


def test_queues_share_one_option() -> None:
    xml = (
        "<interface type='ethernet'><target dev='t0'/><model type='virtio'/>"
        "<driver queues='3'/></interface>"
    )
    [netdev] = [option for option in translated(xml).plan.options if option.name == "netdev"]
    numbers = {f"net0-{kind}{queue}": 10 + queue for kind in ("tap", "vhost") for queue in range(3)}
    assert '"fds":"10:11:12"' in netdev.argv(numbers)[1]
    assert '"vhostfds":"10:11:12"' in netdev.argv(numbers)[1]


def test_a_driver_of_qemu_needs_no_vhost() -> None:
    xml = (
        "<interface type='ethernet'><model type='virtio'/><driver name='qemu'/></interface>"
        "<interface type='ethernet'><model type='e1000'/></interface>"
    )
    assert all("vhost" not in netdev for netdev in options(translated(xml), "netdev"))


@pytest.mark.parametrize(
    ("inside", "what"),
    [
        ("<mac address='01:00:00:00:00:00'/>", "multicast"),
        ("<mac address='52:54:00'/>", "no MAC address"),
        ("<ip address='10.0.0.0' prefix='28'/>", "too long"),
        ("<ip address='here'/>", "no IP address"),
        ("<ip address='10.0.0.0' family='ipv6'/>", "not of family"),
        ("<ip address='10.0.0.0'/><ip address='10.0.1.0'/>", "only one"),
        ("<portForward proto='icmp'/>", "proto='icmp' is unknown"),
        ("<portForward proto='tcp'/>", "<range> is missing"),
        ("<portForward proto='tcp'><range start='9' end='8'/></portForward>", "is before"),
        ("<portForward proto='tcp'><range start='1' end='9000'/></portForward>", "more than 1024"),
        (
            "<portForward proto='tcp'><range start='1' end='9' to='65530'/></portForward>",
            "last port",
        ),
        ("<portForward proto='tcp' address='::1'><range start='1'/></portForward>", "IPv4"),
        ("<model type='virtio'/><driver queues='2'/>", "one queue"),
        ("<model type='virtio'/><driver queues='-1'/>", "out of range"),
        ("<model type='virtio'/><driver rx_queue_size='300'/>", "power of two"),
        ("<model type='virtio'/><driver txmode='x'/>", "txmode='x' is unknown"),
        ("<model type='virtio'/><driver name='x'/>", "name='x' is unknown"),
        ("<model type='e1000'/><teaming type='persistent'/>", "needs a virtio model"),
        ("<backend type='other'/>", "type='other'"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(inside: str, what: str) -> None:
    found = errors(f"<interface type='user'>{inside}</interface>")
    assert any(what in error for error in found), found
    assert all(error.startswith(f"vm.xml:{FIRST_DEVICE_LINE}: ") for error in found)


@pytest.mark.parametrize("kind", ["direct", "internal", "null", "vds", "nosuch"])
def test_a_type_without_support_is_refused(kind: str) -> None:
    assert errors(f"<interface type='{kind}'/>")


def test_a_switch_needs_shared_memory() -> None:
    xml = "<interface type='vhostuser'><source type='unix' path='/s' mode='client'/></interface>"
    assert "needs shared memory" in errors(xml)[0]
    assert not errors(xml, parts="<memoryBacking><access mode='shared'/></memoryBacking>")


@given(name=st.text(alphabet=printable.strip() + " ,=", min_size=1).filter(str.strip))
def test_no_text_becomes_another_option(name: str) -> None:
    """A path in a keyed option stays one value, whatever is in it."""
    quoted = "".join(f"&#{ord(letter)};" for letter in f"/{name}")
    xml = f"<interface type='vhostuser'><source type='unix' path='{quoted}' mode='server'/>"
    shared = "<memoryBacking><access mode='shared'/></memoryBacking>"
    made = translated(f"{xml}</interface>", parts=shared)
    [chardev] = [option for option in made.plan.options if option.name == "chardev"]
    pairs = re.findall(r"(?:[^,]|,,)+", chardev.argv()[1])
    assert len(pairs) == 4
    assert pairs[2].replace(",,", ",") == f"path=/{name}"


def test_a_model_that_this_qemu_lacks_is_refused() -> None:
    """Libvirt leaves it to QEMU, which then does not start."""
    xml = "<interface type='user'><model type='vmxnet3'/></interface>"
    text = "vm.xml:6: <interface>: this QEMU has no network card 'vmxnet3' (virtio, e1000, ...)"
    assert obstacles(xml, caps=emulator(types=["vmxnet3"])) == [text]
    assert not obstacles(xml)


def card(kind: str, inside: str) -> str:
    return f"<interface type='{kind}'>{SOURCES.get(kind, '')}{inside}</interface>"


UUID = "09b11c53-8b5c-4eeb-8f00-d84eaa0aaa4f"
SHARED = "<memoryBacking><access mode='shared'/></memoryBacking>"
SOURCES = {
    "bridge": "<source bridge='br7'/>",
    "direct": "<source dev='eth0' mode='bridge'/>",
    "hostdev": "<source><address type='pci' domain='0' bus='3' slot='1' function='0'/></source>",
    "mcast": "<source address='230.0.0.1' port='5558'/>",
    "network": "<source network='lan'/>",
    "vdpa": "<source dev='/dev/vhost-vdpa-0'/>",
    "vhostuser": "<source type='unix' path='/s' mode='client'/>",
}


def port(kind: str, parameters: str = "") -> str:
    inside = f"<parameters {parameters}/>" if parameters else ""
    return f"<virtualport type='{kind}'>{inside}</virtualport>"


@pytest.mark.parametrize(
    ("kind", "inside", "what"),
    [
        ("user", "<mtu size='1500'/>", "<mtu>: type='user' has none (it is for network, bridge,"),
        ("bridge", "<mtu size='x'/>", "<mtu>: size='x' is not a number"),
        ("hostdev", "<mtu size='1500'/>", "<mtu>: type='hostdev' has none"),
        ("vdpa", "<mtu size='1500'/>", "<mtu>: type='vdpa' has none"),
        ("bridge", "<script path='/x'/>", "<script>: type='bridge' has none (it is for ethernet)"),
        ("vhostuser", "<script path='/x'/>", "<script>: type='vhostuser' has none"),
        (
            "ethernet",
            "<coalesce><rx><frames max='7'/></rx></coalesce>",
            "<coalesce>: type='ethernet' has none (it is for network, bridge)",
        ),
        (
            "bridge",
            "<coalesce><rx><frames max='x'/></rx></coalesce>",
            "<frames>: max='x' is not a number",
        ),
        ("user", "<vlan><tag id='3'/></vlan>", "<vlan>: type='user' has none"),
        ("direct", "<vlan><tag id='3'/></vlan>", "<vlan>: type='direct' has none"),
        ("bridge", "<vlan/>", "<vlan>: <tag> is missing"),
        ("bridge", "<vlan><tag/></vlan>", "<tag>: attribute 'id' is missing"),
        ("bridge", "<vlan><tag id='4096'/></vlan>", "<tag>: id='4096' is out of range (0..4095)"),
        (
            "bridge",
            "<vlan><tag id='1' nativeMode='x'/></vlan>",
            "<tag>: nativeMode='x' is unknown (one of tagged, untagged)",
        ),
        (
            "bridge",
            "<vlan trunk='no'><tag id='1'/><tag id='2'/></vlan>",
            "<vlan>: several tags are a trunk (trunk='yes')",
        ),
        ("ethernet", port("openvswitch"), "<virtualport>: type='ethernet' has none"),
        ("bridge", "<virtualport/>", "<virtualport>: attribute 'type' is missing"),
        ("bridge", port("none"), "<virtualport>: type='none' is unknown"),
        ("bridge", port("802.1Qbg"), "<virtualport>: type='802.1Qbg' needs managerid="),
        (
            "direct",
            port("802.1Qbg", "managerid='1' typeid='2'"),
            "<virtualport>: type='802.1Qbg' needs typeidversion=",
        ),
        ("bridge", port("802.1Qbh"), "<virtualport>: type='802.1Qbh' needs profileid="),
        ("bridge", port("midonet"), "<virtualport>: type='midonet' needs interfaceid="),
        (
            "bridge",
            port("openvswitch", "managerid='1'"),
            "<parameters>: type='openvswitch' has no managerid= (remove it)",
        ),
        (
            "bridge",
            port("openvswitch", "interfaceid='x'"),
            "<parameters>: interfaceid='x' is no uuid",
        ),
        (
            "direct",
            port("802.1Qbg", "managerid='256' typeid='2' typeidversion='3'"),
            "<parameters>: managerid='256' is out of range (0..255)",
        ),
        ("ethernet", "<port isolated='yes'/>", "<port>: isolated='yes' is not for type='ethernet'"),
        (
            "bridge",
            "<bandwidth><inbound peak='3'/></bandwidth>",
            "<inbound>: attribute 'average' is missing",
        ),
        (
            "bridge",
            "<bandwidth><inbound average='5' peak='x'/></bandwidth>",
            "<inbound>: peak='x' is not a number",
        ),
        (
            "bridge",
            "<bandwidth><inbound average='1' floor='3'/></bandwidth>",
            "<inbound>: floor= is for what comes in from a network",
        ),
        (
            "network",
            "<bandwidth><outbound average='1' floor='3'/></bandwidth>",
            "<outbound>: floor= is for what comes in from a network",
        ),
        ("bridge", "<target managed='no'/>", "<target>: managed='no' is for type='ethernet'"),
        ("ethernet", "<target managed='no'/>", "<target>: managed='no' needs the name of the"),
        ("bridge", "<target dev='t' managed='x'/>", "<target>: managed='x' is unknown"),
        ("user", "<ip address='10.0.2.3' peer='10.0.2.4'/>", "<ip>: the guest's peer can't be set"),
        ("bridge", "<ip address='10.0.2.3'/>", "<ip>: the guest's side of type='bridge'"),
        ("vhostuser", "<ip address='10.0.2.3'/>", "<ip>: the guest's side of type='vhostuser'"),
        ("user", "<route address='10.0.0.0'/>", "<route>: the guest's routes can't be set"),
        (
            "user",
            "<source><ip address='10.0.2.3'/></source>",
            "<ip>: the host's side of type='user' can't be set (remove it)",
        ),
        ("user", "<link state='x'/>", "<link>: state='x' is unknown (one of up, down)"),
        ("user", "<mac address='52:54:00:00:00:01' type='x'/>", "<mac>: type='x' is unknown"),
        ("user", "<mac address='52:54:00:00:00:01' check='x'/>", "<mac>: check='x' is unknown"),
        (
            "user",
            "<ip address='fd00::1' family='ipv6' prefix='48'/>",
            "<ip>: prefix='48' is not what QEMU has (64)",
        ),
        (
            "user",
            "<model type='virtio'/><teaming type='persistent' persistent='ua-x'/>",
            "<teaming>: type='persistent' names no other device",
        ),
        ("user", "<model type='virtio'/><teaming type='transient'/>", "only a host device can be"),
        ("hostdev", "<driver name='kvm'/>", "<driver>: name='kvm' is unknown (vfio)"),
        (
            "vhostuser",
            "<source type='unix' path='/s' mode='x'/>",
            "mode='x' is unknown (server or client)",
        ),
    ],
)
def test_the_hosts_side_is_checked(kind: str, inside: str, what: str) -> None:
    xml = card(kind, inside)
    if inside.startswith("<source type"):
        xml = f"<interface type='{kind}'>{inside}</interface>"
    [found] = errors(xml, parts=SHARED)
    assert found.startswith(f"vm.xml:{FIRST_DEVICE_LINE}: ")
    assert what in found


@pytest.mark.parametrize(
    ("kind", "inside", "tag"),
    [
        (
            "bridge",
            "<vlan trunk='yes'><tag id='1'/><tag id='2' nativeMode='tagged'/></vlan>",
            "vlan",
        ),
        ("hostdev", "<vlan><tag id='5'/></vlan>", "vlan"),
        ("bridge", port("openvswitch", f"interfaceid='{UUID}' profileid='p'"), "virtualport"),
        ("bridge", port("midonet", f"interfaceid='{UUID}' managerid='1'"), "virtualport"),
        ("direct", port("openvswitch"), "virtualport"),
        ("network", f"<virtualport><parameters instanceid='{UUID}'/></virtualport>", "virtualport"),
        ("bridge", "<port isolated='yes'/>", "port"),
        ("user", "<port isolated='no'/>", "port"),
        ("bridge", "<coalesce><rx><frames max='7'/></rx></coalesce>", "coalesce"),
        ("user", "<coalesce/>", "coalesce"),
        ("user", "<bandwidth><inbound average='5' peak='7' burst='9'/></bandwidth>", "bandwidth"),
        ("network", "<bandwidth><inbound floor='3'/></bandwidth>", "bandwidth"),
    ],
)
def test_what_only_the_host_would_do_is_said(kind: str, inside: str, tag: str) -> None:
    said = [str(notice) for notice in translated(card(kind, inside)).notices]
    assert f"vm.xml:6: <{tag}>: not supported here, has no effect" in said


@pytest.mark.parametrize(
    ("kind", "inside"),
    [
        ("user", "<mac/><model/><script/><mtu/><target dev='t0' managed='yes'/>"),
        ("user", "<model type='virtio'/><teaming/>"),
        ("ethernet", "<target dev='t0' managed='no'/><mtu size='1400'/>"),
        ("ethernet", "<source><ip address='10.0.0.1'/></source>"),
        ("user", "<ip address='fd00::1' family='ipv6' prefix='64'/>"),
        ("vhostuser", "<backend type='passt'/><ip address='10.0.2.3'/>"),
    ],
)
def test_what_libvirt_takes_is_taken(kind: str, inside: str) -> None:
    assert errors(card(kind, inside), parts=SHARED) == []


def test_macvtap_is_shown_and_not_started() -> None:
    hint = "(type='bridge', or type='ethernet')"
    text = f"vm.xml:6: <interface>: macvtap (type='direct') is not supported {hint}"
    assert obstacles(card("direct", "")) == [text]
    [netdev] = options(translated(card("direct", "")), "netdev")
    assert netdev["type"] == "tap"
    table = on_network(Network(kind=NetworkKind.DIRECT))
    assert obstacles(NETWORK, host=table) == [text]


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("<source mode='bridge'/>", "<source>: attribute 'dev' is missing"),
        ("<source dev='e' mode='x'/>", "mode='x' is unknown (one of vepa, private, bridge,"),
    ],
)
def test_macvtap_is_checked(source: str, what: str) -> None:
    [found] = errors(f"<interface type='direct'>{source}</interface>")
    assert found.startswith("vm.xml:6: ")
    assert what in found


def test_an_interface_is_the_users_where_nothing_is_said() -> None:
    [netdev] = options(translated("<interface><mac/></interface>"), "netdev")
    assert netdev["type"] == "user"


def test_a_switch_is_connected_to_by_default() -> None:
    xml = "<interface type='vhostuser'><source type='unix' path='/s'/></interface>"
    [chardev] = options(translated(xml, parts=SHARED), "chardev")
    assert chardev == {"socket": "", "id": "charnet0", "path": "/s"}


@pytest.mark.parametrize(
    ("driver", "is_there", "expected"),
    [("", True, True), ("", False, False), ("vhost", False, True), ("qemu", True, False)],
)
def test_vhost_is_a_wish_unless_it_is_named(driver: str, is_there: bool, expected: bool) -> None:
    word = f"<driver name='{driver}'/>" if driver else ""
    card = f"<interface type='ethernet'><model type='virtio'/>{word}</interface>"
    host = HostData(machine_id="m", has_vhost_net=is_there)
    [netdev] = options(translated(card, host=host), "netdev")
    assert ("vhost" in netdev) is expected
