"""The real-time clock and the timers."""

import pytest
from msgspec.structs import replace

from qsuper.errors import ConfigError, ConfigErrors
from tests.support.grounds import domain, emulator, host, lines, messages, translated


def rtc(clock: str) -> list[str]:
    return lines(translated(domain(clock)).plan, "rtc")


def message(clock: str) -> str:
    with pytest.raises((ConfigError, ConfigErrors)) as caught:
        translated(domain(clock))
    return str(caught.value)


@pytest.mark.parametrize(
    ("clock", "expected"),
    [
        ("", "base=utc"),
        ("<clock offset='utc'/>", "base=utc"),
        ("<clock offset='localtime'/>", "base=localtime"),
        ("<clock offset='variable' adjustment='0'/>", "base=2001-09-09T01:46:40"),
        ("<clock offset='variable' adjustment='-40'/>", "base=2001-09-09T01:46:00"),
        (
            "<clock offset='variable' adjustment='20' basis='localtime'/>",
            "base=2001-09-09T02:47:00",
        ),
        ("<clock offset='absolute' start='epoch'/>", "base=1970-01-01T00:00:00"),
        ("<clock offset='absolute' start='86400'/>", "base=1970-01-02T00:00:00"),
        ("<clock><timer name='rtc' track='guest'/></clock>", "base=utc,clock=vm"),
        ("<clock><timer name='rtc' track='wall'/></clock>", "base=utc,clock=host"),
        ("<clock><timer name='rtc' tickpolicy='catchup'/></clock>", "base=utc,driftfix=slew"),
        ("<clock><timer name='rtc' tickpolicy='delay'/></clock>", "base=utc"),
    ],
)
def test_what_the_clock_starts_from(clock: str, expected: str) -> None:
    assert rtc(clock) == [expected]


def test_a_time_zone_is_qemus() -> None:
    plan = translated(domain("<clock offset='timezone' timezone='Europe/Paris'/>")).plan
    assert lines(plan, "rtc") == ["base=localtime"]
    assert plan.env == {"TZ": "Europe/Paris"}


def test_a_host_without_a_clock_can_not_add_to_it() -> None:
    data = replace(host(), now_s=None)
    with pytest.raises(ConfigErrors, match="the host's time is not known here"):
        translated(domain("<clock offset='variable' adjustment='1'/>"), data=data)


def test_ticks_that_the_pit_lost() -> None:
    xml = domain("<clock><timer name='pit'/></clock>")
    assert "kvm-pit.lost_tick_policy=delay" in lines(translated(xml).plan, "global")
    caps = replace(emulator(), props={})
    assert "kvm-pit.lost_tick_policy=delay" not in lines(translated(xml, caps=caps).plan, "global")


def test_a_pit_that_catches_up_is_kvms_own() -> None:
    plan = translated(domain("<clock><timer name='pit' tickpolicy='catchup'/></clock>")).plan
    assert not [line for line in lines(plan, "global") if "kvm-pit" in line]


@pytest.mark.parametrize("name", ["kvmclock", "hypervclock", "tsc", "hpet"])
def test_timers_of_another_architecture(name: str) -> None:
    clock = f"<clock><timer name='{name}' present='yes'/></clock>"
    xml = domain(clock, arch="aarch64", machine="virt")
    with pytest.raises(ConfigErrors, match=f"<timer>: only x86 guests have '{name}' "):
        translated(xml, arch="aarch64")
    unsaid = translated(xml.replace(" present='yes'", ""), arch="aarch64").plan
    assert lines(unsaid, "cpu") == ["cortex-a15"]
    assert translated(xml.replace("'yes'", "'no'"), arch="aarch64").notices == ()


@pytest.mark.parametrize(("present", "expected"), [("yes", ",hpet=on,"), ("no", ",hpet=off,")])
def test_the_hpet_is_the_machines(present: str, expected: str) -> None:
    plan = translated(domain(f"<clock><timer name='hpet' present='{present}'/></clock>")).plan
    assert expected in lines(plan, "machine")[0]


@pytest.mark.parametrize(
    ("clock", "expected"),
    [
        ("<clock offset='moon'/>", "<clock>: offset='moon' is unknown (one of utc, "),
        ("<clock offset='absolute'/>", "<clock>: attribute 'start' is missing"),
        ("<clock offset='timezone'/>", "<clock>: attribute 'timezone' is missing"),
        ("<clock offset='variable' adjustment='x'/>", "adjustment='x' is not a number"),
        ("<clock offset='variable' adjustment='99999999999999'/>", "is out of range"),
        (
            "<clock><timer name='rtc'/><timer name='rtc'/></clock>",
            "<timer>: timer 'rtc' is given twice",
        ),
        (
            "<clock><timer name='rtc' tickpolicy='merge'/></clock>",
            "<timer>: tickpolicy='merge' is not supported by QEMU for 'rtc'",
        ),
        ("<clock><timer name='rtc' track='boot'/></clock>", "track='boot' is not supported"),
        ("<clock><timer name='platform'/></clock>", "timer 'platform' is not supported"),
        (
            "<clock><timer name='armvtimer'/></clock>",
            "<timer>: only KVM's ARM guests of machine 'virt' have it (remove it)",
        ),
    ],
)
def test_what_is_wrong_is_said(clock: str, expected: str) -> None:
    assert expected in message(clock)


@pytest.mark.parametrize(
    ("clock", "expected"),
    [
        (
            "<timer name='rtc' frequency='10'/>",
            "<timer>: timer 'rtc' has no frequency= (remove it)",
        ),
        ("<timer name='rtc' mode='native'/>", "<timer>: timer 'rtc' has no mode= (remove it)"),
        ("<timer name='pit' track='guest'/>", "<timer>: timer 'pit' has no track= (remove it)"),
        (
            "<timer name='kvmclock' tickpolicy='catchup'/>",
            "<timer>: timer 'kvmclock' has no tickpolicy (remove it)",
        ),
        (
            "<timer name='tsc' mode='x'/>",
            ("<timer>: mode='x' is unknown (one of auto, native, emulate, paravirt, smpsafe)"),
        ),
        (
            "<timer name='rtc' tickpolicy='delay'><catchup threshold='1'/></timer>",
            "<catchup>: it goes with tickpolicy='catchup' (remove it)",
        ),
        (
            "<timer name='rtc' tickpolicy='catchup'><catchup slew='x'/></timer>",
            "<catchup>: slew='x' is not a number",
        ),
    ],
)
def test_timers_that_are_wrong(clock: str, expected: str) -> None:
    assert messages(domain(f"<clock>\n{clock}</clock>")) == [f"vm.xml:4: {expected}"]


@pytest.mark.parametrize(
    ("clock", "expected"),
    [
        ("<clock offset='utc' adjustment='5'/>", "base=2001-09-09T01:46:45"),
        ("<clock offset='localtime' adjustment='5'/>", "base=2001-09-09T02:46:45"),
        ("<clock offset='utc' adjustment='reset'/>", "base=utc"),
        (
            (
                "<clock><timer name='rtc' tickpolicy='catchup'>"
                "<catchup threshold='1' slew='2' limit='3'/></timer></clock>"
            ),
            "base=utc,driftfix=slew",
        ),
        ("<clock><timer name='tsc' mode='native'/></clock>", "base=utc"),
    ],
)
def test_clocks_that_are_right(clock: str, expected: str) -> None:
    translation = translated(domain(clock))
    assert lines(translation.plan, "rtc") == [expected]
    assert translation.notices == ()


def test_arms_timer() -> None:
    clock = "<clock><timer name='armvtimer' tickpolicy='discard'/></clock>"
    xml = domain(clock, kind="kvm", arch="aarch64", machine="virt")
    assert translated(xml, arch="aarch64").notices == ()
    absent = xml.replace("discard'", "discard' present='no'")
    assert messages(absent, arch="aarch64") == [
        "vm.xml:3: <timer>: it can't be switched off (remove present=)"
    ]
    elsewhere = xml.replace("virt'", "vexpress-a9'")
    assert messages(elsewhere, arch="aarch64") == [
        "vm.xml:3: <timer>: only KVM's ARM guests of machine 'virt' have it (remove it)"
    ]


def test_a_pit_catches_up_where_kvm_has_one() -> None:
    xml = domain("<clock><timer name='pit' tickpolicy='catchup'/></clock>")
    assert "kvm-pit" not in " ".join(lines(translated(xml).plan, "global"))
    elsewhere = xml.replace("x86_64", "riscv64").replace("q35", "virt")
    with pytest.raises(ConfigErrors, match="tickpolicy='catchup' is not supported by QEMU"):
        translated(elsewhere, arch="riscv64")


@pytest.mark.parametrize(("present", "expected"), [("yes", []), ("no", [""])])
def test_an_old_qemu_has_an_option_against_the_hpet(present: str, expected: list[str]) -> None:
    old = replace(emulator(), command_line={})
    xml = domain(f"<clock><timer name='hpet' present='{present}'/></clock>")
    plan = translated(xml, caps=old).plan
    assert lines(plan, "no-hpet") == expected
    assert "hpet" not in lines(plan, "machine")[0]
