"""The translation as a whole: identity, what is collected, order, aliases, boot."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from qsuper.errors import ConfigError, ConfigErrors
from qsuper.options import Option
from qsuper.translate.node import parse_xml
from qsuper.translate.passes import translate
from qsuper.translate.site import HostData
from tests.support.domains import device, domain, errors, options, translated
from tests.support.emulators import emulator

RNG = "<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>\n"
NET = "<interface type='user'><model type='virtio'/></interface>\n"
DISK = "<disk type='file'><source file='a.img'/><target dev='{}'/></disk>\n"


def plan(xml: bytes, machine_id: str = "m", *, force_tcg: bool = False) -> "tuple[Option, ...]":
    host = HostData(machine_id=machine_id, force_tcg=force_tcg)
    return translate(parse_xml(xml, "vm.xml"), emulator(), host).plan.options


def uuid_of(xml: bytes, machine_id: str = "m") -> str:
    return next(each.argv()[1] for each in plan(xml, machine_id) if each.name == "uuid")


def test_a_missing_uuid_stays_the_same_on_one_host_only() -> None:
    lines = domain("").splitlines()
    xml = b"\n".join(line.partition(b"</uuid>")[2] or line for line in lines)
    assert b"<uuid>" not in xml
    assert uuid_of(xml) == uuid_of(xml) != uuid_of(xml, "other")


@pytest.mark.parametrize(
    "text", ["AF96279DDF504C37B8299433C293E8CB", "af96279d-df50-4c37-b829-9433c293e8cb"]
)
def test_a_uuid_may_be_written_without_dashes(text: str) -> None:
    xml = domain("").replace(b"00000000-0000-0000-0000-000000000001", text.encode())
    assert uuid_of(xml) == "af96279d-df50-4c37-b829-9433c293e8cb"


def test_kvm_may_be_refused() -> None:
    xml = domain("").replace(b"'qemu'", b"'kvm'")
    assert ("-accel", "kvm") in [each.argv() for each in plan(xml)]
    assert ("-accel", "tcg") in [each.argv() for each in plan(xml, force_tcg=True)]


@pytest.mark.parametrize(
    ("known", "has_one"),
    [({"sandbox", "name"}, True), ({"name"}, False), (set[str](), True)],
)
def test_an_emulator_without_a_sandbox(known: set[str], has_one: bool) -> None:
    caps = replace(emulator(), command_line=dict.fromkeys(known, frozenset[str]()))
    made = translate(parse_xml(domain(""), "vm.xml"), caps, HostData(machine_id="m"))
    assert made.plan.has_sandbox is has_one
    said = [str(notice) for notice in made.notices if "seccomp" in notice.message]
    text = "vm.xml:1: the emulator was built without seccomp: it runs with no sandbox"
    assert said == ([] if has_one else [text])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"'qemu'", b"'xen'", "type='xen' is not supported (kvm or qemu)"),
        (b"<name>vm</name>", b"", "<name> is missing"),
        (b"<name>vm</name>", b"<name/>", "the name is empty"),
        (b"<name>vm</name>", b"<name>a/b</name>", "'a/b' can't be a name"),
        (b"<name>vm</name>", b"<name>..</name>", "'..' can't be a name"),
        (b"<name>vm</name>", b"<name>" + b"x" * 201 + b"</name>", "the name is too long"),
        (b"0-000000000001", b"0-00000000000x", "is no uuid"),
        (b"arch='x86_64'", b"arch='aarch64'", "the emulator is for x86_64"),
    ],
)
def test_what_the_domain_itself_may_have_wrong(old: bytes, new: bytes, message: str) -> None:
    with pytest.raises((ConfigError, ConfigErrors)) as caught:
        plan(domain("").replace(old, new))
    assert message in str(caught.value)


def test_the_root_must_be_a_domain() -> None:
    with pytest.raises(ConfigErrors, match=r"vm.xml:1: <network>: this is no domain"):
        plan(b"<network/>")


def test_all_errors_of_the_file_are_said_at_once() -> None:
    found = errors("<warp/>\n<rng model='x'/>\n<hub type='pci'/>\n<controller type='y'/>")
    assert [text.split(":")[1] for text in found] == ["6", "7", "8", "9"]
    assert "device <warp> is not supported" in found[0]


def test_what_was_not_understood_is_said() -> None:
    found = translated(RNG.replace("model='virtio'", "model='virtio' colour='red'"), parts="<odd/>")
    said = [str(notice) for notice in found.notices]
    assert "vm.xml:6: <rng>: attribute 'colour' is not supported and has no effect" in said
    assert any("<odd>: not supported here" in text for text in said)


def test_the_order_is_libvirts() -> None:
    found = translated(RNG + NET + DISK.format("vda") + "<controller type='virtio-serial'/>")
    rows = [row["id"] for row in options(found, "device")]
    assert rows == ["usb", "virtio-serial0", "virtio-disk0", "net0", "balloon0", "rng0"]


def test_a_users_alias_is_kept_and_another_is_dealt_anew() -> None:
    named = RNG.replace("</rng>", "<alias name='{}'/></rng>")
    found = translated(named.format("ua-dice") + named.format("rng7"))
    assert device(found, "ua-dice")["rng"] == "objua-dice"
    assert device(found, "rng0")["driver"] == "virtio-rng-pci"


def test_two_aliases_are_refused() -> None:
    named = RNG.replace("</rng>", "<alias name='ua-x'/></rng>")
    assert "alias 'ua-x' is used twice, also in line 6" in errors(named * 2)[0]


def test_boot_devices_reach_the_first_of_their_kind() -> None:
    xml = domain(DISK.format("vda") + DISK.format("vdb") + NET)
    xml = xml.replace(b"</os>", b"<boot dev='network'/><boot dev='hd'/></os>")
    found = translate(parse_xml(xml, "vm.xml"), emulator(), HostData(machine_id="m"))
    assert device(found, "net0")["bootindex"] == 1
    assert device(found, "virtio-disk0")["bootindex"] == 2
    assert "bootindex" not in device(found, "virtio-disk1")


def test_without_boot_elements_the_first_disk_boots() -> None:
    found = translated(DISK.format("vda") + NET)
    assert device(found, "virtio-disk0")["bootindex"] == 1
    assert "bootindex" not in device(found, "net0")


def test_boot_orders_are_not_mixed_and_not_used_twice() -> None:
    first = DISK.format("vda").replace("</disk>", "<boot order='1'/></disk>")
    second = DISK.format("vdb").replace("</disk>", "<boot order='1'/></disk>")
    assert "boot order 1 is used twice, also in line 6" in errors(first + second)[0]
    xml = domain(first).replace(b"</os>", b"<boot dev='hd'/></os>")
    with pytest.raises(ConfigErrors, match="together with <os><boot dev="):
        plan(xml)


def test_block_nodes_are_numbered_from_the_last_disk() -> None:
    rows = options(translated(DISK.format("vda") + DISK.format("vdb")), "device")
    drives = {row["id"]: row["drive"] for row in rows if "drive" in row}
    assert drives["virtio-disk1"].startswith("libvirt-1-")
    assert drives["virtio-disk0"].startswith("libvirt-2-")


@given(st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=20))
def test_no_name_breaks_out_of_its_option(name: str) -> None:
    """Whatever a device is called, it stays one value of one option."""
    named = "<rng model='virtio'><backend model='random'>/x</backend><alias name='{}'/></rng>"
    quoted = "".join(f"&#{ord(letter)};" for letter in f"ua-{name}")
    found = translated(named.format(quoted))
    # libvirt, too, deals a name where the file's has other characters.
    ident = f"ua-{name}" if re.fullmatch("[a-zA-Z0-9_-]+", name) else "rng0"
    assert device(found, ident)["rng"] == f"obj{ident}"
