"""`<q:machine-path>`, and the option itself in `<qemu:commandline>`."""

from itertools import pairwise

import pytest

from qsuper.errors import ConfigError, ConfigErrors
from qsuper.plan import Meeting
from qsuper.translate.model import Translation
from qsuper.translate.node import parse_xml
from qsuper.translate.passes import translate
from qsuper.translate.site import HostData
from tests.support.emulators import emulator

OWN = "<q:machine-path name='soc'/>"
PREFIX = "qemu-rport-"


def translated(
    fabric: str, *words: str, types: tuple[str, ...] = (), more: str = ""
) -> Translation:
    """Translate a domain; the fabric's content is in line 2, the words for QEMU in line 4.

    Raises:
        ConfigErrors: something is wrong with it.
    """
    arguments = "".join(f"<qemu:arg value='{word}'/>" for word in words)
    xml = (
        "<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>"
        "<name>a</name><metadata><q:fabric xmlns:q='urn:qsuper:domain:1'>\n"
        f"{fabric}</q:fabric></metadata><memory unit='MiB'>80</memory>{more}\n"
        "<os><type arch='aarch64' machine='vexpress-a9'>hvm</type></os>"
        "<devices><emulator>/q</emulator></devices>\n"
        f"<qemu:commandline>{arguments}</qemu:commandline></domain>"
    )
    caps = emulator("aarch64", types=(*types, "multi-socket-backend"))
    return translate(parse_xml(xml.encode(), "a.xml"), caps, HostData(machine_id="m"))


def words(translation: Translation, *, run: bool) -> list[str]:
    """Give what follows `-machine-path`, shown or run."""
    numbers = dict.fromkeys((each.name for each in translation.plan.resources()), 3)
    options = [option.argv(numbers if run else None) for option in translation.plan.options]
    flat = [word for option in options for word in option]
    return [value for word, value in pairwise(flat) if word == "-machine-path"]


def test_a_directory_of_the_group() -> None:
    made = translated(OWN, "-x")
    assert words(made, run=False) == ["/tmp/soc"]
    assert words(made, run=True) == ["group/soc.machine-path"]
    assert made.plan.meeting == Meeting(directory="group/soc.machine-path", prefix=PREFIX)
    assert made.notices == ()


@pytest.mark.parametrize("option", ["-machine-path", "--machine-path"])
def test_a_directory_of_the_users(option: str) -> None:
    """It stands as it was written, once; the order of the start is kept there, too."""
    made = translated("", "-hw-dtb", "/d", option, "/tmp/mine/")
    options = [each.argv() for each in made.plan.options]
    assert ("-hw-dtb", "/d", option, "/tmp/mine/") in options
    assert [each for each in options if each[0] == "-machine-path"] == []
    assert made.plan.meeting == Meeting(directory="/tmp/mine", prefix=PREFIX)


def test_none() -> None:
    made = translated("", "-hw-dtb", "-machine-path")
    assert words(made, run=True) == []
    assert made.plan.meeting is None


@pytest.mark.parametrize(
    ("fabric", "given", "message"),
    [
        (OWN + OWN, (), "a.xml:2: <machine-path>: there are two machine paths"),
        (OWN, ("-machine-path", "/m"), "a.xml:4: <arg>: there are two machine paths"),
        ("", ("-machine-path", "/m") * 2, "a.xml:4: <arg>: there are two machine paths"),
        ("", ("-machine-path", "m"), "a.xml:4: <arg>: -machine-path is no absolute path"),
        ("<q:machine-path/>", (), "a.xml:2: <machine-path>: attribute 'name' is missing"),
        ("<q:machine-path name='../m'/>", (), "a.xml:2: <machine-path>: name='../m' is no good"),
        ("<q:machine-path name='.m'/>", (), "a.xml:2: <machine-path>: name='.m' is no good"),
        (f"<q:machine-path name='{'m' * 41}'/>", (), "'mmm"),
    ],
)
def test_what_is_wrong(fabric: str, given: tuple[str, ...], message: str) -> None:
    with pytest.raises((ConfigError, ConfigErrors)) as caught:
        translated(fabric, *given)
    (said,) = str(caught.value).splitlines()
    assert message in said


def test_an_emulator_without_remote_ports() -> None:
    with pytest.raises(ConfigErrors, match=r"^a\.xml:2: <machine-path>: the emulator has no rem"):
        translated(OWN, types=("remote-port",))
    # What the user says to QEMU is QEMU's to judge.
    made = translated("", "-machine-path", "/m", types=("remote-port",))
    assert made.plan.meeting == Meeting(directory="/m", prefix=PREFIX)


def test_what_a_crash_leads_to() -> None:
    def notices(fabric: str, word: str) -> list[str]:
        made = translated(fabric, more=f"<on_crash>{word}</on_crash>")
        return [notice.message for notice in made.notices]

    (said,) = notices(OWN, "restart")
    assert said.startswith("<machine-path>: <on_crash> restart is for panics alone: QEMUs that ")
    assert notices(OWN, "destroy") == notices("", "restart") == []
