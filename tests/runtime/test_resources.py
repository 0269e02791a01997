"""What QEMU inherits."""

import fcntl
import os
import socket
import struct
from pathlib import Path

import pytest

from qsuper.errors import QsuperError, UnavailableError
from qsuper.fabric.group import Fabric
from qsuper.options import Access, OpenFile, Resource, SharedMemory, Tap, UnixListener, VhostNet
from qsuper.plan import GroupPlan
from qsuper.runtime.resources import Directories, inherited


@pytest.fixture
def directories(tmp_path: Path) -> Directories:
    for name in ("runtime", "state"):
        (tmp_path / name).mkdir()
    return Directories(str(tmp_path / "runtime"), str(tmp_path / "state"))


def test_members_share_memory_that_nobody_can_resize(directories: Directories) -> None:
    memory = SharedMemory(name="m", share="ram", size_bytes=1 << 20)
    fabric = Fabric(GroupPlan(()))
    with (
        inherited(directories, fabric, "one") as one,
        inherited(directories, fabric, "two") as two,
    ):
        first, second = one.open([memory])["m"], two.open([memory])["m"]
        os.pwrite(first, b"hello", 4096)
        assert os.pread(second, 5, 4096) == b"hello"
        seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
        assert fcntl.fcntl(first, fcntl.F_GET_SEALS) == seals
        with pytest.raises(PermissionError):
            os.ftruncate(second, 0)
        with pytest.raises(QsuperError, match="wants 4096 bytes, another 1048576"):
            two.open([SharedMemory(name="n", share="ram", size_bytes=4096)])
    fabric.close()


def test_files_and_listeners(directories: Directories, tmp_path: Path) -> None:
    resources: list[Resource] = [
        OpenFile(name="log", path="a.log", access=Access.APPEND),
        UnixListener(name="c"),
        UnixListener(name="d", path=str(tmp_path / "d.sock")),
    ]
    with inherited(directories, Fabric(GroupPlan(())), "one") as place:
        numbers = place.open(resources)
        assert not any(os.get_inheritable(number) for number in numbers.values())
        flags = fcntl.fcntl(numbers["log"], fcntl.F_GETFL)
        assert flags & os.O_APPEND
        assert place.sockets == [str(tmp_path / "d.sock")]
        for path in (tmp_path / "runtime" / "c.sock", tmp_path / "d.sock"):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(numbers["log"])


def test_what_was_made_outside_goes_when_another_cannot_be_made(
    directories: Directories, tmp_path: Path
) -> None:
    outside = UnixListener(name="d", path=str(tmp_path / "d.sock"))
    missing = OpenFile(name="x", path=str(tmp_path / "none" / "x"))
    with (
        pytest.raises(QsuperError, match=r"none/x: No such file or directory"),
        inherited(directories, Fabric(GroupPlan(())), "one") as place,
    ):
        place.open([outside, missing])
    assert not (tmp_path / "d.sock").exists()


def test_a_directory_is_no_file(directories: Directories, tmp_path: Path) -> None:
    with (
        pytest.raises(QsuperError, match="is a directory"),
        inherited(directories, Fabric(GroupPlan(())), "one") as place,
    ):
        place.open([OpenFile(name="x", path=str(tmp_path))])


@pytest.mark.skipif(
    os.getuid() != 0 or not all(map(os.path.exists, ("/dev/net/tun", "/sys/class/net"))),
    reason="needs root, /dev/net/tun and /sys",
)
def test_a_tap_device_with_two_queues(directories: Directories) -> None:
    name = f"qst{os.getpid() % 100000}"
    taps = [Tap(name=f"tap{queue}", ifname=name, queue=queue) for queue in range(2)]
    with inherited(directories, Fabric(GroupPlan(())), "one") as place:
        numbers = place.open(taps)
        for number in numbers.values():
            request: bytes = fcntl.ioctl(number, 0x800454D2, bytes(40))  # TUNGETIFF
            (found, flags) = struct.unpack_from("16sH", request)
            assert found.rstrip(b"\0") == name.encode()
            assert flags & 0x4100 == 0x4100  # with virtio headers, several queues
        assert os.path.exists(f"/sys/class/net/{name}")
    assert not os.path.exists(f"/sys/class/net/{name}")


def test_a_bridge_that_the_helper_refuses(directories: Directories) -> None:
    with (
        pytest.raises(QsuperError, match="bridge 'nosuchbridge': "),
        inherited(directories, Fabric(GroupPlan(())), "one") as place,
    ):
        place.open([Tap(name="tap", bridge="nosuchbridge")])


@pytest.mark.skipif(os.path.exists("/dev/vhost-net"), reason="this host has it")
def test_no_vhost_net(directories: Directories) -> None:
    with (
        pytest.raises(UnavailableError, match="/dev/vhost-net: No such file"),
        inherited(directories, Fabric(GroupPlan(())), "one") as place,
    ):
        place.open([VhostNet(name="v")])
