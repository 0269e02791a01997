"""Whatever a file says, it gives options or errors that name their place."""

import re
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qsuper.errors import ConfigError, ConfigErrors
from tests.support.grounds import domain, lines, translated

# One domain with everything the parts read; @ stands where a value is put.
RICH: Final = domain(
    "<vcpu current='1'>2</vcpu><maxMemory slots='2'>4194304</maxMemory><genid/>"
    "<memoryBacking><hugepages><page size='2048' nodeset='0'/></hugepages>"
    "<source type='memfd'/><access mode='shared'/><allocation mode='immediate' threads='2'/>"
    "</memoryBacking><numatune><memory mode='strict' nodeset='0-1'/>"
    "<memnode cellid='0' mode='preferred' nodeset='1'/></numatune>"
    "<iothreads>2</iothreads><iothreadids><iothread id='4' thread_pool_min='1' thread_pool_max='2'>"
    "<poll max='1' grow='2' shrink='3'/></iothread></iothreadids>"
    "<sysinfo type='smbios'><bios><entry name='date'>01/01/2020</entry></bios></sysinfo>"
    "<sysinfo type='fwcfg'><entry name='opt/a'>text</entry></sysinfo>"
    "<features><acpi/><apic eoi='on'/><smm state='on'><tseg unit='MiB'>8</tseg></smm>"
    "<hyperv mode='custom'><spinlocks state='on' retries='8191'/>"
    "<vendor_id state='on' value='me'/></hyperv><kvm><hidden state='on'/></kvm>"
    "<tcg><tb-cache unit='MiB'>64</tb-cache></tcg><ioapic driver='qemu'/></features>"
    "<cpu mode='custom' match='exact'><model vendor_id='GenuineIntel'>Haswell</model>"
    "<topology sockets='2' cores='1' threads='1'/><feature name='avx2' policy='optional'/>"
    "<cache mode='emulate' level='3'/><maxphysaddr mode='emulate' bits='42'/>"
    "<numa><cell id='0' cpus='0-1' memory='1024' unit='MiB' memAccess='shared'>"
    "<distances><sibling id='0' value='10'/></distances></cell></numa></cpu>"
    "<clock offset='variable' adjustment='5' basis='utc'>"
    "<timer name='rtc' tickpolicy='catchup' track='guest'/><timer name='tsc' frequency='7'/>"
    "</clock><pm><suspend-to-mem enabled='yes'/></pm><on_crash>destroy</on_crash>"
    "<qemu:commandline><qemu:arg value='-x'/></qemu:commandline>",
    system=(
        "<loader readonly='yes' type='pflash'>/code</loader><nvram template='/t'>/vars</nvram>"
        "<kernel>/k</kernel><cmdline>c</cmdline><boot dev='hd'/>"
        "<bootmenu enable='yes' timeout='5'/><smbios mode='sysinfo'/>"
    ),
)
VALUES: Final = [
    *(match.span(1) for match in re.finditer(r"='([^']*)'", RICH)),
    *(match.span(1) for match in re.finditer(r">([^<>\n]+)<", RICH)),
]
ODD: Final = st.one_of(
    st.sampled_from(
        ["", " ", "0", "-1", "1e3", "0x10", "99999999999999999999", "on", "yes", ",", "a,b=c"]
    ),
    st.integers(-(1 << 70), 1 << 70).map(str),
    st.text(st.characters(codec="ascii", exclude_characters="<&'", min_codepoint=32), max_size=30),
)


def outcome(xml: str) -> list[str]:
    """Give the command line, or nothing where the domain is refused in good order."""
    errors: tuple[ConfigError, ...] = ()
    try:
        return [word for option in translated(xml).plan.options for word in option.argv()]
    except ConfigErrors as several:
        errors = several.errors
    except ConfigError as error:
        errors = (error,)
    assert errors
    assert all(re.match(r"vm\.xml:[1-9]", str(error)) for error in errors)
    return []


def test_the_domain_as_it_is_makes_sense() -> None:
    assert outcome(RICH)


@settings(max_examples=400, deadline=None)
@given(place=st.sampled_from(VALUES), value=ODD)
def test_any_value_anywhere(place: tuple[int, int], value: str) -> None:
    first, last = place
    outcome(RICH[:first] + value + RICH[last:])


@pytest.mark.parametrize("place", VALUES, ids=str)
def test_no_value_at_all(place: tuple[int, int]) -> None:
    outcome(RICH[: place[0]] + RICH[place[1] :])


TEXT: Final = st.text(st.characters(codec="ascii", min_codepoint=33, exclude_characters="<&'"))


@given(text=TEXT.filter(lambda text: bool(text) and "/" not in text))
def test_a_path_stays_one_value(text: str) -> None:
    system = f"<loader>/{text}</loader><kernel>/{text}</kernel><cmdline>-{text}</cmdline>"
    plan = translated(domain(system=system)).plan
    assert lines(plan, "bios", "kernel", "append") == [f"/{text}", f"/{text}", f"-{text}"]


@given(text=TEXT.filter(bool))
def test_a_serial_number_stays_one_value(text: str) -> None:
    inside = (
        f"<sysinfo type='smbios'><system><entry name='serial'>{text}</entry></system></sysinfo>"
    )
    plan = translated(domain(inside, system="<smbios mode='sysinfo'/>")).plan
    (line,) = lines(plan, "smbios")
    parts = re.split(r"(?<!,),(?!,)", line.replace(",,", "\0"))
    assert parts == ["type=1", f"serial={text.replace(',', chr(0))}"]
