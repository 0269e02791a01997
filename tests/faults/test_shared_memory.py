"""Shared memory that is described wrongly: refused with its place, before anything is started."""

from pathlib import Path

import pytest

from tests.support.lab import Lab

pytestmark = pytest.mark.qemu

CONFIGS = Path(__file__).parents[2] / "configs"
PRIMARY, DEPENDENCY = "amp-boot.xml", "amp-boot-dependency.xml"
MSI = "<msi vectors='4'/>"


@pytest.fixture
def amp(lab: Lab) -> Lab:
    """A lab with amp-boot and its dependency in it."""
    for name in (PRIMARY, DEPENDENCY):
        text = (CONFIGS / name).read_text()
        (lab.root / name).write_text(text.replace("guests/", f"{CONFIGS}/guests/"))
    return lab


def change(lab: Lab, file: str, old: str, new: str) -> None:
    text = (lab.root / file).read_text()
    assert old in text
    (lab.root / file).write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (PRIMARY, MSI, f"{MSI}<size unit='MiB'>3</size>", "<size>: 3145728 bytes are no power of"),
        (PRIMARY, MSI, f"{MSI}<size unit='KiB'>512</size>", "<size>: 524288 bytes are no power"),
        (PRIMARY, MSI, f"{MSI}<size unit='MiB'>0</size>", "<size>: 0 bytes are no power of two"),
        (PRIMARY, MSI, "<msi vectors='0'/>", "<msi>: vectors='0' is out of range"),
        (PRIMARY, MSI, "<msi vectors='100000'/>", "<msi>: vectors='100000' is out of range"),
        (DEPENDENCY, "offset='64'", "offset='72'", "<window>: memory 'ram' ends before the window"),
        (DEPENDENCY, "offset='64'", "offset='-1'", "<window>: offset='-1' is "),
        (DEPENDENCY, "size='16'", "size='17'", "<window>: the size is 17 MiB, <memory> says 16"),
        (DEPENDENCY, "vector='0'", "vector='4'", "<boot>: shmem 'mailbox' has no vector 4 (it has"),
        (DEPENDENCY, "vector='0'", "vector='-1'", "<boot>: vector='-1' is out of range"),
    ],
)
def test_what_is_wrong(amp: Lab, file: str, old: str, new: str, message: str) -> None:
    change(amp, file, old, new)

    done = amp.run("up", "-d", str(amp.root / PRIMARY))

    assert (done.status, done.out) == (65, "")
    place, _, said = done.error.partition(": ")
    name, _, line = place.rpartition(":")
    assert name == str(amp.root / file)
    assert said.startswith(message)
    assert new in (amp.root / file).read_text().splitlines()[int(line) - 1]
    amp.assert_nothing_left()


def test_a_plain_memory_of_any_size(lab: Lab) -> None:
    """QEMU would abort."""
    shmem = "<shmem name='x'><model type='ivshmem-plain'/><size unit='MiB'>3</size></shmem>"

    done = lab.run("up", "-d", lab.domain("a", devices=shmem))

    assert done.status == 65
    assert "a.xml:15: <size>: 3145728 bytes are no power of two" in done.error
    lab.assert_nothing_left()


def test_windows_that_overlap(amp: Lab) -> None:
    second = "<domaindependency>second.xml</domaindependency>"
    change(amp, PRIMARY, "<serial", f"{second}<serial")
    text = (amp.root / DEPENDENCY).read_text()
    text = text.replace("<name>amp-boot-dependency", "<name>second")
    (amp.root / "second.xml").write_text(text.replace("offset='64'", "offset='56'"))

    done = amp.run("up", "-d", str(amp.root / PRIMARY))

    assert done.status == 65
    wrong, right = (f"{amp.root / name}:9" for name in ("second.xml", DEPENDENCY))
    assert done.error == f"{wrong}: <window>: overlaps the window at {right}"
    amp.assert_nothing_left()


def test_two_primaries_for_one_memory(amp: Lab) -> None:
    text = (amp.root / PRIMARY).read_text()
    (amp.root / "other.xml").write_text(text.replace("<name>amp-boot", "<name>other"))

    done = amp.run("up", "-d", *(str(amp.root / name) for name in (PRIMARY, "other.xml")))

    assert done.status == 65
    assert done.error.startswith(f"{amp.root / 'other.xml'}:16: <memory>: ")
    assert f"{amp.root / PRIMARY}:16" in done.error
    amp.assert_nothing_left()
