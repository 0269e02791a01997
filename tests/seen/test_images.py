"""Images behind disks: chains, passphrases, servers, directories, and what may be missing.

Not here, for want of what they need: NVMe, SCSI, `lun` and vDPA disks of the host, reservations,
and the servers of rbd, gluster, nfs, iscsi, ssh and http.
"""

import json
import signal
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.ports import listening
from tests.support.seen import NOTHING, Boots, blocks, file, xml
from tests.support.supervised import PATIENCE_S

pytestmark = pytest.mark.qemu

MIB: Final = 1 << 20


def test_chains_and_passphrases(boot: Boots) -> None:
    """A qcow2 on a qcow2 on a raw image, one of them found by itself; and a LUKS image."""
    boot.image("base", size="3M")
    boot.image("middle", "-b", "base", "-F", "raw", size="", form="qcow2")
    boot.image("top", "-b", "middle", "-F", "qcow2", size="", form="qcow2")
    boot.image("found", "-b", "base", "-F", "raw", size="", form="qcow2")
    boot.secret("disk", "open sesame")
    secret = "secret,id=s,file=" + str(boot.root / "config/qsuper/credentials/disk")
    fast = ("-o", "key-secret=s,iter-time=10")
    boot.image("sealed", "--object", secret, *fast, form="luks")
    inside = ("-o", "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10")
    boot.image("inside", "--object", secret, *inside, form="qcow2")
    encryption = "<encryption format='luks'><secret type='passphrase' usage='disk'/></encryption>"
    chain = (
        "<backingStore type='file'><format type='qcow2'/><source file='middle'/>"
        "<backingStore type='file'><format type='raw'/><source file='base'/><backingStore/>"
        "</backingStore></backingStore>"
    )
    devices = (
        NOTHING
        + file("top", "dev='vda'", driver="type='qcow2'", more=chain)
        + file("found", "dev='vdb'", driver="type='qcow2'")
        + file("sealed", "dev='vdc'").replace("'sealed'/>", f"'sealed'>{encryption}</source>")
        + file("inside", "dev='vdd'", driver="type='qcow2'").replace(
            "'inside'/>", f"'inside'>{encryption}</source>"
        )
        + file("slice", "dev='vde'").replace(
            "'slice'/>",
            "'slice'><slices><slice type='storage' offset='4096' size='8192'/></slices></source>",
        )
    )
    boot.image("slice")
    with boot(xml(devices)) as vm:
        shown = blocks(vm)
        images = {name: row["inserted"] for name, row in shown.items()}
        assert chained(images["virtio-disk0"]) == [
            (str(boot.root / name), form)
            for name, form in (("top", "qcow2"), ("middle", "qcow2"), ("base", "raw"))
        ]
        assert chained(images["virtio-disk1"]) == [
            (str(boot.root / name), form) for name, form in (("found", "qcow2"), ("base", "raw"))
        ]
        assert images["virtio-disk2"]["image"]["format"] == "luks"
        assert images["virtio-disk2"]["image"]["virtual-size"] == MIB
        assert images["virtio-disk3"]["encrypted"]
        details = images["virtio-disk3"]["image"]["format-specific"]["data"]["encrypt"]
        assert details["format"] == "luks"
        assert images["virtio-disk4"]["image"]["virtual-size"] == 8192


def chained(inserted: dict[str, Any]) -> list[tuple[str, str]]:
    """Give the files of a chain from the top, each with its format."""
    found: list[tuple[str, str]] = []
    image: dict[str, Any] | None = inserted["image"]
    while image is not None:
        name = image["filename"]
        if name.startswith("json:"):  # a chain that was described, not found
            name = json.loads(name.removeprefix("json:"))["file"]["filename"]
        found.append((name, image["format"]))
        image = image.get("backing-image")
    return found


@contextmanager
def exported(path: Path, at: Path) -> Generator[None]:
    """Have qemu-nbd serve an image at a socket, which listens before it starts."""
    with listening(at) as listener:
        command = ["qemu-nbd", "-f", "raw", "-x", "shelf", "-e", "2", "-t", str(path)]
        # Socket activation, as systemd does it.
        script = f'exec 3<&{listener.fileno()}; LISTEN_FDS=1 LISTEN_PID=$$ exec "$@"'
        with subprocess.Popen(
            ["/bin/bash", "-c", script, "bash", *command], pass_fds=[listener.fileno()]
        ) as server:
            try:
                yield
            finally:
                server.send_signal(signal.SIGTERM)
                server.wait(PATIENCE_S)


def test_an_export_over_nbd(boot: Boots) -> None:
    export = boot.image("export", size="5M")
    at = boot.root / "nbd.sock"
    devices = (
        f"{NOTHING}<disk type='network'><driver type='raw'/><source protocol='nbd' name='shelf'>"
        f"<host transport='unix' socket='{at}'/><reconnect delay='10'/></source>"
        "<target dev='vda' bus='virtio'/><serial>far</serial></disk>"
    )
    with exported(export, at), boot(xml(devices)) as vm:
        inserted = blocks(vm)["virtio-disk0"]["inserted"]
        assert inserted["image"]["virtual-size"] == 5 * MIB
        assert inserted["image"]["filename"] == f"nbd+unix:///shelf?socket={at}"
        drivers = [row["drv"] for row in vm.qmp("query-named-block-nodes", flat=True)]
        assert drivers.count("nbd") == 1


@pytest.mark.parametrize(
    ("kind", "fate"), [("cdrom", "the drive is empty"), ("disk", "the disk is left out")]
)
def test_an_image_that_may_be_missing(boot: Boots, kind: str, fate: str) -> None:
    """What is left keeps its place."""
    boot.image("sdb")
    path = boot.root / "gone"
    devices = (
        f"<disk type='file' device='{kind}'><driver type='raw'/>"
        "<source file='gone' startupPolicy='optional'/><target dev='sda' bus='sata'/>"
        "<boot order='1'/></disk>"
        + file("sdb", "dev='sdb' bus='sata'", more="<boot order='2'/>")
        + NOTHING
    )
    boot.warning = f"{boot.root}/seen.xml:6: warning: <disk> 'sda': {path} is missing: {fate}"
    with boot(xml(devices)) as vm:
        drives = blocks(vm)
        assert "inserted" in drives.pop("sata0-0-1")
        assert list(drives) == (["sata0-0-0"] if kind == "cdrom" else [])
        assert all("inserted" not in row for row in drives.values())
        assert vm.tree()["sata0-0-1"]["bus"] == "ide.1"


def test_a_directory_as_a_disk(boot: Boots) -> None:
    (boot.root / "files").mkdir()
    (boot.root / "files" / "note").write_text("x")
    devices = (
        "<disk type='dir'><driver type='fat'/><source dir='files'/><target dev='vda' bus='virtio'/>"
        "<readonly/></disk>"
    )
    with boot(xml(devices + NOTHING)) as vm:
        [row] = vm.qmp("query-block")
        assert row["inserted"]["ro"]
        assert "vvfat" in {node["drv"] for node in vm.qmp("query-named-block-nodes", flat=True)}
