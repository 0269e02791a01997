"""All the other devices as the guest finds them, with the programs that serve some of them.

Not here: vsock, for want of /dev/vhost-vsock; TPMs of the host; leases, which need sanlock; an
`ivshmem-server` of the host's; network cards over vhost-user, whose other side no package here has.
The Hyper-V panic notifier is a CPU feature of KVM's.
"""

import shutil
import signal
import socket
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.support.ports import free_port, listening
from tests.support.seen import NOTHING, Boots, xml
from tests.support.supervised import PATIENCE_S

pytestmark = pytest.mark.qemu

MIB: Final = 1 << 20


def test_on_a_pc(boot: Boots) -> None:
    (boot.root / "sha,re").mkdir()
    devices = (
        f"{NOTHING}<rng model='virtio'><rate bytes='1024' period='500'/>"
        "<backend model='random'>/dev/urandom</backend></rng>"
        "<rng model='virtio-transitional'><backend model='builtin'/></rng>"
        "<rng model='virtio'><backend model='egd' type='unix'>"
        "<source mode='connect' path='egd.sock'/></backend></rng>"
        "<watchdog model='ib700' action='reset'/>"
        "<panic model='isa'><address type='isa' iobase='0x506'/></panic>"
        "<crypto model='virtio' type='qemu'><backend model='builtin' queues='1'/></crypto>"
        "<filesystem accessmode='mapped' fmode='0640' dmode='0750' multidevs='remap'>"
        "<driver type='path' wrpolicy='immediate'/><source dir='sha,re'/><target dir='share'/>"
        "<readonly/></filesystem>"
        "<filesystem accessmode='squash'><source dir='sha,re'/><target dir='loose'/></filesystem>"
        "<shmem name='box'><model type='ivshmem-plain'/><size unit='MiB'>2</size></shmem>"
    )
    with listening(boot.root / "egd.sock") as pool, boot(xml(devices, machine="pc")) as vm:
        pool.accept()[0].close()
        kinds = vm.kinds()
        tree = vm.tree()
        assert tree["pvpanic"]["ioport"] == "1286 (0x506)"
        wanted = {
            "rng0:max-bytes": 1024,
            "rng0:period": 500,
            "rng0:rng": "/objects/objrng0",
            "/objects/objrng0:filename": "/dev/urandom",
            "/objects/objrng1:type": "rng-builtin",
            "/objects/objrng2:type": "rng-egd",
            "/objects/objrng2:chardev": "charrng2",
            "crypto0:cryptodev": "/objects/objcrypto0",
            "/objects/objcrypto0:type": "cryptodev-backend-builtin",
            "fs0:mount_tag": "share",
            "fs1:mount_tag": "loose",
            "shmem0:memdev": "/objects/shmmem-shmem0",
            "/objects/shmmem-shmem0:size": 2 * MIB,
            "/objects/shmmem-shmem0:share": True,
        }
        assert vm.alike(wanted) == wanted
        assert kinds["watchdog0"] == "ib700"
        assert {name: tree[name]["pci"] for name in ("rng0", "rng1", "crypto0", "shmem0")} == {
            "rng0": "1af4:1005",
            "rng1": "1af4:1005",
            "crypto0": "1af4:1054",
            "shmem0": "1af4:1110",
        }
        assert kinds["rng1"] == "virtio-rng-pci-transitional"


def test_on_a_q35(boot: Boots) -> None:
    (boot.root / "files").mkdir()
    (boot.root / "last,words").write_bytes(bytes(16 << 10))
    devices = (
        "<memballoon model='none'/><controller type='usb' model='qemu-xhci'/>"
        "<watchdog model='i6300esb' action='pause'/><panic model='pvpanic'/>"
        "<pstore backend='acpi-erst'><path>last,words</path><size unit='KiB'>16</size>"
        "<address type='pci' bus='0' slot='9' function='0'/></pstore>"
        "<filesystem><driver type='mtp'/><source dir='files'/><target dir='camera'/></filesystem>"
        "<shmem name='bell'><model type='ivshmem-doorbell'/><size unit='MiB'>1</size>"
        "<msi vectors='4' ioeventfd='on'/></shmem>"
    )
    with boot(xml(devices, parts="<features><acpi/></features>")) as vm:
        tree = vm.tree()
        assert tree["pstore0"]["bus"] == "pcie.0"
        assert tree["pstore0"]["addr"] == "09.0"
        assert tree["pvpanic-pci"]["pci"] == "1b36:0011"
        assert tree["watchdog0"]["pci"] == "8086:25ab"
        memory = vm.get("pstore0:memdev")
        wanted = {
            f"{memory}:size": 16 << 10,
            f"{memory}:mem-path": str(boot.root / "last,words"),
            "fs0:rootdir": str(boot.root / "files"),
            "shmem0:vectors": 4,
        }
        assert vm.alike(wanted) == wanted
        assert tree["fs0"]["kind"] == "usb-mtp"


@contextmanager
def exported(image: Path, at: Path) -> Generator[None]:
    """Have qemu-storage-daemon serve an image over vhost-user, on a socket that listens before."""
    with listening(at) as listener:
        number = listener.fileno()
        socket_props = f"writable=on,addr.type=fd,addr.str={number},num-queues=2"
        command = [
            "qemu-storage-daemon",
            *("--blockdev", f"driver=file,node-name=file,filename={image}"),
            *("--export", f"type=vhost-user-blk,id=export,node-name=file,{socket_props}"),
        ]
        with subprocess.Popen(command, pass_fds=[number]) as server:
            try:
                yield
            finally:
                server.send_signal(signal.SIGTERM)
                server.wait(PATIENCE_S)


@pytest.mark.skipif(not shutil.which("qemu-storage-daemon"), reason="no qemu-storage-daemon here")
def test_a_disk_over_vhost_user(boot: Boots) -> None:
    image = boot.image("image", size="7M")
    at = boot.root / "vhost.sock"
    devices = (
        f"{NOTHING}<disk type='vhostuser'><driver name='qemu' type='raw' queues='2'/>"
        f"<source type='unix' path='{at}'/><target dev='vda' bus='virtio'/></disk>"
    )
    parts = "<memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>"
    with exported(image, at), boot(xml(devices, parts=parts)) as vm:
        wanted = {"virtio-disk0:type": "vhost-user-blk-pci", "virtio-disk0:num-queues": 2}
        assert vm.alike(wanted) == wanted
        assert vm.tree()["virtio-disk0"]["pci"] == "1af4:1042"


@pytest.mark.skipif(
    not all(map(shutil.which, ("swtpm", "swtpm_setup"))), reason="swtpm is not installed"
)
@pytest.mark.parametrize(
    ("model", "version", "inside"),
    [
        ("tpm-crb", "2.0", "<encryption secret='f52a81b2-424e-490c-823d-6bd4235bc572'/>"),
        ("tpm-crb", "2.0", "<active_pcr_banks><sha384/></active_pcr_banks>"),
        ("tpm-tis", "1.2", ""),
    ],
)
def test_a_tpm(boot: Boots, model: str, version: str, inside: str) -> None:
    """Its state, sealed or not, is made by its first start, and taken by the second."""
    boot.secret("f52a81b2-424e-490c-823d-6bd4235bc572", "0123456789abcdef")
    devices = (
        f"{NOTHING}<tpm model='{model}'><backend type='emulator' version='{version}'>{inside}"
        "</backend></tpm>"
    )
    for _ in range(2):
        with boot(xml(devices)) as vm:
            [told] = vm.qmp("query-tpm")
            assert (told["id"], told["model"]) == ("tpm-tpm0", model)
            assert told["options"]["type"] == "emulator"
            lines = boot.lab.processes().values()
            assert len([line for line in lines if "swtpm\0socket" in line]) == 1


def root_is_a_mount() -> bool:
    """Whether virtiofsd can make its sandbox: in a bare chroot it cannot."""
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    return any(line.split()[4] == "/" for line in mounts)


@pytest.mark.skipif(
    not Path("/usr/lib/qemu/virtiofsd").exists() or not root_is_a_mount(),
    reason="no virtiofsd here, or it cannot work",
)
def test_files_by_virtiofsd(boot: Boots) -> None:
    (boot.root / "sha,re").mkdir()
    devices = (
        f"{NOTHING}<filesystem><driver type='virtiofs' queue='512'/><source dir='sha,re'/>"
        "<target dir='tag'/><boot order='3'/></filesystem>"
    )
    parts = "<memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>"
    with boot(xml(devices, parts=parts)) as vm:
        wanted = {"fs0:tag": "tag", "fs0:queue-size": 512, "fs0:bootindex": 3}
        assert vm.alike(wanted) == wanted
        assert vm.tree()["fs0"]["pci"] == "1af4:105a"


@pytest.mark.skipif(not shutil.which("passt"), reason="passt is not installed")
def test_a_network_by_passt(boot: Boots) -> None:
    port = free_port()
    devices = (
        f"{NOTHING}<interface type='user'><backend type='passt'/><model type='e1000e'/>"
        f"<portForward proto='tcp' address='127.0.0.1'><range start='{port}' to='22'/>"
        "</portForward></interface>"
    )
    with boot(xml(devices)) as vm:
        assert vm.tree()["net0"]["pci"] == "8086:10d3"
        assert "hostnet0: index=0,type=" in vm.hmp("info network")
        with socket.create_connection(("127.0.0.1", port)):
            pass
