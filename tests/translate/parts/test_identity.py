"""Who the guest is, how many CPUs it has, what follows its end, and what goes to QEMU as it is."""

import pytest

from qsuper.errors import ConfigError, ConfigErrors
from qsuper.plan import Lifecycle, OnEnd, PlugCpu
from tests.support.grounds import domain, lines, translated

UUID = "c7a5fdbd-edaf-9455-926a-d65c16db1809"


def options(inside: str, *names: str, system: str = "") -> list[str]:
    return lines(translated(domain(inside, system=system)).plan, *names)


def message(inside: str, *, system: str = "") -> str:
    with pytest.raises((ConfigError, ConfigErrors)) as caught:
        translated(domain(inside, system=system))
    return str(caught.value)


def test_smbios_tables() -> None:
    inside = (
        "<sysinfo type='smbios'><bios><entry name='vendor'>A, B</entry>"
        "<entry name='date'>02/28/2020</entry></bios>"
        "<system><entry name='serial'>x=y</entry></system>"
        "<baseBoard><entry name='asset'>1</entry></baseBoard>"
        "<chassis><entry name='sku'>s</entry></chassis>"
        "<oemStrings><entry>one, two</entry><entry>three</entry></oemStrings></sysinfo>"
    )
    assert options(inside, "smbios", system="<smbios mode='sysinfo'/>") == [
        "type=0,vendor=A,, B,date=02/28/2020",
        "type=1,serial=x=y",
        "type=2,manufacturer=,asset=1",
        "type=3,manufacturer=,sku=s",
        "type=11,value=one,, two,value=three",
    ]
    assert options(inside, "smbios") == []


def test_the_first_of_several_tables_counts() -> None:
    inside = "".join(
        f"<{tag}>{entry}1</entry></{tag}><{tag}>{entry}2</entry></{tag}>"
        for tag, entry in (
            ("system", "<entry name='serial'>"),
            ("chassis", "<entry name='asset'>"),
            ("oemStrings", "<entry>"),
        )
    )
    sysinfo = f"<sysinfo type='smbios'>{inside}</sysinfo>"
    assert options(sysinfo, "smbios", system="<smbios mode='sysinfo'/>") == [
        "type=1,serial=1",
        "type=3,manufacturer=,asset=1",
        "type=11,value=1",
    ]


def test_the_first_of_several_elements_has_the_tables() -> None:
    inside = "".join(
        f"<sysinfo type='smbios'><system><entry name='serial'>{number}</entry></system></sysinfo>"
        f"<sysinfo type='fwcfg'><entry name='opt/{number}'>x</entry></sysinfo>"
        for number in (1, 2)
    )
    assert options(inside, "smbios", "fw_cfg", system="<smbios mode='sysinfo'/>") == [
        "type=1,serial=1",
        "name=opt/1,string=x",
        "name=opt/2,string=x",
    ]


def test_a_second_board_is_no_trouble_where_the_tables_are_not_used() -> None:
    board = "<baseBoard><entry name='asset'>1</entry></baseBoard>"
    assert options(f"<sysinfo type='smbios'>{board}{board}</sysinfo>", "smbios") == []


def test_tables_may_be_empty() -> None:
    empty = "<sysinfo type='smbios'/>"
    assert options(empty, "smbios", system="<smbios mode='sysinfo'/>") == []
    assert options(empty, "smbios", system="<smbios/>") == []


@pytest.mark.parametrize("date", ["1/2/99", "02/31/2020", "1/1/0", "12/31/1900"])
def test_dates_of_a_bios(date: str) -> None:
    inside = f"<sysinfo type='smbios'><bios><entry name='date'>{date}</entry></bios></sysinfo>"
    assert options(inside, "smbios", system="<smbios mode='sysinfo'/>") == [f"type=0,date={date}"]


@pytest.mark.parametrize(
    "date", ["x", "1/2", "13/1/20", "0/1/20", "1/32/20", "1/0/20", "1/2/123", "1/2/1899"]
)
def test_what_is_no_date(date: str) -> None:
    inside = f"<sysinfo type='smbios'><bios><entry name='date'>{date}</entry></bios></sysinfo>"
    assert message(inside) == f"vm.xml:3: <bios>: date '{date}' is none (mm/dd/yyyy)"


def test_firmware_configuration() -> None:
    inside = (
        "<sysinfo type='fwcfg'><entry name='opt/a'>b,c</entry>"
        "<entry name='opt/d' file='e'/></sysinfo>"
    )
    assert options(inside, "fw_cfg") == ["name=opt/a,string=b,,c", "name=opt/d,file=/vms/e"]


def test_a_generation_is_given_or_new_each_time() -> None:
    given = options(f"<genid>{UUID.upper()}</genid>", "device")
    assert f'{{"driver":"vmgenid","guid":"{UUID}","id":"vmgenid0"}}' in given
    assert '{"driver":"vmgenid","guid":"auto","id":"vmgenid0"}' in options("<genid/>", "device")


@pytest.mark.parametrize(
    ("inside", "system", "expected"),
    [
        ("", "<smbios mode='sysinfo'/>", "<smbios>: there is nothing to take the tables from"),
        ("", "<smbios mode='host'/>", "<smbios>: mode='host' is not supported"),
        (
            "<sysinfo type='smbios'><bios><entry name='date'>2020-02-28</entry></bios></sysinfo>",
            "",
            "<bios>: date '2020-02-28' is none (mm/dd/yyyy)",
        ),
        (
            (
                "<vcpu>2</vcpu><cputune><vcpusched vcpus='0-1' scheduler='batch'/>"
                "<vcpusched vcpus='1' scheduler='batch'/></cputune>"
            ),
            "",
            "<vcpusched>: CPU 1 is scheduled twice (name it once)",
        ),
        (
            (
                "<iothreads>1</iothreads><cputune>"
                "<iothreadsched iothreads='1-2' scheduler='batch'/></cputune>"
            ),
            "",
            "<iothreadsched>: there is no I/O thread 2",
        ),
        (
            "<cpu><topology sockets='2' cores='1' threads='1'/></cpu>",
            "",
            "<topology>: the topology has 2 CPUs, <vcpu> says 1",
        ),
        (
            (
                f"<uuid>{UUID}</uuid><sysinfo type='smbios'><system>"
                f"<entry name='uuid'>{UUID.replace('c', 'd')}</entry></system></sysinfo>"
            ),
            "<smbios mode='sysinfo'/>",
            "<smbios>: <uuid> and the uuid in <sysinfo> differ",
        ),
        (
            "<sysinfo type='fwcfg'><entry name='opt/a'/></sysinfo>",
            "",
            "<entry>: needs a value or a file",
        ),
        ("<genid>x</genid>", "", "<genid>: 'x' is not a uuid"),
        ("<on_poweroff>dance</on_poweroff>", "", "<on_poweroff>: 'dance' is unknown"),
        (
            "<on_reboot>coredump-destroy</on_reboot>",
            "",
            "<on_reboot>: 'coredump-destroy' is for <on_crash> only",
        ),
        ("<launchSecurity type='sev'/>", "", "<launchSecurity>: encrypted guests"),
        ("<iothreads>x</iothreads>", "", "<iothreads>: 'x' is not a number"),
        (
            "<iothreadids><iothread id='1'/><iothread id='1'/></iothreadids>",
            "",
            "<iothread>: id='1' is given twice",
        ),
        ("<vcpu>0</vcpu>", "", "<vcpu>: '0' is out of range"),
        ("<vcpu>5000</vcpu>", "", "<vcpu>: machine 'pc-q35-10.0' takes no more than 4096 CPUs"),
        (
            "<vcpu>3</vcpu><cpu><topology sockets='2' cores='1' threads='1'/></cpu>",
            "",
            "<topology>: the topology has 2 CPUs, <vcpu> says 3",
        ),
        (
            "<vcpu>2</vcpu><vcpus><vcpu id='0' enabled='no' hotpluggable='yes'/></vcpus>",
            "",
            "<vcpu>: CPU 0 must be enabled and not pluggable",
        ),
        (
            "<metadata><q:melody xmlns:q='urn:qsuper:domain:1'/></metadata>",
            "",
            "<melody>: is unknown (<q:fabric>)",
        ),
        ("<qemu:commandline><qemu:arg/></qemu:commandline>", "", "has no attribute 'value'"),
        (
            (
                "<qemu:override><qemu:device alias='a'><qemu:frontend>"
                "<qemu:property name='x' type='bool' value='maybe'/>"
                "</qemu:frontend></qemu:device></qemu:override>"
            ),
            "",
            "<property>: value='maybe' is unknown (true or false)",
        ),
    ],
)
def test_what_is_wrong_is_said(inside: str, system: str, expected: str) -> None:
    assert expected in message(inside, system=system)


@pytest.mark.parametrize(
    ("inside", "expected"),
    [
        ("", "1,sockets=1,cores=1,threads=1"),
        ("<vcpu>4</vcpu>", "4,sockets=4,cores=1,threads=1"),
        ("<vcpu current='2'>4</vcpu>", "2,maxcpus=4,sockets=4,cores=1,threads=1"),
        (
            "<vcpu>8</vcpu><cpu><topology sockets='1' dies='2' cores='2' threads='2'/></cpu>",
            "8,sockets=1,dies=2,clusters=1,cores=2,threads=2",
        ),
    ],
)
def test_numbers_of_cpus(inside: str, expected: str) -> None:
    assert options(inside, "smp") == [expected]


def test_pluggable_cpus_are_plugged_in_by_their_order() -> None:
    inside = (
        "<vcpu>4</vcpu><vcpus><vcpu id='0' enabled='yes' hotpluggable='no' order='1'/>"
        "<vcpu id='1' enabled='yes' hotpluggable='yes' order='3'/>"
        "<vcpu id='2' enabled='no' hotpluggable='yes'/>"
        "<vcpu id='3' enabled='yes' hotpluggable='yes' order='2'/></vcpus>"
    )
    plan = translated(domain(inside)).plan
    assert lines(plan, "smp") == ["1,maxcpus=4,sockets=4,cores=1,threads=1"]
    assert plan.setup == (PlugCpu(number=3), PlugCpu(number=1))


def test_io_threads_fill_up_from_the_lowest_free_id() -> None:
    inside = (
        "<iothreads>3</iothreads><iothreadids><iothread id='2' thread_pool_max='8'>"
        "<poll max='123'/></iothread></iothreadids><defaultiothread thread_pool_max='4'/>"
    )
    assert options(inside, "object")[1:] == [
        '{"qom-type":"main-loop","id":"main-loop","thread-pool-max":4}',
        '{"qom-type":"iothread","id":"iothread2","thread-pool-max":8,"poll-max-ns":123}',
        '{"qom-type":"iothread","id":"iothread1"}',
        '{"qom-type":"iothread","id":"iothread3"}',
    ]


def test_what_follows_the_guests_end() -> None:
    inside = (
        "<on_poweroff>preserve</on_poweroff><on_reboot>destroy</on_reboot>"
        "<on_crash>coredump-restart</on_crash><on_lockfailure>poweroff</on_lockfailure>"
    )
    translation = translated(domain(inside))
    assert translation.notices == ()
    assert translation.plan.lifecycle == Lifecycle(
        on_poweroff=OnEnd.PRESERVE,
        on_reboot=OnEnd.DESTROY,
        on_crash=OnEnd.COREDUMP_RESTART,
    )


def test_what_is_said_to_qemu_itself() -> None:
    inside = (
        "<qemu:commandline><qemu:arg value='-foo'/><qemu:arg value='a,b'/>"
        "<qemu:env name='X' value='y'/><qemu:env name='Z'/></qemu:commandline>"
        "<qemu:deprecation behavior='reject'/>"
        "<qemu:capabilities><qemu:add capability='blockdev'/></qemu:capabilities>"
    )
    translation = translated(domain(inside))
    plan = translation.plan
    assert plan.options[0].argv() == (
        "-compat",
        '{"deprecated-output":"hide","deprecated-input":"reject"}',
    )
    assert ("-foo", "a,b") in [option.argv() for option in plan.options]
    assert plan.env == {"X": "y", "Z": ""}
    assert [str(notice) for notice in translation.notices] == [
        (
            "vm.xml:3: <add>: capability='blockdev' has no effect: "
            "qsuper asks the emulator what it can do"
        )
    ]


def test_properties_of_a_device_are_overridden_by_its_id() -> None:
    properties = (
        "<qemu:property name='guid' type='string' value='g'/>"
        "<qemu:property name='n' type='signed' value='-3'/>"
        "<qemu:property name='u' type='unsigned' value='3'/>"
        "<qemu:property name='b' type='bool' value='true'/>"
        "<qemu:property name='driver' type='remove'/>"
    )
    inside = (
        "<genid/><qemu:override><qemu:device alias='vmgenid0'><qemu:frontend>"
        f"{properties}</qemu:frontend></qemu:device></qemu:override>"
    )
    assert '{"guid":"g","id":"vmgenid0","n":-3,"u":3,"b":true}' in options(inside, "device")


def test_what_makes_no_difference_is_passed_over() -> None:
    inside = (
        "<title>t</title><description>d</description><metadata><x xmlns='urn:x'/></metadata>"
        "<seclabel type='dynamic'/><resource><partition>/p</partition></resource>"
    )
    assert translated(domain(inside)).notices == ()


def test_an_entry_that_nobody_knows_is_no_error() -> None:
    entries = "<entry name='colour'>x</entry>\n<entry>y</entry>"
    inside = f"<sysinfo type='smbios'><system>{entries}</system></sysinfo>"
    assert [str(notice) for notice in translated(domain(inside)).notices] == [
        "vm.xml:3: <entry>: name='colour' is unknown and has no effect",
        "vm.xml:4: <entry>: without name= it has no effect",
    ]


def test_a_stock_number_alone_makes_no_table() -> None:
    table = "<system><entry name='sku'>{}</entry>{}</system>"
    smbios = "<smbios mode='sysinfo'/>"
    for entry, expected in (
        ("", []),
        ("<entry name='family'>f</entry>", ["type=1,sku=s,family=f"]),
    ):
        inside = f"<sysinfo type='smbios'>{table.format('s', entry)}</sysinfo>"
        found = lines(translated(domain(inside, system=smbios)).plan, "smbios")
        assert found == expected
