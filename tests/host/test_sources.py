"""What the host has: configuration, networks, pools, firmware, facts."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsuper.errors import ConfigError, UsageError
from qsuper.host.config import read_config
from qsuper.host.facts import hugepages, machine_id, numa_nodes
from qsuper.host.firmware import read_firmware
from qsuper.host.network import parse_entry, parse_stand_in, read_networks
from qsuper.host.storage import read_pools
from qsuper.translate.site import Network, NetworkKind

BR0 = Network(kind=NetworkKind.BRIDGE, bridge="br0")
USER = Network(kind=NetworkKind.USER)
PASST = Network(kind=NetworkKind.PASST)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "qsuper").mkdir()
    return tmp_path / "qsuper" / "config.toml"


def test_without_a_configuration_all_is_default(config: Path) -> None:
    assert not config.exists()
    assert read_config().networks == {}


def test_networks_of_the_configuration(config: Path) -> None:
    config.write_text('[networks]\ndefault = "user"\n"my lab" = "bridge:br0"\nout = "passt"\n')

    assert read_config().networks == {"default": USER, "my lab": BR0, "out": PASST}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("[network]\n", "network: unknown key (one of logs, networks)"),
        ("networks = 5\n", "networks: not a table"),
        ("[networks]\ndefault = 5\n", "networks.default: not a string"),
        ('[networks]\na = "nat"\n', "networks.a: 'nat' is not user, bridge:BRIDGE or passt"),
        ("[networks\n", "Expected ']' at the end of a table declaration (at line 1, column 10)"),
    ],
)
def test_a_wrong_configuration(config: Path, content: str, problem: str) -> None:
    config.write_text(content)

    with pytest.raises(UsageError) as caught:
        read_config()

    assert str(caught.value) == f"{config}: {problem}"


def test_a_configuration_that_cannot_be_read(config: Path) -> None:
    config.mkdir()
    with pytest.raises(UsageError, match=r"config\.toml: Is a directory"):
        read_config()
    config.rmdir()
    config.write_bytes(b'a = "\xff"')
    with pytest.raises(UsageError, match=r"config\.toml: "):
        read_config()


def test_an_entry_on_the_command_line() -> None:
    assert parse_entry("default=user") == ("default", USER)
    assert parse_entry("a=b=bridge:br0") == ("a=b", BR0)


@pytest.mark.parametrize("text", ["", "default", "=user", "default=", "default=nat"])
def test_a_wrong_entry_on_the_command_line(text: str) -> None:
    with pytest.raises(UsageError, match=f"--network {text}: "):
        parse_entry(text)


@pytest.mark.parametrize(
    "text",
    ["bridge:", "bridge", "bridge:a/b", "bridge:a b", "bridge:..", "bridge:" + 16 * "x", "user:"],
)
def test_a_stand_in_that_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="is not user, bridge:BRIDGE or passt"):
        parse_stand_in(text)


@given(st.text())
def test_a_bridge_is_a_name_that_linux_takes(name: str) -> None:
    try:
        network = parse_stand_in(f"bridge:{name}")
    except ValueError:
        return
    assert network.bridge == name
    assert 0 < len(name.encode()) <= 15
    assert not set(name) & set("/: \t\n")


def test_networks_in_libvirts_own_format(corpus: Path) -> None:
    networks = read_networks(str(corpus / "host"))

    assert networks["nat-network"] == Network(
        kind=NetworkKind.BRIDGE, bridge="virbr0", address="192.168.122.1"
    )
    assert networks["default"] == networks["nat-network"]
    assert networks["vepa-net"].kind is NetworkKind.DIRECT
    assert networks["hostdev"].devices == tuple(f"0000:03:00.{n}" for n in (1, 2, 3, 4))
    assert "openvswitch-net" not in networks
    assert networks["openvswitch-net;plug-bridge-basic"].bridge == "virbr0"
    assert networks["vepa-net;plug-hostdev-pci"].devices == ("0001:02:03.4",)


@pytest.mark.parametrize(
    ("file", "content", "problem"),
    [
        ("networks/a.xml", "<pool/>", "a.xml:1: <pool>: this file is no <network>"),
        ("networks/a.xml", "<network>", "a.xml:1: not well-formed"),
        ("networks/a.xml", "<network><bridge/></network>", "attribute 'name' is missing"),
        (
            "networks/a.xml",
            "<network><forward mode='hostdev'><address bus='x'/></forward></network>",
            "bus='x' is not a number",
        ),
        ("network-ports/p.xml", "<networkport/>", "<plug> is missing"),
        ("network-ports/p.xml", "<networkport><plug type='x'/></networkport>", "type='x' is"),
    ],
)
def test_a_wrong_network(tmp_path: Path, file: str, content: str, problem: str) -> None:
    (tmp_path / file).parent.mkdir()
    (tmp_path / file).write_text(content)

    with pytest.raises(ConfigError) as caught:
        read_networks(str(tmp_path))

    assert problem in str(caught.value)


def test_pools_in_libvirts_own_format(corpus: Path) -> None:
    pools = read_pools(str(corpus / "host"))

    assert pools["pool-disk"]["type"] == "disk"
    assert pools["pool-disk"]["path"] == "/dev"
    assert pools["sda"] is pools["pool-disk"]
    assert pools["pool-iscsi"]["source"]["host"] == "iscsi.example.com"
    assert pools["pool-iscsi"]["source"]["device"] == "demo-target"
    assert pools["pool-iscsi"]["source"]["auth"] is None
    assert pools["pool-iscsi-auth"]["source"]["auth"] == {
        "type": "chap",
        "username": "admin",
        "secret": {"uuid": "2ec115d7-3a88-3ceb-bc12-0ac909a6fd87"},
    }


def test_a_directory_without_definitions_is_empty(tmp_path: Path) -> None:
    assert read_networks(str(tmp_path)) == {}
    assert read_pools(str(tmp_path)) == {}


def test_a_wrong_pool(tmp_path: Path) -> None:
    (tmp_path / "storage-pools").mkdir()
    (tmp_path / "storage-pools" / "a.xml").write_text("<network/>")

    with pytest.raises(ConfigError, match=r"a\.xml:1: <network>: this file is no <pool>"):
        read_pools(str(tmp_path))


def descriptor(
    root: Path, path: str, name: str = "", changes: Mapping[str, object] | None = None
) -> Path:
    """Write a firmware descriptor; its description tells it from others."""
    content: dict[str, object] = {
        "description": name,
        "interface-types": ["uefi"],
        "mapping": {"device": "memory", "filename": "/x"},
        "targets": [{"architecture": "x86_64", "machines": ["pc-*"]}],
        "features": [],
        "tags": [],
    }
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({**content, **(changes or {})}))
    return file


SHARE = "usr/share/qemu/firmware"
ETC = "etc/qemu/firmware"
HOME = "home/user/.config/qemu/firmware"


def test_firmware_is_tried_by_file_name_and_the_later_directory_wins(tmp_path: Path) -> None:
    descriptor(tmp_path, f"{SHARE}/50-b.json", "shared b")
    descriptor(tmp_path, f"{SHARE}/40-a.json", "shared a")
    descriptor(tmp_path, f"{ETC}/50-b.json", "etc b")
    descriptor(tmp_path, f"{ETC}/60-c.json", "etc c")
    descriptor(tmp_path, f"{HOME}/60-c.json", "home c")

    firmware = read_firmware(str(tmp_path))

    assert [(name, content["description"]) for name, content in firmware.descriptors] == [
        ("40-a.json", "shared a"),
        ("50-b.json", "etc b"),
        ("60-c.json", "home c"),
    ]
    assert firmware.notices == ()


@pytest.mark.parametrize("mask", ["empty", "null"])
def test_an_empty_file_masks(tmp_path: Path, mask: str) -> None:
    descriptor(tmp_path, f"{SHARE}/50-b.json")
    path = tmp_path / ETC / "50-b.json"
    path.parent.mkdir(parents=True)
    if mask == "empty":
        path.touch()
    else:
        path.symlink_to("/dev/null")

    assert read_firmware(str(tmp_path)).descriptors == ()
    assert read_firmware(str(tmp_path)).notices == ()


WRONG: list[tuple[dict[str, object], str]] = [
    ({"mapping": None}, "'mapping' is no JSON object"),
    ({"mapping": {}}, "'mapping' names no device"),
    ({"targets": {}}, "'targets' is no list"),
    ({"targets": [5]}, "a target is no JSON object"),
    ({"targets": [{}]}, "a target names no architecture"),
    ({"targets": [{"architecture": "arm"}]}, "'machines' is no list"),
    ({"interface-types": [1]}, "'interface-types' does not hold words"),
    ({"features": None}, "'features' is no list"),
]


@pytest.mark.parametrize(("changes", "problem"), WRONG)
def test_a_wrong_descriptor_is_left_out_with_a_notice(
    tmp_path: Path, changes: dict[str, object], problem: str
) -> None:
    descriptor(tmp_path, f"{SHARE}/1-good.json")
    bad = descriptor(tmp_path, f"{SHARE}/2-bad.json", changes=changes)

    firmware = read_firmware(str(tmp_path))

    assert [name for name, _ in firmware.descriptors] == ["1-good.json"]
    assert list(map(str, firmware.notices)) == [f"{bad}: left out: {problem}"]


def test_a_descriptor_that_cannot_be_read_is_left_out_with_a_notice(tmp_path: Path) -> None:
    directory = tmp_path / SHARE
    (directory / "1-directory.json").mkdir(parents=True)
    (directory / "2-link.json").symlink_to("nowhere")
    (directory / "3-deep.json").write_text("[" * 100_000)
    (directory / "readme.txt").write_text("not looked at")
    (directory / ".hidden.json").write_text("not looked at")
    os.mkfifo(directory / "4-fifo.json")

    firmware = read_firmware(str(tmp_path))

    assert firmware.descriptors == ()
    assert [Path(notice.at.path).name[0] for notice in firmware.notices] == ["1", "2", "3", "4"]


def test_firmware_of_the_reference_host(corpus: Path) -> None:
    firmware = read_firmware(str(corpus / "host" / "firmware"))
    names = [name for name, _ in firmware.descriptors]

    assert names == sorted(names)
    assert "92-masked.json" not in names
    assert "93-invalid.json" not in names
    assert names[0] == "20-bios.json"  # the user's 10-bios.json is empty
    assert [Path(notice.at.path).name for notice in firmware.notices] == ["93-invalid.json"]


def test_the_firmware_of_this_host_is_read_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    descriptor(tmp_path, "qemu/firmware/00-mine.json", "mine")

    names = [name for name, _ in read_firmware().descriptors]

    assert ("00-mine.json" in names) == (os.getuid() != 0)


def test_facts_of_a_host(tmp_path: Path) -> None:
    for path, content in {
        "etc/machine-id": "0123456789abcdef0123456789abcdef\n",
        "proc/meminfo": "MemTotal: 1 kB\nHugepagesize:    2048 kB\n",
        "proc/mounts": (
            "proc /proc proc rw 0 0\n"
            "hugetlbfs /dev/huge\\0401G hugetlbfs rw,relatime,pagesize=1024M 0 0\n"
            "hugetlbfs /dev/hugepages hugetlbfs rw,relatime 0 0\n"
            "hugetlbfs /dev/second hugetlbfs rw,pagesize=2M 0 0\n"
        ),
        "sys/devices/system/node/online": "0-2,5\n",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(content)
    root = str(tmp_path)

    assert machine_id(root) == "0123456789abcdef0123456789abcdef"
    assert list(hugepages(root).items()) == [
        (2 << 20, "/dev/hugepages"),
        (1 << 30, "/dev/huge 1G"),
    ]
    assert numa_nodes(root) == {0, 1, 2, 5}


def test_a_host_that_tells_nothing(tmp_path: Path) -> None:
    root = str(tmp_path)

    assert (machine_id(root), hugepages(root), numa_nodes(root)) == ("", {}, frozenset())


def test_d_bus_has_a_machine_id_too(tmp_path: Path) -> None:
    (tmp_path / "var/lib/dbus").mkdir(parents=True)
    (tmp_path / "var/lib/dbus/machine-id").write_text("abc\n")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/machine-id").write_text("")

    assert machine_id(str(tmp_path)) == "abc"


def test_the_facts_of_this_host() -> None:
    assert all(path.startswith("/") for path in hugepages().values())
    assert 0 in numa_nodes() or not numa_nodes()
