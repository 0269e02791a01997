"""Network cards as the guest finds them, and what is behind each of them.

Not here: bridges and macvtap, for which a test would have to change the host's network; vDPA and
passthrough, for want of a device; vhost-user, whose other side no package here has. A tap is made
where the test may.
"""

import fcntl
import socket
import struct
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.ports import free_port
from tests.support.seen import NOTHING, Boots, xml
from tests.support.supervised import PATIENCE_S

pytestmark = pytest.mark.qemu


_TUNSETIFF: Final = 0x400454CA  # Linux if_tun.h
_IFF_TAP: Final = 0x0002
_IFF_NO_PI: Final = 0x1000


CARDS: Final = {
    "net0": "1af4:1041",
    "net1": "8086:10d3",
    "net2": "10ec:8139",
    "net3": "1af4:1000",
    "net4": "8086:100e",
    "net5": "15ad:07b0",
    "net6": "10ec:8029",
    "net7": "1022:2000",
}


def test_cards_and_their_settings(boot: Boots) -> None:
    """All models, with what a virtio one can be told."""
    port = free_port()
    virtio = (
        "<driver txmode='timer' ioeventfd='on' event_idx='off' rx_queue_size='512'"
        " tx_queue_size='256' packed='on' rss='on' iommu='on' ats='on'>"
        "<host csum='off' gso='off' tso4='off' mrg_rxbuf='off'/>"
        "<guest csum='off' tso4='off' ufo='off'/></driver><rom bar='off'/>"
        "<link state='down'/><boot order='1'/>"
    )
    models = ("e1000e", "rtl8139", "virtio-transitional", "e1000", "vmxnet3", "ne2k_pci", "pcnet")
    others = "".join(
        f"<interface type='user'><mac address='52:54:00:00:00:{number:02x}'/>"
        f"<model type='{model}'/></interface>"
        for number, model in enumerate(models, 1)
    )
    devices = (
        f"{NOTHING}<interface type='user'><mac address='52:54:00:aa:bb:01'/>"
        "<ip family='ipv4' address='10.9.0.0' prefix='24'/>"
        "<ip family='ipv6' address='fd00:5::' prefix='64'/>"
        f"<portForward proto='tcp' address='127.0.0.1'><range start='{port}' to='22'/>"
        f"</portForward><model type='virtio'/>{virtio}</interface>{others}"
        "<interface type='user'><mac address='52:54:00:00:00:08'/><model type='virtio'/>"
        "<teaming type='persistent'/></interface>"
        "<channel type='unix'><source mode='bind' path='fwd.sock'/>"
        "<target type='guestfwd' address='10.0.2.1' port='4600'/></channel>"
    )
    with boot(xml(devices)) as vm:
        tree = vm.tree()
        assert {name: tree[name]["pci"] for name in CARDS} == CARDS
        wanted: dict[str, Any] = {
            "net0:mac": "52:54:00:aa:bb:01",
            "net0:netdev": "hostnet0",
            "net0:tx": "timer",
            "net0:event_idx": False,
            "net0:rx_queue_size": 512,
            "net0:tx_queue_size": 256,
            "net0:packed": True,
            "net0:rss": True,
            "net0:iommu_platform": True,
            "net0:csum": False,
            "net0:gso": False,
            "net0:host_tso4": False,
            "net0:mrg_rxbuf": False,
            "net0:guest_csum": False,
            "net0:guest_tso4": False,
            "net0:guest_ufo": False,
            "net0:host_tso6": True,
            "net0:rombar": 0,
            "net0:bootindex": 1,
            "net8:failover": True,
            "net7:mac": "52:54:00:00:00:07",
        }
        assert vm.alike(wanted) == wanted
        [filtering] = vm.qmp("query-rx-filter", name="net0")
        assert filtering["main-mac"] == "52:54:00:aa:bb:01"
        assert "net=10.9.0.0" in vm.hmp("info network")
        [forwarded] = [row.split() for row in vm.hmp("info usernet").splitlines() if "HOST" in row]
        assert (forwarded[2:4], forwarded[5]) == (["127.0.0.1", str(port)], "22")
        assert "charchannel0" in vm.rows("query-chardev", "label")
        with socket.create_connection(("127.0.0.1", port)):
            pass


def test_wires_between_qemus(boot: Boots) -> None:
    """Sockets of QEMU's own: multicast, datagrams, a server, and a client of one of ours."""
    server = free_port()
    local = free_port(socket.SOCK_DGRAM)
    with socket.create_server(("127.0.0.1", 0)) as outside:
        client = int(outside.getsockname()[1])
        devices = (
            f"{NOTHING}<interface type='mcast'><source address='230.0.0.1' port='{server}'/>"
            "</interface><interface type='udp'><source address='127.0.0.1' port='9'>"
            f"<local address='127.0.0.1' port='{local}'/></source></interface>"
            f"<interface type='server'><source address='127.0.0.1' port='{server}'/></interface>"
            f"<interface type='client'><source address='127.0.0.1' port='{client}'/></interface>"
        )
        with boot(xml(devices)) as vm:
            wires = vm.hmp("info network")
            assert f"mcast=230.0.0.1:{server}" in wires
            assert "udp=127.0.0.1:9" in wires
            outside.settimeout(PATIENCE_S)
            outside.accept()[0].close()
            with socket.create_connection(("127.0.0.1", server)):
                pass


def may_make_taps() -> bool:
    """Try it."""
    name = struct.pack("16sH22x", b"qseen-probe", _IFF_TAP | _IFF_NO_PI)
    try:
        with open("/dev/net/tun", "r+b", buffering=0) as device:
            fcntl.ioctl(device, _TUNSETIFF, name)
    except OSError:
        return False
    return True


@pytest.mark.skipif(not may_make_taps(), reason="may not make a tap here")
def test_taps(boot: Boots) -> None:
    """Served by the kernel where it can, by QEMU where not; gone with the guest."""
    devices = (
        f"{NOTHING}<interface type='ethernet'><target dev='qseen0'/><model type='virtio'/>"
        "<mtu size='1400'/><driver queues='2'/></interface>"
        "<interface type='ethernet'><target dev='qseen1'/><model type='e1000e'/></interface>"
    )
    taps = [Path(f"/sys/class/net/qseen{number}") for number in (0, 1)]
    with boot(xml(devices)) as vm:
        assert [tap.exists() for tap in taps] == [True, True]
        assert (taps[0] / "mtu").read_text() == "1400\n"
        wanted = {"net0:host_mtu": 1400, "net0:mq": True}
        assert vm.alike(wanted) == wanted
        assert vm.tree()["net1"]["netdev"] == "hostnet1"
    assert [tap.exists() for tap in taps] == [False, False]
