"""Network interfaces: what is filled in, what is refused, and which network they get."""

import re
from string import printable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsuper.options import Handle, Tap
from qsuper.translate.nic import derived_mac
from qsuper.translate.site import HostData, Network, NetworkKind
from tests.support.domains import FIRST_DEVICE_LINE, device, errors, options, translated
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
        ("<mac/>", "'address' is missing"),
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
        ("<mtu size='x'/>", "is not a number"),
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
    xml = "<interface type='user'><model type='vmxnet3'/></interface>"
    assert "no network card 'vmxnet3'" in errors(xml, caps=emulator(types=["vmxnet3"]))[0]
    assert not errors(xml)
