"""What libvirt refuses is refused, with the place and what would help; what it takes is taken.

libvirt 11.3 was asked about each of these, by `domxml-to-native` on a QEMU 7.2.
"""

from collections.abc import Iterable
from typing import Final

import pytest

from tests.support.grounds import domain, lines, messages, translated

VCPUS: Final = "<vcpu>4</vcpu>"


def cells(*distances: Iterable[tuple[int, int]]) -> str:
    """Give a cell of one CPU for each of these: pairs of another cell and how far it is."""
    elements = ""
    for number, pairs in enumerate(distances):
        siblings = "".join(f"<sibling id='{cell}' value='{value}'/>" for cell, value in pairs)
        inside = f"<distances>{siblings}</distances>" if siblings else ""
        elements += f"<cell cpus='{number}' memory='1024'>{inside}</cell>"
    return f"<vcpu>{len(distances)}</vcpu><cpu><numa>{elements}</numa></cpu>"


@pytest.mark.parametrize(
    ("inside", "expected"),
    [
        ("<title>a\nb</title>", "<title>: it is more than one line (<description>)"),
        (
            "<memtune><min_guarantee>5</min_guarantee></memtune>",
            "<min_guarantee>: QEMU guarantees no memory (remove it)",
        ),
        (
            "<memtune><soft_limit>-1</soft_limit></memtune>",
            "<soft_limit>: '-1' is out of range (0..)",
        ),
        (
            "<memtune><hard_limit unit='x'>5</hard_limit></memtune>",
            "<hard_limit>: unknown unit: 'x' (b, KiB, MiB, GiB, TiB, KB, MB, ...)",
        ),
        (
            "<blkiotune><device><weight>200</weight></device></blkiotune>",
            "<device>: <path> is missing",
        ),
        (
            (
                "<blkiotune><device><path>/a</path></device>"
                "<device><path>/a</path></device></blkiotune>"
            ),
            "<device>: /a is there twice (remove one)",
        ),
        (
            (
                "<blkiotune><device><path>/a</path><read_iops_sec>x</read_iops_sec>"
                "</device></blkiotune>"
            ),
            "<read_iops_sec>: 'x' is not a number",
        ),
        (
            ("<perf><event name='cmt' enabled='yes'/><event name='cmt' enabled='no'/></perf>"),
            "<event>: name='cmt' is there twice (remove one)",
        ),
        (
            "<seclabel type='static' model='dac'/>",
            "<seclabel>: type='static' needs a <label> (add it)",
        ),
        (
            "<seclabel/>",
            "<seclabel>: attribute 'model' is missing (selinux, apparmor or dac)",
        ),
        (
            "<seclabel type='dynamic'/><seclabel type='dynamic' model='dac'/>",
            "<seclabel>: attribute 'model' is missing (selinux, apparmor or dac)",
        ),
        (
            "<seclabel type='dynamic' model='dac'/><seclabel type='none' model='dac'/>",
            "<seclabel>: model='dac' is given twice (one of each)",
        ),
        (
            "<seclabel type='none' model='dac' relabel='yes'/>",
            "<seclabel>: type='none' has nothing to relabel (relabel='no')",
        ),
        (
            "<seclabel type='dynamic' model='dac' relabel='no'/>",
            "<seclabel>: type='dynamic' always relabels (type='static')",
        ),
        (
            "<seclabel type='x'/>",
            "<seclabel>: type='x' is unknown (one of default, none, dynamic, static)",
        ),
        (
            "<idmap><uid start='0' target='1' count='1'/></idmap>",
            "<idmap>: users and groups must both be mapped (<uid> and <gid>)",
        ),
        (
            (
                "<idmap><uid start='x' target='1' count='1'/>"
                "<gid start='0' target='1' count='1'/></idmap>"
            ),
            "<uid>: start=, target= and count= are numbers",
        ),
        (
            (
                "<idmap><uid start='0' target='1' count='1'/>"
                "<gid start='1' target='1' count='1'/></idmap>"
            ),
            "<gid>: the container's root must be mapped (start='0')",
        ),
        (
            "<bootloader_args>x</bootloader_args>",
            "<bootloader_args>: only Xen guests have it (remove it)",
        ),
        (
            "<on_reboot>rename-restart</on_reboot>",
            "<on_reboot>: only Xen guests are restarted under another name (restart)",
        ),
        (
            "<iothreadids><iothread id='1' thread_pool_min='1'/></iothreadids>",
            "<iothread>: thread_pool_min= needs thread_pool_max= (add it)",
        ),
        (
            "<iothreadids><iothread id='1' thread_pool_max='0'/></iothreadids>",
            "<iothread>: thread_pool_max='0' leaves no thread (1 at least)",
        ),
        (
            "<defaultiothread thread_pool_min='4' thread_pool_max='2'/>",
            "<defaultiothread>: thread_pool_min='4' is more than thread_pool_max='2'",
        ),
        (
            "<qemu:commandline><qemu:env name='1x' value='y'/></qemu:commandline>",
            "<env>: name='1x' is no variable's (letters, digits, _)",
        ),
        (
            "<vcpu placement='x'>1</vcpu>",
            "<vcpu>: placement='x' is unknown (one of static, auto)",
        ),
        (
            "<vcpu cpuset='x'>1</vcpu>",
            "<vcpu>: cpuset='x' is no set of numbers (such as 0-3,^2)",
        ),
        (
            f"{VCPUS}<vcpus><vcpu id='0'/></vcpus>",
            "<vcpu>: attribute 'enabled' is missing (yes or no)",
        ),
        (
            f"{VCPUS}<vcpus><vcpu id='1' enabled='yes'/></vcpus>",
            "<vcpus>: CPU 0 must be enabled (<vcpu id='0' enabled='yes'/>)",
        ),
        (
            f"{VCPUS}<vcpus><vcpu id='0' enabled='yes' order='2'/></vcpus>",
            "<vcpu>: order='2': CPU 0 comes first (order='1')",
        ),
        (
            (
                f"{VCPUS}<vcpus><vcpu id='0' enabled='yes' order='1'/>"
                "<vcpu id='1' enabled='yes'/></vcpus>"
            ),
            "<vcpus>: some enabled CPUs have no order= (all of them, or none)",
        ),
        (
            (
                f"{VCPUS}<vcpus><vcpu id='0' enabled='yes'/>"
                "<vcpu id='1' enabled='no' hotpluggable='no'/></vcpus>"
            ),
            "<vcpu>: a CPU that is not enabled must be pluggable",
        ),
        ("<cpu><numa/></cpu>", "<numa>: <cell> is missing"),
        (
            "<cpu><numa><cell memory='1024'><distances/></cell></numa></cpu>",
            "<distances>: <sibling> is missing (remove <distances>, or add one)",
        ),
        (
            cells([(0, 11)]),
            "<sibling>: value='11' can't be (a cell is 10 from itself, and no other)",
        ),
        (
            cells([(1, 10)], []),
            "<sibling>: value='10' can't be (a cell is 10 from itself, and no other)",
        ),
        (cells([(1, 256)], []), "<sibling>: value='256' is out of range (10..255)"),
        (cells([(5, 20)], []), "<cell>: <distances> name cell 5, which is not there"),
        ("<sysinfo/>", "<sysinfo>: attribute 'type' is missing (one of smbios, fwcfg)"),
        (
            "<sysinfo type='fwcfg'><entry name='a'>x</entry></sysinfo>",
            "<entry>: name='a' is none for users (opt/com.example/NAME)",
        ),
        (
            "<sysinfo type='fwcfg'><entry name='opt/ovmf/a'>x</entry></sysinfo>",
            "<entry>: name='opt/ovmf/a' is reserved (opt/com.example/NAME)",
        ),
        (
            "<sysinfo type='smbios'><system><entry name='uuid'>x</entry></system></sysinfo>",
            "<entry>: 'x' is not a uuid",
        ),
        (
            "<sysinfo type='fwcfg'><entry>x</entry></sysinfo>",
            "<entry>: attribute 'name' is missing",
        ),
    ],
)
def test_what_is_wrong_is_said(inside: str, expected: str) -> None:
    assert messages(domain(inside)) == [f"vm.xml:3: {expected}"]


def test_one_generation_and_one_board() -> None:
    assert messages(domain("<genid/><genid/>")) == [
        "vm.xml:1: <domain>: <genid> is there twice (remove one)"
    ]
    board = "<baseBoard><entry name='asset'>1</entry></baseBoard>"
    inside = f"<sysinfo type='smbios'>{board}\n{board}</sysinfo>"
    assert messages(domain(inside, system="<smbios mode='sysinfo'/>")) == [
        "vm.xml:4: <baseBoard>: QEMU knows one board only (remove it)"
    ]


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        (
            "<qemu:property name='x' type='remove' value='1'/>",
            "type='remove' leaves no value (remove value=)",
        ),
        ("<qemu:property name='x' type='string'/>", "attribute 'value' is missing"),
        (
            "<qemu:property name='x' type='unsigned' value='-1'/>",
            "value='-1' is out of range (0..18446744073709551615)",
        ),
        (
            "<qemu:property name='x' type='bool' value='yes'/>",
            "value='yes' is unknown (true or false)",
        ),
    ],
)
def test_overrides_that_are_wrong(properties: str, expected: str) -> None:
    inside = (
        "<qemu:override><qemu:device alias='a'><qemu:frontend>\n"
        f"{properties}</qemu:frontend></qemu:device></qemu:override>"
    )
    assert messages(domain(inside)) == [f"vm.xml:4: <property>: {expected}"]


@pytest.mark.parametrize(
    ("inside", "option", "expected"),
    [
        ("<features><xen/><viridian/><msrs unknown='ignore'/></features>", "cpu", "qemu64"),
        (
            "<features><hyperv mode='passthrough'><relaxed state='off'/><foo/></hyperv></features>",
            "cpu",
            "qemu64,hv-passthrough=on",
        ),
        ("<features><async-teardown/></features>", "run-with", "async-teardown=on"),
        ("<features><async-teardown enabled='no'/></features>", "run-with", "async-teardown=off"),
        (
            "<features><smm state='off'><tseg unit='MiB'>8</tseg></smm></features>",
            "global",
            "ICH9-LPC.noreboot=off",
        ),
        ("<cpu><vendor>Intel</vendor><model>Haswell</model></cpu>", "cpu", "Haswell"),
        ("<cpu check='full'><model fallback='forbid'>Haswell</model></cpu>", "cpu", "Haswell"),
        ("<cpu><model vendor_id=''>Haswell</model></cpu>", "cpu", "Haswell"),
        (
            f"{VCPUS}<vcpus><vcpu id='0' enabled='yes'/><vcpu id='1' enabled='no'/></vcpus>",
            "smp",
            "1,maxcpus=4,sockets=4,cores=1,threads=1",
        ),
        (
            (
                f"{VCPUS}<vcpus><vcpu id='0' enabled='yes'/><vcpu id='1' enabled='yes'/>"
                "<vcpu id='1' enabled='no' hotpluggable='yes'/></vcpus>"
            ),
            "smp",
            "1,maxcpus=4,sockets=4,cores=1,threads=1",
        ),
        (f"{VCPUS}<vcpus/>", "smp", "4,sockets=4,cores=1,threads=1"),
        ("<vcpu placement='static'>1</vcpu>", "smp", "1,sockets=1,cores=1,threads=1"),
        ("<idmap/>", "cpu", "qemu64"),
        (
            (
                "<idmap><uid start='0' target='1' count='1'/>"
                "<gid start='0' target='1' count='1'/></idmap>"
            ),
            "cpu",
            "qemu64",
        ),
        ("<seclabel type='none'/>", "cpu", "qemu64"),
        (
            "<seclabel type='static' model='dac' relabel='no'><label>0:0</label></seclabel>",
            "cpu",
            "qemu64",
        ),
        (
            (
                "<seclabel type='dynamic' model='dac'><baselabel>x</baselabel></seclabel>"
                "<seclabel model='selinux'><imagelabel>y</imagelabel></seclabel>"
            ),
            "cpu",
            "qemu64",
        ),
        (
            "<sysinfo type='fwcfg'><entry name='opt/a' file='/x'>y</entry></sysinfo>",
            "fw_cfg",
            "name=opt/a,string=y",
        ),
        (
            "<clock><timer name='pit' tickpolicy='discard'/></clock>",
            "global",
            "kvm-pit.lost_tick_policy=discard",
        ),
        ("<memoryBacking><allocation threads='0'/></memoryBacking>", "m", "size=65536k"),
    ],
)
def test_what_is_right_is_taken(inside: str, option: str, expected: str) -> None:
    translation = translated(domain(inside))
    found = lines(translation.plan, option)
    assert expected in found
    assert translation.notices == ()


def test_threads_are_for_memory_that_is_not_touched_early_too() -> None:
    inside = "<memoryBacking><allocation threads='3'/></memoryBacking>"
    (memory,) = lines(translated(domain(inside)).plan, "object")
    assert '"prealloc-threads":3' in memory
    assert '"prealloc":' not in memory


def test_cpus_that_are_pinned_are_so_told() -> None:
    translation = translated(domain("<vcpu cpuset='0'>1</vcpu>"))
    assert [str(notice) for notice in translation.notices] == [
        "vm.xml:3: <vcpu>: attribute 'cpuset' is not supported and has no effect"
    ]


@pytest.mark.parametrize(
    ("inside", "is_written"),
    [
        (cells([(1, 20)], []), False),
        (cells([(0, 10), (1, 20)], []), False),
        (cells([(0, 10)], []), True),
        (cells([(1, 11)], []), True),
        (cells([(1, 20)], [], []), True),
        (cells([(1, 20), (2, 20)], [], []), True),
        (cells([(1, 20), (2, 20)], [(2, 20)], []), False),
        (cells([(1, 20)], [(2, 20)], []), True),
    ],
)
def test_distances_are_written_unless_all_are_said_and_usual(
    inside: str, *, is_written: bool
) -> None:
    written = [line for line in lines(translated(domain(inside)).plan, "numa") if "dist" in line]
    count = inside.count("<cell ") ** 2
    assert len(written) == (count if is_written else 0)
