"""RAM, what backs it, NUMA cells and where they lie."""

import pytest
from msgspec.structs import replace

from qsuper.errors import ConfigError, ConfigErrors
from qsuper.options import SharedMemory
from tests.support.grounds import domain, emulator, host, lines, translated

SMALL = "<memory unit='MiB'>64</memory>"
TWO_CELLS = (
    "<vcpu>4</vcpu><cpu><numa>"
    "<cell cpus='0-1' memory='16' unit='MiB'{first}/><cell cpus='2' memory='17000'/>"
    "</numa></cpu>"
)


def objects(inside: str = "", memory: str = SMALL) -> list[str]:
    return lines(translated(domain(inside, memory=memory)).plan, "object")


def message(inside: str = "", memory: str = SMALL) -> str:
    with pytest.raises((ConfigError, ConfigErrors)) as caught:
        translated(domain(inside, memory=memory))
    return str(caught.value)


@pytest.mark.parametrize(
    ("memory", "expected"),
    [
        ("<memory unit='MiB'>64</memory>", "size=65536k"),
        ("<memory>65536</memory>", "size=65536k"),
        ("<memory unit='b'>1</memory>", "size=1024k"),
        ("<memory unit='KiB'>65537</memory>", "size=66560k"),
        (
            "<memory unit='GiB'>1</memory><maxMemory unit='GiB' slots='4'>2</maxMemory>",
            "size=1048576k,slots=4,maxmem=2097152k",
        ),
    ],
)
def test_sizes_are_whole_mebibytes(memory: str, expected: str) -> None:
    assert lines(translated(domain(memory=memory)).plan, "m") == [expected]


def test_ordinary_memory() -> None:
    assert objects() == ['{"qom-type":"memory-backend-ram","id":"pc.ram","size":67108864}']


def test_the_machine_is_told_what_its_memory_is() -> None:
    machine = lines(translated(domain()).plan, "machine")[0]
    assert machine == "pc-q35-10.0,usb=off,dump-guest-core=off,memory-backend=pc.ram,acpi=off"


def test_a_machine_that_names_no_memory_gets_no_object() -> None:
    xml = domain(arch="aarch64", machine="vexpress-a9")
    plan = translated(xml, arch="aarch64").plan
    assert lines(plan, "object", "m") == ["size=65536k"]


def test_dumps_and_merging() -> None:
    memory = "<memory unit='MiB' dumpCore='on'>64</memory>"
    inside = "<memoryBacking><nosharepages/><locked/></memoryBacking>"
    plan = translated(domain(inside, memory=memory)).plan
    assert "dump-guest-core=on,mem-merge=off," in lines(plan, "machine")[0]
    assert lines(plan, "overcommit") == ["mem-lock=on"]


def test_huge_pages_of_the_default_size() -> None:
    assert objects("<memoryBacking><hugepages/></memoryBacking>") == [
        (
            '{"qom-type":"memory-backend-file","id":"pc.ram","mem-path":"/mnt/huge/-1-vm",'
            '"x-use-canonical-path-for-ramblock-id":false,"prealloc":true,"size":67108864}'
        )
    ]


def test_huge_pages_of_a_size() -> None:
    inside = "<memoryBacking><hugepages><page size='1' unit='GiB'/></hugepages></memoryBacking>"
    assert '"mem-path":"/mnt/giant"' in objects(inside)[0]


def test_pages_of_the_usual_size_are_not_huge() -> None:
    inside = "<memoryBacking><hugepages><page size='4' unit='KiB'/></hugepages></memoryBacking>"
    assert '"memory-backend-ram"' in objects(inside)[0]


def test_memory_of_a_memfd() -> None:
    inside = (
        "<memoryBacking><hugepages><page size='2' unit='MiB'/></hugepages><source type='memfd'/>"
        "<access mode='shared'/><allocation mode='immediate' threads='3'/></memoryBacking>"
    )
    assert objects(inside) == [
        (
            '{"qom-type":"memory-backend-memfd","id":"pc.ram","hugetlb":true,"hugetlbsize":2097152,'
            '"share":true,"x-use-canonical-path-for-ramblock-id":false,"prealloc":true,'
            '"prealloc-threads":3,"size":67108864}'
        )
    ]


def test_file_memory_is_libvirts_file_on_paper_and_a_memfd_at_launch() -> None:
    plan = translated(domain("<memoryBacking><source type='file'/></memoryBacking>")).plan
    (shown,) = lines(plan, "object")
    assert '"mem-path":"/var/lib/libvirt/qemu/ram/-1-vm/pc.ram"' in shown
    (memory,) = plan.resources()
    assert isinstance(memory, SharedMemory)
    assert memory.size_bytes == 64 << 20
    (option,) = (option for option in plan.options if option.name == "object")
    assert '"mem-path":"/proc/self/fd/7"' in option.argv({memory.name: 7})[1]


def test_two_domains_do_not_share_their_private_memory() -> None:
    inside = "<memoryBacking><source type='file'/></memoryBacking>"
    other = domain(inside).replace("<name>vm<", "<name>other<")
    plans = (translated(domain(inside)).plan, translated(other).plan)
    memories = [memory for plan in plans for memory in plan.resources()]
    shares = {memory.share for memory in memories if isinstance(memory, SharedMemory)}
    assert len(shares) == len(memories) == 2


def test_cells_have_memory_of_their_own() -> None:
    plan = translated(domain(TWO_CELLS.format(first=""))).plan
    assert lines(plan, "m", "object", "numa") == [
        "size=33792k",
        '{"qom-type":"memory-backend-ram","id":"ram-node0","size":16777216}',
        '{"qom-type":"memory-backend-ram","id":"ram-node1","size":17825792}',
        "node,nodeid=0,cpus=0-1,cpus=3,memdev=ram-node0",
        "node,nodeid=1,cpus=2,memdev=ram-node1",
    ]
    assert "memory-backend=" not in lines(plan, "machine")[0]


def test_cells_of_an_old_machine_have_sizes() -> None:
    plan = translated(domain(TWO_CELLS.format(first=""), machine="pc-q35-4.2")).plan
    assert lines(plan, "m", "object", "numa") == [
        "size=33792k",
        "node,nodeid=0,cpus=0-1,cpus=3,mem=16",
        "node,nodeid=1,cpus=2,mem=17",
    ]
    assert "memory-backend=" not in lines(plan, "machine")[0]


@pytest.mark.parametrize(
    ("inside", "expected"),
    [
        ("<allocation mode='immediate'/>", ["mem-prealloc"]),
        ("<hugepages/>", ["mem-prealloc", "mem-path /mnt/huge/-1-vm"]),
    ],
)
def test_cells_of_an_old_machine_are_backed_all_alike(inside: str, expected: list[str]) -> None:
    xml = domain(
        TWO_CELLS.format(first="") + f"<memoryBacking>{inside}</memoryBacking>",
        machine="pc-q35-4.2",
    )
    plan = translated(xml).plan
    found = [option for option in plan.options if option.name in ("mem-prealloc", "mem-path")]
    assert [" ".join(option.argv()).removeprefix("-") for option in found] == expected
    assert lines(plan, "object") == []


@pytest.mark.parametrize(
    "inside",
    [
        "<memoryBacking><access mode='shared'/></memoryBacking>",
        "<memoryBacking><source type='memfd'/></memoryBacking>",
        "<memoryBacking><source type='file'/></memoryBacking>",
        "<memoryBacking><hugepages><page size='2048' nodeset='1'/></hugepages></memoryBacking>",
        "<numatune><memnode cellid='1' mode='strict' nodeset='0'/></numatune>",
    ],
)
def test_what_needs_objects_makes_them_on_an_old_machine_too(inside: str) -> None:
    plan = translated(domain(TWO_CELLS.format(first="") + inside, machine="pc-q35-4.2")).plan
    assert [line.rpartition(",")[2] for line in lines(plan, "numa")] == [
        "memdev=ram-node0",
        "memdev=ram-node1",
    ]
    assert len(lines(plan, "object")) == 2


def test_an_old_machine_can_not_bind_its_cells() -> None:
    inside = TWO_CELLS.format(first="") + "<numatune><memory nodeset='0'/></numatune>"
    translation = translated(domain(inside, machine="pc-q35-4.2"))
    assert lines(translation.plan, "object") == []
    assert [str(notice) for notice in translation.notices] == [
        "vm.xml:3: <memory>: no effect: machine 'pc-q35-4.2' can't have it for all cells at once"
    ]


def test_a_cell_can_be_shared_alone() -> None:
    first, second = objects(TWO_CELLS.format(first=" memAccess='shared' discard='yes'"))
    assert '"memory-backend-file"' in first
    assert '"discard-data":true,"share":true' in first
    assert '"memory-backend-ram"' in second


def test_one_distance_brings_them_all() -> None:
    inside = (
        "<vcpu>2</vcpu><cpu><numa><cell cpus='0' memory='1024'><distances>"
        "<sibling id='1' value='21'/></distances></cell><cell cpus='1' memory='1024'/></numa></cpu>"
    )
    assert lines(translated(domain(inside)).plan, "numa")[2:] == [
        "dist,src=0,dst=0,val=10",
        "dist,src=0,dst=1,val=21",
        "dist,src=1,dst=0,val=21",
        "dist,src=1,dst=1,val=10",
    ]


def test_latencies_and_caches() -> None:
    inside = (
        "<vcpu>1</vcpu><cpu><numa><cell cpus='0' memory='1024'><cache level='1' "
        "associativity='full' policy='writethrough'><size value='10' unit='KiB'/>"
        "<line value='8' unit='B'/></cache></cell><cell memory='1024'/><interconnects>"
        "<latency initiator='0' target='1' type='read' value='5'/>"
        "<bandwidth initiator='0' target='1' cache='1' type='access' value='2' unit='MiB'/>"
        "</interconnects></numa></cpu>"
    )
    plan = translated(domain(inside)).plan
    assert ",hmat=on," in lines(plan, "machine")[0]
    assert lines(plan, "numa") == [
        "node,nodeid=0,cpus=0,initiator=0,memdev=ram-node0",
        "node,nodeid=1,initiator=0,memdev=ram-node1",
        "hmat-lb,initiator=0,target=1,hierarchy=memory,data-type=read-latency,latency=5",
        (
            "hmat-lb,initiator=0,target=1,hierarchy=first-level,data-type=access-bandwidth,"
            "bandwidth=2048K"
        ),
        "hmat-cache,node-id=0,size=10K,level=1,associativity=complex,policy=write-through,line=8",
    ]


@pytest.mark.parametrize(
    ("mode", "policy"),
    [("strict", "bind"), ("preferred", "preferred"), ("interleave", "interleave")],
)
def test_memory_lies_where_it_should(mode: str, policy: str) -> None:
    (memory,) = objects(f"<numatune><memory mode='{mode}' nodeset='0-1,^0'/></numatune>")
    assert memory.endswith(f'"host-nodes":[1],"policy":"{policy}"}}')


def test_the_host_alone_obeys_a_restriction() -> None:
    (memory,) = objects("<numatune><memory mode='restrictive' nodeset='1'/></numatune>")
    assert "policy" not in memory


def test_memory_taken_at_once_is_touched_where_it_lies() -> None:
    inside = (
        "<memoryBacking><allocation mode='immediate'/></memoryBacking>"
        "<numatune><memory nodeset='1'/></numatune>"
    )
    threads, memory = objects(inside)
    assert threads == '{"qom-type":"thread-context","id":"tc-pc.ram","node-affinity":[1]}'
    assert memory.endswith('"prealloc-context":"tc-pc.ram"}')
    old = replace(emulator(), types=emulator().types - {"thread-context"})
    assert len(lines(translated(domain(inside), caps=old).plan, "object")) == 1
    assert len(objects(f"<vcpu cpuset='0'>1</vcpu>{inside}")) == 1


def test_nobody_places_memory_by_itself() -> None:
    inside = "<numatune><memory placement='auto'/></numatune>"
    data = replace(host(), numa_nodes=frozenset())
    notices = translated(domain(inside), data=data).notices
    assert "vm.xml:3: <memory>: automatic placement has no effect: memory is not bound" in map(
        str, notices
    )


@pytest.mark.parametrize(
    ("inside", "memory", "expected"),
    [
        ("", "", "<domain>: there is no memory"),
        ("", "<memory>0</memory>", "<memory>: there is no memory"),
        ("", "<memory unit='furlong'>1</memory>", "<memory>:"),
        ("", "<memory unit='TiB'>99999999</memory>", "that is more memory than there can be"),
        ("", "<memory>-1</memory>", "<memory>: '-1' is out of range"),
        (
            "",
            "<memory>2048</memory><maxMemory slots='1'>1024</maxMemory>",
            "<maxMemory> is smaller than the memory",
        ),
        (
            "<memoryBacking><hugepages><page size='5' unit='MiB'/></hugepages></memoryBacking>",
            SMALL,
            "<page>: the host has no huge pages of 5120 KiB (it has 2048 KiB, 1048576 KiB)",
        ),
        (
            (
                "<memoryBacking><hugepages><page size='2048'/><page size='1048576' nodeset='0'/>"
                "</hugepages></memoryBacking>"
            ),
            SMALL,
            "<page>: two sizes are for all cells (use nodeset=)",
        ),
        (
            "<memoryBacking><hugepages><page size='2048' nodeset='1'/></hugepages></memoryBacking>",
            SMALL,
            "<page>: there is no cell 1",
        ),
        ("<numatune><memory nodeset='7'/></numatune>", SMALL, "the host has no NUMA node 7"),
        ("<numatune><memory nodeset='0,^0'/></numatune>", SMALL, "nodeset='0,^0' is empty"),
        (
            "<numatune><memory nodeset='0-x'/></numatune>",
            SMALL,
            "<memory>: nodeset='0-x' is no set of numbers (such as 0-3,^2)",
        ),
        (
            "<numatune><memory placement='static'/></numatune>",
            SMALL,
            "attribute 'nodeset' is missing",
        ),
        (
            "<numatune><memnode cellid='0' nodeset='0'/></numatune>",
            SMALL,
            "<memnode>: the guest has no NUMA cell 0",
        ),
        (
            "<cpu><numa><cell id='1' memory='1024'/></numa></cpu>",
            SMALL,
            "<cell>: id='1' leaves a gap",
        ),
        ("<cpu><numa><cell id='0'/></numa></cpu>", SMALL, "attribute 'memory' is missing"),
        (
            "<cpu><numa><cell cpus='0-3' memory='1024'/></numa></cpu>",
            SMALL,
            "<cell>: there is no CPU 3 (<vcpu> says 1)",
        ),
        (
            "<cpu><numa><cell cpus='0' memory='1024'/><cell cpus='0' memory='1024'/></numa></cpu>",
            SMALL,
            "<cell>: CPU 0 is in another cell, too",
        ),
        (
            "<cpu><numa><cell memory='18446744073709551615'/></numa></cpu>",
            SMALL,
            "<cell>: that is no size of memory (check the unit)",
        ),
    ],
)
def test_what_is_wrong_is_said(inside: str, memory: str, expected: str) -> None:
    assert expected in message(inside, memory)


def test_a_balloon_that_is_missing_is_told() -> None:
    memory = f"{SMALL}<currentMemory unit='MiB'>32</currentMemory>"
    assert [str(notice) for notice in translated(domain(memory=memory)).notices] == [
        "vm.xml:1: <memory>: <currentMemory> has no effect: there is no balloon"
    ]
    same = f"{SMALL}<currentMemory unit='MiB'>64</currentMemory>"
    assert translated(domain(memory=same)).notices == ()


@pytest.mark.parametrize(
    "inside",
    [
        "<numatune><memory/></numatune>",
        "<vcpu placement='auto'>1</vcpu><numatune><memory/></numatune>",
    ],
)
def test_a_binding_that_says_nothing_binds_nothing(inside: str) -> None:
    (memory,) = objects(inside)
    assert "host-nodes" not in memory


def test_a_mode_needs_nodes_unless_placement_is_automatic() -> None:
    mode = "<numatune><memory mode='preferred'/></numatune>"
    assert "attribute 'nodeset' is missing" in message(mode)
    (memory,) = objects(f"<vcpu placement='auto'>1</vcpu>{mode}")
    assert '"host-nodes":[0,1],"policy":"preferred"' in memory


def test_huge_pages_are_no_anonymous_memory() -> None:
    inside = "<memoryBacking><hugepages/><source type='anonymous'/></memoryBacking>"
    assert message(inside) == (
        "vm.xml:3: <hugepages>: huge pages are no source type='anonymous' (memfd)"
    )
