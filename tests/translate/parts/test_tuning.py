"""What the host is told of the guest: it is checked as libvirt does, and has no effect here."""

from typing import Final

import pytest

from tests.support.grounds import domain, lines, messages, translated

VCPUS: Final = "<vcpu>4</vcpu>"


def tuned(inside: str) -> str:
    return f"{VCPUS}\n<cputune>\n{inside}\n</cputune>"


@pytest.mark.parametrize(
    ("inside", "expected"),
    [
        ("<shares>x</shares>", "<shares>: 'x' is not a number"),
        ("<shares>-1</shares>", "<shares>: '-1' is out of range (0..18446744073709551615)"),
        ("<period>999</period>", "<period>: '999' is out of range (1000..1000000)"),
        ("<period>1000001</period>", "<period>: '1000001' is out of range (0..1000000)"),
        ("<period>-1</period>", "<period>: '-1' is out of range (0..1000000)"),
        ("<quota>999</quota>", "<quota>: '999' is out of range (1000..17592186044415)"),
        (
            "<iothread_quota>17592186044416</iothread_quota>",
            "<iothread_quota>: '17592186044416' is out of range (..17592186044415)",
        ),
        (
            "<global_period>5</global_period>",
            "<global_period>: '5' is out of range (1000..1000000)",
        ),
        ("<vcpupin vcpu='0'/>", "<vcpupin>: attribute 'cpuset' is missing"),
        ("<vcpupin cpuset='0'/>", "<vcpupin>: attribute 'vcpu' is missing"),
        (
            "<vcpupin vcpu='0' cpuset='x'/>",
            "<vcpupin>: cpuset='x' is no set of numbers (such as 0-3,^2)",
        ),
        (
            "<vcpupin vcpu='0' cpuset='0'/><vcpupin vcpu='0' cpuset='1'/>",
            "<vcpupin>: vcpu='0' is there twice (remove one)",
        ),
        ("<emulatorpin/>", "<emulatorpin>: attribute 'cpuset' is missing"),
        (
            "<iothreadpin iothread='0' cpuset='0'/>",
            "<iothreadpin>: iothread='0' is out of range (1..)",
        ),
        (
            "<iothreadpin iothread='1' cpuset='0'/>",
            "<iothreadpin>: there is no I/O thread 1 (see <iothreads>)",
        ),
        (
            "<vcpusched vcpus='0' scheduler='fifo'/>",
            "<vcpusched>: attribute 'priority' is missing",
        ),
        (
            "<vcpusched vcpus='0' scheduler='x'/>",
            "<vcpusched>: scheduler='x' is unknown (one of batch, idle, fifo, rr)",
        ),
        (
            "<vcpusched vcpus='4' scheduler='idle'/>",
            "<vcpusched>: there is no CPU 4 (<vcpu> says 4)",
        ),
        (
            "<vcpusched vcpus='0-1' scheduler='idle'/><vcpusched vcpus='1' scheduler='idle'/>",
            "<vcpusched>: CPU 1 is scheduled twice (name it once)",
        ),
        ("<emulatorsched scheduler='rr'/>", "<emulatorsched>: attribute 'priority' is missing"),
        (
            (
                "<cachetune vcpus='0-1'><monitor level='3' vcpus='0'/></cachetune>"
                "<cachetune vcpus='1-2'><monitor level='3' vcpus='2'/></cachetune>"
            ),
            (
                "<cachetune>: CPU 1 is in another group, too "
                "(vcpus= as there, in a <memorytune>, or none of them)"
            ),
        ),
        ("<cachetune/>", "<cachetune>: attribute 'vcpus' is missing"),
        (
            "<cachetune vcpus='0'><cache id='0' level='3' type='x' size='3'/></cachetune>",
            "<cache>: type='x' is unknown (one of both, code, data)",
        ),
        (
            "<cachetune vcpus='0'><cache id='0' level='3' type='data'/></cachetune>",
            "<cache>: attribute 'size' is missing",
        ),
        (
            (
                "<cachetune vcpus='0'><cache id='0' level='3' type='both' size='3'/>"
                "<cache id='0' level='3' type='code' size='3'/></cachetune>"
            ),
            "<cache>: level='3' id='0' is dealt out twice",
        ),
        (
            (
                "<memorytune vcpus='0-1'><node id='0' bandwidth='60'/>"
                "<node id='0' bandwidth='10'/></memorytune>"
            ),
            "<node>: id='0' is there twice (remove one)",
        ),
        (
            "<cachetune vcpus='0-1'><monitor level='2' vcpus='0-1'/></cachetune>",
            "<monitor>: level='2' can't be watched (3)",
        ),
        (
            "<cachetune vcpus='0-1'><monitor level='3' vcpus='2'/></cachetune>",
            "<monitor>: CPU 2 is not in the group",
        ),
        (
            (
                "<cachetune vcpus='0-1'><monitor level='3' vcpus='0'/>"
                "<monitor level='3' vcpus='0'/></cachetune>"
            ),
            "<monitor>: CPU 0 is watched twice",
        ),
        (
            "<memorytune vcpus='0'><node id='0' bandwidth='60'/></memorytune>",
            "<memorytune>: this is for KVM guests only (type='kvm')",
        ),
    ],
)
def test_tuning_of_cpus_that_is_wrong(inside: str, expected: str) -> None:
    assert messages(domain(tuned(inside))) == [f"vm.xml:5: {expected}"]


@pytest.mark.parametrize("tag", ["emulatorpin", "emulatorsched"])
def test_the_emulator_is_tuned_once(tag: str) -> None:
    one = f"<{tag} cpuset='0' scheduler='idle'/>"
    assert messages(domain(tuned(one + one))) == [
        f"vm.xml:4: <cputune>: <{tag}> is there twice (remove one)"
    ]


def test_all_that_is_wrong_with_the_tuning_is_told_at_once() -> None:
    inside = (
        "<cputune><shares>x</shares></cputune>\n<memtune><hard_limit>x</hard_limit></memtune>\n"
        "<perf><event name='cmt'/></perf>"
    )
    assert messages(domain(inside)) == [
        "vm.xml:3: <shares>: 'x' is not a number",
        "vm.xml:4: <hard_limit>: 'x' is not a number",
        "vm.xml:5: <event>: attribute 'enabled' is missing (yes or no)",
    ]


@pytest.mark.parametrize(
    ("kind", "inside"),
    [
        ("qemu", "<shares>0</shares>"),
        ("qemu", "<period>0</period>"),
        ("qemu", "<quota>-1</quota>"),
        ("qemu", "<vcpupin vcpu='7' cpuset='0'/>"),
        ("qemu", "<emulatorpin cpuset='0-3,^2'/>"),
        ("qemu", "<vcpusched vcpus='0-3' scheduler='fifo' priority='1'/>"),
        ("qemu", "<emulatorsched scheduler='batch'/>"),
        ("qemu", "<cachetune vcpus='0-1'/>"),
        ("kvm", "<cachetune vcpus='0-1'><monitor level='3' vcpus='0-1'/></cachetune>"),
        ("kvm", "<memorytune vcpus='0'><node id='0' bandwidth='60'/></memorytune>"),
    ],
)
def test_tuning_that_is_right_has_no_effect_and_that_is_said(kind: str, inside: str) -> None:
    translation = translated(domain(tuned(inside), kind=kind))
    tag = inside[1:].partition(" ")[0].partition(">")[0]
    assert [str(notice) for notice in translation.notices] == [
        f"vm.xml:5: <{tag}>: not supported here, has no effect"
    ]


def test_groups_of_cpus_can_be_dealt_caches_and_bandwidth() -> None:
    inside = (
        "<cachetune vcpus='0-1'><cache id='0' level='3' type='code' size='3' unit='MiB'/>"
        "<cache id='0' level='3' type='data' size='3' unit='MiB'/>"
        "<monitor level='3' vcpus='0'/><monitor level='3' vcpus='0-1'/></cachetune>"
        "<memorytune vcpus='0-1'><node id='0' bandwidth='60'/><monitor vcpus='0-1'/></memorytune>"
        "<cachetune vcpus='1-2'/>"
    )
    translation = translated(domain(tuned(inside), kind="kvm"))
    assert {notice.message for notice in translation.notices} == {
        "<cachetune>: not supported here, has no effect",
        "<memorytune>: not supported here, has no effect",
    }


THROTTLED: Final = (
    "<disk type='file'><source file='/x'/><target dev='vda' bus='virtio'/>\n"
    "<throttlefilters>{}</throttlefilters></disk></devices>"
)


def objects(xml: str) -> list[str]:
    return lines(translated(xml).plan, "object")


def grouped(limits: str, *filters: str) -> str:
    group = f"<throttlegroup>{limits}<group_name>a</group_name></throttlegroup>"
    inside = "".join(f"<throttlefilter group='{name}'/>" for name in filters)
    xml = domain(f"<throttlegroups>\n{group}</throttlegroups>")
    return xml.replace("</devices>", THROTTLED.format(inside)) if filters else xml


@pytest.mark.parametrize("limits", ["", "<total_bytes_sec>0</total_bytes_sec>"])
def test_a_group_without_limits_is_no_object(limits: str) -> None:
    assert not [line for line in objects(grouped(limits)) if "throttle" in line]


def test_a_group_with_limits_is_an_object() -> None:
    limits = "<read_iops_sec>5</read_iops_sec><read_iops_sec_max>9</read_iops_sec_max>"
    length = "<read_iops_sec_max_length>3</read_iops_sec_max_length>"
    (group,) = (line for line in objects(grouped(limits + length)) if "throttle" in line)
    assert '"id":"throttle-a"' in group
    assert '"iops-read":5,"iops-read-max":9,"iops-read-max-length":3' in group
    unsaid = grouped(limits + length.replace("3", "0"))
    assert not [line for line in objects(unsaid) if "max-length" in line]


@pytest.mark.parametrize(
    ("limits", "filters", "expected"),
    [
        ("", ("a", "a"), "6: <throttlefilters>: a group is named twice (name it once)"),
        ("", ("b",), "5: <disk> 'vda': there is no throttle group 'b'"),
        (
            "<total_bytes_sec>1</total_bytes_sec><read_bytes_sec>1</read_bytes_sec>",
            (),
            ("4: <throttlegroup>: total_bytes_sec excludes read_bytes_sec and write_bytes_sec"),
        ),
        (
            "<group_name>a</group_name></throttlegroup><throttlegroup>",
            (),
            "3: <throttlegroups>: two groups have one name",
        ),
    ],
)
def test_groups_that_are_wrong(limits: str, filters: tuple[str, ...], expected: str) -> None:
    assert messages(grouped(limits, *filters)) == [f"vm.xml:{expected}"]
