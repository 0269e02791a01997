"""swtpm, virtiofsd and passt beside a real QEMU: they serve, are watched, and end with it."""

import json
import os
import shutil
import signal
import socket
from pathlib import Path

import pytest
from msgspec.structs import replace

from qsuper import paths
from qsuper.control.adopt import adopt
from qsuper.errors import UnavailableError
from qsuper.host.helpers import with_helpers
from qsuper.host.load import Settings, load_group
from qsuper.plan import Command, GroupPlan
from qsuper.runtime.process import Process, Spawn
from qsuper.runtime.survivors import HELPERS, end_helpers, recorded_helpers
from tests.support.supervised import (
    Supervisor,
    domain,
    events,
    group,
    leftovers,
    log,
    readable,
    supervised,
    wait_file,
    wait_pid,
)

PROGRAMS = ("swtpm", "swtpm_setup", "passt", "/usr/lib/qemu/virtiofsd")


def root_is_a_mount() -> bool:
    """Whether virtiofsd can make its sandbox: in a bare chroot it cannot."""
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    return any(line.split()[4] == "/" for line in mounts)


needs_helpers = pytest.mark.skipif(
    not all(map(shutil.which, PROGRAMS)) or not root_is_a_mount(),
    reason="not all helpers are installed, or they cannot work here",
)
pytestmark = pytest.mark.qemu

XML = """
<domain type='qemu'>
  <name>{name}</name>
  <memory unit='MiB'>32</memory>
  <memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>
  <vcpu>2</vcpu>
  <vcpus>
    <vcpu id='0' enabled='yes' hotpluggable='no'/>
    <vcpu id='1' enabled='yes' hotpluggable='yes'/>
  </vcpus>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <devices>
    <disk type='file'>
      <source file='{image}'/><target dev='vda' bus='virtio'/>
      <iotune><total_bytes_sec>5000</total_bytes_sec></iotune>
    </disk>
    <disk type='file'>
      <source file='{image}'/><target dev='sda' bus='usb'/><shareable/>
      <iotune><read_iops_sec>7</read_iops_sec></iotune>
    </disk>
    <interface type='user'><model type='virtio'/><link state='down'/></interface>
    <interface type='user'>
      <backend type='passt'/><model type='virtio'/>
      <portForward proto='tcp' address='127.0.0.1'><range start='{port}' to='22'/></portForward>
    </interface>
    <filesystem type='mount'>
      <driver type='virtiofs'/><source dir='{shared}'/><target dir='t'/>
    </filesystem>
    <tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>
    <graphics type='vnc' passwd='secret'><listen type='socket'/></graphics>
  </devices>
</domain>
"""


def whole(root: Path, port: int, name: str = "A") -> GroupPlan:
    """Give a domain with all helpers."""
    shared = root / "a,b"
    shared.mkdir(exist_ok=True)
    for image in ("vda", "sda"):
        (root / image).write_bytes(bytes(1 << 20))
    text = XML.format(name=name, image=root / "vda", port=port, shared=shared)
    file = root / f"{name}.xml"
    file.write_text(
        text.replace(f"{root}/vda'/><target dev='sda'", f"{root}/sda'/><target dev='sda'")
    )
    return with_helpers(load_group([str(file)], Settings()).group)


@pytest.fixture
def port() -> int:
    """A port that nobody else listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def helpers(name: str = "A") -> dict[str, int]:
    """Give the pids of a domain's helpers."""
    text = (Path(paths.domain_dir(name)) / HELPERS).read_text()
    return {helper: int(identity.split()[0]) for helper, identity in json.loads(text).items()}


def losses(name: str = "A") -> set[str]:
    return {event["detail"]["helper"] for event in events(name) if event["event"] == "HELPER_ENDED"}


def wait_loss(helper: str) -> None:
    wait_file(log("A", "events.jsonl"), lambda: helper in losses())


def wait_gone(pids: dict[str, int]) -> None:
    for pid in pids.values():
        wait_pid(pid)


@needs_helpers
def test_helpers_serve_are_missed_and_end(tmp_path: Path, port: int) -> None:
    """The guest has what it was promised, outlives what serves it, and takes it along."""
    with supervised(whole(tmp_path, port)) as supervisor:

        def qmp(command: str, **arguments: object) -> object:
            inner = {"execute": command, "arguments": arguments}
            return supervisor.ask("qmp", domain="A", command=inner)

        assert "'id': 'tpm-tpm0'" in str(qmp("query-tpm"))
        assert qmp("qom-get", path="/machine/peripheral/fs0", property="realized") is True
        assert "/machine/peripheral/vcpu1" in str(qmp("query-cpus-fast"))
        assert "'auth': 'vnc'" in str(qmp("query-vnc"))
        blocks = str(qmp("query-block"))
        assert "'bps': 5000" in blocks
        assert "'iops_rd': 7" in blocks
        with socket.create_connection(("127.0.0.1", port)):
            pass  # passt listens for the guest
        pids = helpers()
        assert set(pids) == {"net1-passt", "fs0-virtiofsd", "tpm0-swtpm"}
        for helper, pid in pids.items():
            os.kill(pid, signal.SIGKILL)
            wait_loss(helper)
        assert supervisor.state("A") == "running"
        supervisor.ask("destroy", domain="A")
        assert supervisor.wait_ended() == 0
        assert leftovers() == []
    assert "secret" not in log("A", "qemu.log").read_text()
    with supervised(whole(tmp_path, port)) as supervisor:  # with the TPM of the first time
        pids = helpers()
        for pid in pids.values():
            os.kill(pid, signal.SIGSTOP)
        os.kill(supervisor.pid("A"), signal.SIGKILL)
        assert supervisor.wait_ended() == 1
        wait_gone(pids)
        assert losses() == set(pids)  # of the first time: these ended with their QEMU
        assert leftovers() == []


@needs_helpers
def test_one_that_was_only_about_to_be_written_down_is_found(rundir: Path, tmp_path: Path) -> None:
    """Its supervisor was killed meanwhile; swtpm may wait for ever for a QEMU that never came."""
    state = tmp_path / "tpm"
    state.mkdir()
    ours, theirs = socket.socketpair()
    with ours, theirs, (tmp_path / "log").open("wb") as output:  # at times it sees the end of ours
        words = ("socket", "--terminate", "--tpm2", "--ctrl", "type=unixio,clientfd={}")
        argv = ("swtpm", *(word.format(theirs.fileno()) for word in words), "--tpmstate", "dir=.")
        spawn = Spawn(argv, {}, str(state), output.fileno(), (theirs.fileno(),))
        process = Process.spawn(spawn)
        place = rundir / "domains" / "A"
        place.mkdir(parents=True)
        (place / HELPERS).write_text(json.dumps({"tpm0-swtpm": [str(state), *argv]}))
        assert recorded_helpers(str(place)) == {"tpm0-swtpm": tuple(process.identity)}
        end_helpers(str(place))
        readable(process.pidfd)
        assert process.status() == -signal.SIGKILL
        process.close()
        assert recorded_helpers(str(place)) == {}


@needs_helpers
def test_a_restart_has_new_ones(tmp_path: Path, port: int) -> None:
    """Of all of them, on the same port and with the same TPM, whether they hang or not."""
    with supervised(whole(tmp_path, port)) as supervisor:
        after: dict[str, int] = {}
        for signalled in (None, signal.SIGSTOP):
            before = helpers()
            if signalled is not None:
                os.kill(before["fs0-virtiofsd"], signalled)
            assert supervisor.ask("restart", domain="A") == {"domains": {"A": "running"}}
            wait_gone(before)
            after = helpers()
            assert before.keys() == after.keys()
            assert not before.items() & after.items()
            assert supervisor.ask("info", domain="A")["helpers"] == after
            with socket.create_connection(("127.0.0.1", port)):
                pass
        assert losses() == set()
        supervisor.ask("destroy", domain="A")
        wait_gone(after)
        assert supervisor.wait_ended() == 0
    assert leftovers() == []


@needs_helpers
def test_a_helper_that_cannot_start_says_so(tmp_path: Path, port: int) -> None:
    """Also where it fails after QEMU is there already."""
    plan = whole(tmp_path, port)
    with (
        socket.create_server(("127.0.0.1", port)),
        Supervisor(plan, detached=True) as supervisor,
    ):
        error = supervisor.wait_report()["error"]
        assert error.startswith("A: net1-passt ended with status 1: ")
        assert f"'-t 127.0.0.1/{port}:22'" in error
        assert supervisor.wait_ended() == 1
        assert leftovers() == []
    (tmp_path / "a,b").rmdir()
    with Supervisor(plan, detached=True) as supervisor:
        error = supervisor.wait_report()["error"]
        assert "fs0-virtiofsd ended with status 1: failed to stat source" in error
        assert supervisor.wait_ended() == 1
        assert leftovers() == []


@needs_helpers
def test_no_helper_blocks_the_next_start(tmp_path: Path, port: int) -> None:
    """The supervisor is killed, a helper stopped, QEMU killed: all of it is free again."""
    plan = whole(tmp_path, port)
    with supervised(plan) as first:
        pids = helpers()
        qemu = first.pid("A")
        os.kill(pids["tpm0-swtpm"], signal.SIGSTOP)
        os.kill(first.process.pid, signal.SIGKILL)
        os.kill(qemu, signal.SIGKILL)
        wait_pid(qemu)
        with supervised(plan) as second:
            wait_gone(pids)
            assert helpers().keys() == pids.keys()
            second.ask("destroy", domain="A")
            assert second.wait_ended() == 0
    assert leftovers() == []


@needs_helpers
def test_a_successor_watches_and_ends_them(tmp_path: Path, port: int) -> None:
    with supervised(whole(tmp_path, port)) as supervisor:
        pids = helpers()
        os.kill(supervisor.process.pid, signal.SIGKILL)
        supervisor.process.wait()
        successor = adopt("A").pid
        assert successor
        assert supervisor.ask("info", domain="A")["helpers"] == pids
        os.kill(pids["tpm0-swtpm"], signal.SIGKILL)
        wait_loss("tpm0-swtpm")
        assert supervisor.ask("info", domain="A")["helpers"]["tpm0-swtpm"] is None
        supervisor.ask("destroy", domain="A")
        wait_gone(pids)
        wait_pid(successor)
    assert leftovers() == []


@needs_helpers
def test_bound_helpers_die_with_their_supervisor(tmp_path: Path, port: int) -> None:
    with supervised(whole(tmp_path, port), bind=True) as supervisor:
        pids = helpers() | {"qemu": supervisor.pid("A")}
        os.kill(supervisor.process.pid, signal.SIGKILL)
        wait_gone(pids)


def test_what_qemu_refuses_fails_the_start() -> None:
    wrong = Command(name="set_link", arguments={"name": "none", "up": False})
    plan = group([(replace(domain("A"), setup=(wrong,)), [])])
    with Supervisor(plan, detached=True) as supervisor:
        error = supervisor.wait_report()["error"]
        assert error == "A: QEMU refuses set_link: Device 'none' not found"
        assert supervisor.wait_ended() == 1
        assert leftovers() == []


def test_a_helper_that_is_not_here(
    tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("qsuper.host.helpers._OUTSIDE_PATH", ())
    monkeypatch.setattr("qsuper.host.helpers._DESCRIPTORS", ())
    file = tmp_path / "A.xml"
    text = XML.format(name="A", image="/x", port=port, shared=tmp_path)
    file.write_text(
        text.replace("<devices>", "<devices><emulator>/usr/bin/qemu-system-x86_64</emulator>")
    )
    plan = load_group([str(file)], Settings()).group
    with pytest.raises(UnavailableError) as caught:
        with_helpers(plan)
    assert str(caught.value).splitlines() == [
        f"A: {device} needs {program}, which is not here (Debian has it in {package})"
        for device, program, package in (
            ("fs0", "virtiofsd", "qemu-system-common, or virtiofsd"),
            ("net1", "passt", "passt"),
            ("tpm0", "swtpm_setup", "swtpm-tools"),
            ("tpm0", "swtpm", "swtpm"),
        )
    ]
