"""`<q:fabric>` and `<shmem>`s that members of a group share."""

import pytest
from msgspec.structs import replace

from qsuper.errors import ConfigError, ConfigErrors
from qsuper.options import Doorbell, SharedMemory
from qsuper.plan import GroupPlan, LaunchPlan, Meeting, Member, OnSignal, Role, Signal, Vector
from qsuper.translate.group import Judged, group_problems, shared_rams
from qsuper.translate.node import parse_xml
from qsuper.translate.passes import translate
from qsuper.translate.site import HostData
from tests.support.emulators import emulator

MIB = 1 << 20
PATCHED = ("multi-socket-backend",)  # what no QEMU of the distributors has
OLD = "memory-backend-file.offset"  # what QEMU 7.2 lacks
DOORBELL = "<shmem name='box'><model type='ivshmem-doorbell'/>{more}</shmem>"
BOX = DOORBELL.format(more="<msi vectors='4'/><size unit='MiB'>1</size>")


def domain(
    name: str,
    fabric: str = "",
    devices: str = "",
    *,
    mib: int = 80,
    arch: str = "x86_64",
    more: str = "",
) -> bytes:
    """Give a domain; the fabric's content begins in line 2, the devices in line 4."""
    machine = "q35" if arch == "x86_64" else "virt"
    return (
        f"<domain type='qemu'><name>{name}</name><metadata>"
        f"<q:fabric xmlns:q='urn:qsuper:domain:1'>\n{fabric}</q:fabric></metadata>\n"
        f"<memory unit='MiB'>{mib}</memory><os><type arch='{arch}' machine='{machine}'>hvm</type>"
        f"</os>{more}<devices><emulator>/usr/bin/qemu</emulator>\n{devices}</devices></domain>"
    ).encode()


def group(
    a: bytes, *dependencies: bytes, lacking: str = "", types: tuple[str, ...] = PATCHED
) -> dict[str, LaunchPlan]:
    """Translate a group as `host.load` does.

    Raises:
        ConfigErrors: something is wrong in it.
    """
    roots = [
        parse_xml(xml, f"{name}.xml") for xml, name in zip((a, *dependencies), "abcd", strict=False)
    ]
    caps = [
        emulator(
            root.required_child("os").required_child("type").get("arch") or "",
            props=lacking,
            types=types,
        )
        for root in roots
    ]
    memories = shared_rams(zip(roots, caps, strict=True))
    plans: dict[str, LaunchPlan] = {}
    judged: list[Judged] = []
    for number, (root, each) in enumerate(zip(roots, caps, strict=True)):
        made = translate(root, each, HostData(machine_id="m", memories=memories))
        role = Role.DEPENDENCY if number else Role.PRIMARY
        judged.append(Judged(role=role, domain=made.domain))
        plans[made.plan.name] = made.plan
    if problems := list(group_problems(judged)):
        raise ConfigErrors(problems)
    return plans


def wrong(
    a: bytes, *dependencies: bytes, lacking: str = "", types: tuple[str, ...] = PATCHED
) -> list[str]:
    """Give what is wrong with a group."""
    try:
        group(a, *dependencies, lacking=lacking, types=types)
    except ConfigErrors as several:
        return [str(error) for error in several.errors]
    except ConfigError as error:
        return [str(error)]
    return []


def memory(plan: LaunchPlan) -> list[dict[str, object]]:
    return [
        dict(option.props)
        for option in plan.options
        if option.name == "object" and "memory-backend" in str(option.props["qom-type"])
    ]


def shares(plan: LaunchPlan) -> list[tuple[str, int]]:
    return [
        (each.share, each.size_bytes) for each in plan.resources() if isinstance(each, SharedMemory)
    ]


RAM = "<q:memory name='ram' size='80' unit='MiB'/>"
WINDOW = "<q:window memory='ram' offset='64' size='16' unit='MiB'/>"
BOOT = "<q:boot signal='doorbell' shmem='box' vector='0' entry='0x40200000'/>"


def amp(lacking: str = "", dependency: str = WINDOW + BOOT) -> dict[str, LaunchPlan]:
    return group(
        domain("a", RAM, BOX),
        domain("b", dependency, mib=16, arch="aarch64"),
        lacking=lacking,
    )


def test_a_window_by_offset() -> None:
    plans = amp()
    (whole,) = memory(plans["a"])
    (window,) = memory(plans["b"])
    assert (whole["id"], whole["size"], whole["share"]) == ("pc.ram", 80 * MIB, True)
    assert "offset" not in whole
    assert (window["size"], window["offset"]) == (16 * MIB, 64 * MIB)
    assert shares(plans["a"]) == shares(plans["b"]) == [("ram", 80 * MIB)]


def test_a_window_by_pieces_where_qemu_has_no_offset() -> None:
    plans = amp(lacking=OLD)
    assert [each["id"] for each in memory(plans["a"])] == ["ram-node0", "ram-node1"]
    assert shares(plans["a"]) == [("ram@0M", 64 * MIB), ("ram@64M", 16 * MIB)]
    assert shares(plans["b"]) == [("ram@64M", 16 * MIB)]
    (machine,) = (option for option in plans["a"].options if option.name == "machine")
    assert machine.props["memory-backend"] is None
    words = [option.argv()[1] for option in plans["a"].options if option.name == "numa"]
    assert words == [
        "node,nodeid=0,cpus=0,memdev=ram-node0",
        "node,nodeid=1,memdev=ram-node1",
    ]


def native(plan: LaunchPlan) -> list[str]:
    """Give the options of QEMUs that do it themselves, as they are run."""
    numbers = {resource.name: 3 for resource in plan.resources()}
    words = [" ".join(option.argv(numbers)) for option in plan.options]
    return [word for word in words if "ram" in word or "sdm" in word][-5:]


def test_qemus_that_do_it_themselves() -> None:
    dependency = domain("b", WINDOW + BOOT, mib=16, arch="aarch64")
    plans = group(domain("a", RAM, BOX), dependency, types=())
    assert native(plans["a"]) == [
        "-object multi-socket-backend,id=socket-ram,path=group/ram.multi,listen=on",
        (
            "-object memory-backend-shared,id=pc.ram,size=83886080,mem-path=/proc/self/fd/3,"
            "socket=socket-ram,master=on"
        ),
        "-object sdm-signal-shboot,id=sdm-boot,shm=pc.ram",
        "-object sdm-communication-socket,id=sdm-ram,socket=socket-ram",
        (
            "-device virtio-sdm-device,comm=sdm-ram,master=on,num-slaves=1,len-signals=1,"
            "signals[0]=sdm-boot"
        ),
    ]
    assert native(plans["b"]) == [
        "-object multi-socket-backend,id=socket-ram,path=group/ram.multi",
        (
            "-object memory-backend-shared,id=mach-virt.ram,size=16777216,"
            "mem-path=/proc/self/fd/3,socket=socket-ram"
        ),
        "-object sdm-signal-shboot,id=sdm-boot,shm=mach-virt.ram",
        "-object sdm-communication-socket,id=sdm-ram,socket=socket-ram",
        "-device virtio-sdm-device,comm=sdm-ram,num-slaves=1,len-signals=1,signals[0]=sdm-boot",
    ]
    assert shares(plans["a"]) == shares(plans["b"]) == [("ram", 80 * MIB)]
    assert plans["b"].boot is None  # QEMU waits, not the supervisor


def test_the_master_of_such_qemus_is_started_first() -> None:
    dependency = domain("b", WINDOW, mib=16, arch="aarch64")
    plans = group(domain("a", RAM), dependency, types=())
    there = Meeting(directory="group", prefix="ram.multi")
    assert plans["a"].meeting == replace(there, is_host=True)
    assert plans["b"].meeting == there
    members = (
        Member(plan=plans["b"], role=Role.DEPENDENCY),
        Member(plan=plans["a"], role=Role.PRIMARY, needs=("b",)),
    )
    assert [each.plan.name for each in GroupPlan(members).in_launch_order] == ["a", "b"]


def test_one_that_has_them_and_one_that_has_not() -> None:
    """All must: the supervisor does it for both."""
    roots = [
        parse_xml(xml, "x.xml")
        for xml in (domain("a", RAM), domain("b", WINDOW, mib=16, arch="aarch64"))
    ]
    caps = [emulator("x86_64"), emulator("aarch64", types=PATCHED)]
    memories = shared_rams(zip(roots, caps, strict=True))
    for root, each in zip(roots, caps, strict=True):
        plan = translate(root, each, HostData(machine_id="m", memories=memories)).plan
        assert [kind["qom-type"] for kind in memory(plan)] == ["memory-backend-file"]
        assert plan.meeting is None


def test_a_socket_has_a_short_name() -> None:
    name = "r" * 96
    xml = domain("a", RAM.replace("'ram'", f"'{name}'"))
    (said,) = wrong(xml, types=())
    assert said == "a.xml:2: <memory>: the name is too long for a socket's (95 bytes at most)"
    assert wrong(xml) == []


def test_pieces_between_and_behind_windows() -> None:
    plans = group(
        domain("a", RAM),
        domain("b", "<q:window memory='ram' offset='16' size='16' unit='MiB'/>", mib=16),
        domain("c", "<q:window memory='ram' offset='64' size='8' unit='MiB'/>", mib=8),
        lacking=OLD,
    )
    assert shares(plans["a"]) == [
        (f"ram@{begin}M", size * MIB)
        for begin, size in ((0, 16), (16, 16), (32, 32), (64, 8), (72, 8))
    ]


def test_no_window_no_pieces() -> None:
    assert shares(group(domain("a", RAM), lacking=OLD)["a"]) == [("ram", 80 * MIB)]


def test_boot_and_signals() -> None:
    rule = "<q:signal shmem='box' vector='3' verb='reset'/>"
    plan = amp(dependency=WINDOW + BOOT + rule)["b"]
    assert plan.boot == Vector(share="box", number=0)
    assert plan.signals == (Signal(vector=Vector(share="box", number=3), verb=OnSignal.RESET),)
    (loader,) = (option for option in plan.options if option.props.get("driver") == "loader")
    assert dict(loader.props) == {"driver": "loader", "addr": 0x40200000, "cpu-num": 0}


def test_riscv_without_firmware_gets_none() -> None:
    boot = BOOT.replace("0x4020", "0x8020")
    plan = group(domain("a", "", BOX), domain("b", boot, arch="riscv64"))["b"]
    assert ("-bios", "none") in [option.argv() for option in plan.options]


@pytest.mark.parametrize(("numbering", "master"), [("unique", None), ("private", "on")])
def test_numbering(numbering: str, master: str | None) -> None:
    xml = domain("a", "", BOX).replace(b"<q:fabric", f"<q:fabric numbering='{numbering}'".encode())
    plan = group(xml)["a"]
    (bell,) = (each for each in plan.resources() if isinstance(each, Doorbell))
    assert (bell.share, bell.vectors, bell.size_bytes) == ("box", 4, MIB)
    assert bell.is_private is (numbering == "private")
    (device,) = (o for o in plan.options if o.props.get("driver") == "ivshmem-doorbell")
    assert device.props.get("master") == master
    assert device.argv({bell.name: 7}) == device.argv()
    (line,) = (o.argv({bell.name: 7}) for o in plan.options if list(o.handles()))
    assert line == ("-chardev", "socket,id=charshmem0,fd=7")


def test_a_server_of_ones_own_is_used_as_given() -> None:
    plan = group(domain("a", "", DOORBELL.format(more="<server path='/run/other'/>")))["a"]
    assert list(plan.resources()) == []
    assert ("-chardev", "socket,id=charshmem0,path=/run/other") in [
        option.argv() for option in plan.options
    ]


def test_memory_for_programs_outside() -> None:
    plain = "<shmem name='box'><model type='ivshmem-plain'/><size unit='MiB'>1</size></shmem>"
    fabric = (
        "<q:shmem name='box' path='host'/><q:memory name='r' size='80' unit='MiB' path='host'/>"
    )
    plan = group(domain("a", fabric, plain))["a"]
    found = {each.share: each for each in plan.resources() if isinstance(each, SharedMemory)}
    assert found["box"].on_host
    assert found["r"].on_host


@pytest.mark.parametrize(
    ("fabric", "message"),
    [
        ("<q:memory name='ram' size='64' unit='MiB'/>", "the size is 64 MiB, <memory> says 80"),
        ("<q:memory name='ram' size='80'/>", "no whole number of MiB"),
        ("<q:memory name='ram'/>", "attribute 'size' is missing"),
        ("<q:memory name='a/b' size='80' unit='MiB'/>", "is no good"),
        (RAM + RAM, "one main memory"),
        ("<q:boot vector='0'/>", "attribute 'shmem' is missing"),
        ("<q:boot shmem='box' vector='0' signal='smoke'/>", "'smoke' is unknown"),
        ("<q:boot shmem='box' vector='0'/>" * 2, "there are two"),
        ("<q:boot shmem='box' vector='2048'/>", "out of range"),
        ("<q:boot shmem='box' vector='0' entry='0x1000'/>", "not for x86"),
        ("<q:signal shmem='box' vector='0' verb='explode'/>", "'explode' is unknown"),
        ("<q:signal shmem='nobox' vector='0' verb='reset'/>", "doorbell on shmem 'nobox'"),
        ("<q:signal shmem='box' vector='4' verb='reset'/>", "no vector 4 (it has 0 to 3)"),
        ("<q:shmem name='box'/>", "attribute 'path' is missing"),
        ("<q:melody/>", "<melody>: is unknown here"),
        (
            "<q:memory name='box' size='80' unit='MiB'/>",
            "'box' is the name of the shmem at a.xml:4",
        ),
        (WINDOW.replace("64", "0").replace("16", "80"), "a window is for a dependency"),
    ],
)
def test_what_is_wrong_with_one(fabric: str, message: str) -> None:
    said = wrong(domain("a", fabric, BOX))
    assert any(text.startswith("a.xml:2: <") and message in text for text in said), said


@pytest.mark.parametrize(
    ("fabric", "message"),
    [
        (WINDOW.replace("64", "72"), "memory 'ram' ends before the window does (it has 80 MiB)"),
        (WINDOW.replace("ram", "rom"), "no primary of the group has a memory 'rom'"),
        (WINDOW.replace("offset='64'", ""), "attribute 'offset' is missing"),
        (RAM.replace("80", "16"), "a memory belongs to a primary"),
        (WINDOW + BOOT.replace("40200000", "40000000"), "puts the device tree at each reset"),
        (WINDOW + BOOT.replace("40200000", "41000000"), "is not in the memory"),
    ],
)
@pytest.mark.parametrize("lacking", ["", OLD])
def test_what_is_wrong_with_a_dependency(fabric: str, message: str, lacking: str) -> None:
    said = wrong(
        domain("a", RAM, BOX), domain("b", fabric, mib=16, arch="aarch64"), lacking=lacking
    )
    assert any(text.startswith("b.xml:2: <") and message in text for text in said), said


def test_the_device_tree_of_riscv_is_at_the_end() -> None:
    boot = BOOT.replace("0x40200000", "0x83e00000")
    said = wrong(domain("a", "", BOX), domain("b", boot, mib=64, arch="riscv64"))
    assert ["device tree" in text for text in said] == [True]


def test_windows_overlap() -> None:
    said = wrong(
        domain("a", RAM),
        domain("b", WINDOW, mib=16),
        domain("c", WINDOW.replace("64", "63"), mib=16),
    )
    assert said == ["c.xml:2: <window>: overlaps the window at b.xml:2"]


def test_two_primaries_for_one_memory() -> None:
    said = wrong(domain("a", RAM), domain("b", RAM))
    assert "b.xml:2: <memory>: memory 'ram' is that of a.xml:2 too" in said


@pytest.mark.parametrize(
    ("device", "message"),
    [
        (BOX.replace("1</size>", "2</size>"), "b.xml:4: <shmem>: 'box' has 2 MiB, but 1 MiB"),
        (BOX + BOX, "b.xml:4: <shmem>: the domain has two doorbells on 'box'"),
        (BOX.replace("1</size>", "3</size>"), "no power of two"),
    ],
)
def test_shmems_that_do_not_agree(device: str, message: str) -> None:
    said = wrong(domain("a", "", BOX), domain("b", "", device))
    assert any(message in text for text in said), said


def test_memory_that_is_backed_otherwise() -> None:
    cells = "<cpu><numa><cell memory='80' unit='MiB'/></numa></cpu>"
    said = wrong(domain("a", RAM, more=cells))
    assert any("<numa> cannot share" in text for text in said), said
    backing = "<memoryBacking><source type='memfd'/></memoryBacking>"
    said = wrong(domain("a", RAM, more=backing))
    assert any("<memoryBacking> backs" in text for text in said), said
