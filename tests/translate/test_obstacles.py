"""What libvirt writes and QEMU does not start: it is shown, and `up` refuses it."""

import pytest

from tests.support.domains import device, errors, obstacles, options, translated

SOCKET = "<filesystem {}><source socket='/a'/><target dir='t'/></filesystem>"
CURL = (
    "<disk type='network'><source protocol='{}' name='/a b'{}>{}</source>"
    "<target dev='vda' bus='virtio'/></disk>"
)
UNIX = "<host transport='unix' socket='/s'/>"
RDMA = "<host transport='rdma' name='h' port='5'/>"
LUN = "<disk type='{}' device='lun'>{}<target dev='sda' bus='scsi'/></disk>"


def test_a_socket_without_virtiofs_leaves_no_directory() -> None:
    text = "vm.xml:6: <filesystem>: <source> names no directory"
    assert obstacles(SOCKET.format("")) == [
        f"{text} (dir=, or <driver type='virtiofs'/> for a socket)"
    ]
    [bare] = options(translated(SOCKET.format("")), "fsdev")
    assert bare == {"local": "", "id": "fsdev-fs0", "path": ""}
    [squashed] = options(translated(SOCKET.format("accessmode='squash'")), "fsdev")
    assert squashed["security_model"] == "none"
    both = SOCKET.format("").replace("socket=", "dir='/d' socket=")
    assert obstacles(both) == []
    assert options(translated(both), "fsdev")[0]["path"] == "/d"


@pytest.mark.parametrize(
    ("protocol", "query", "host", "url"),
    [
        ("ftp", "", UNIX, "ftp+unix:///a%20b"),
        ("https", " query='q'", UNIX, "https+unix:///a%20b?q"),
        ("http", "", RDMA, "http+rdma://h/a%20b"),
    ],
)
def test_a_url_goes_by_tcp(protocol: str, query: str, host: str, url: str) -> None:
    xml = CURL.format(protocol, query, host)
    [found] = obstacles(xml)
    assert f"vm.xml:6: <source>: protocol='{protocol}' does not go by transport='" in found
    assert options(translated(xml), "blockdev")[0]["url"] == url


def test_a_backing_image_goes_by_tcp_too() -> None:
    below = f"<source protocol='ftp' name='a'>{UNIX}</source><format type='raw'/>"
    [found] = obstacles(
        "<disk type='file'><driver name='qemu' type='qcow2'/><source file='/a'/>"
        f"<backingStore type='network'>{below}</backingStore><target dev='vda'/></disk>"
    )
    assert "protocol='ftp' does not go by transport='unix'" in found


def test_a_unit_without_a_device() -> None:
    xml = LUN.format("block", "<source/>")
    assert obstacles(xml) == ["vm.xml:6: <disk> 'sda': <source> names no device (dev=)"]
    assert "drive" not in device(translated(xml), "scsi0-0-0")
    for kind, source in (("block", ""), ("file", "<source/>")):
        assert "can't be empty" in errors(LUN.format(kind, source))[0]


def test_memory_without_a_name() -> None:
    xml = "<shmem name=''><model type='ivshmem-plain'/></shmem>"
    hint = "(name='a')"
    assert obstacles(xml) == [
        f"vm.xml:6: <shmem>: with no name there is nobody to share with {hint}"
    ]
    assert options(translated(xml), "object")[-1]["mem-path"] == "/dev/shm/"
    assert errors("<shmem/>") == ["vm.xml:6: <shmem>: attribute 'name' is missing"]


def test_a_speaker_on_a_board_without_one() -> None:
    xml = "<sound model='pcspk'/>"
    [found] = obstacles(xml, machine="virt", arch="aarch64")
    assert "model='pcspk' is part of a PC" in found
    made = translated(xml, machine="virt", arch="aarch64")
    assert options(made, "machine")[0]["pcspk-audiodev"] == "audio1"
    assert obstacles(xml) == []
