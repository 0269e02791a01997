"""QEMUs that find each other by sockets of their own: fakes of them, tests/support/fake_qemu.py.

All else is real: the command, the supervisor, the processes, the sockets.
"""

import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import fake_qemu
from tests.support.lab import Lab, ends, kill

ROOT = Path(__file__).parents[2]
FAKE = Path(fake_qemu.__file__)
QUICK = "FAKE_QEMU_DELAY_S=0"
SLOW = "FAKE_QEMU_DELAY_S=0.2"
NEVER = "FAKE_QEMU_DELAY_S=3600"
DIRECTORY = "groups/zynqmp/zynqmp.machine-path"
AMD = ("amd-aarch64", "amd-microblazeel")
SERIES = ("series-x86_64", "series-aarch64")


def example(lab: Lab, name: str, qemus: tuple[str, str], *ways: str, more: str = "") -> str:
    """Copy an example with its dependency; each is run by a fake, in the way that is given.

    Returns:
        The primary's file.
    """
    files = (f"{name}.xml", f"{name}-dependency.xml")
    for file, qemu, way in zip(files, qemus, ways or (QUICK, SLOW), strict=True):
        emulator = lab.root / qemu
        capabilities = ROOT / "tests" / "natives" / "capabilities" / f"{qemu}.json"
        emulator.write_text(f'#!/bin/sh\n{way} exec {sys.executable} {FAKE} {capabilities} "$@"\n')
        emulator.chmod(0o700)
        text = (ROOT / "configs" / file).read_text().replace("guests/", f"{ROOT}/configs/guests/")
        head, _, rest = text.partition("<devices>")
        rest = rest.partition("</emulator>")[2] or rest
        text = f"{head}{more}<devices><emulator>{emulator}</emulator>{rest}"
        (lab.root / file).write_text(text)
    return str(lab.root / files[0])


def log(lab: Lab, name: str) -> Path:
    path = lab.state / "qsuper" / name / "qemu.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(0o600)
    return path


def pids(lab: Lab) -> set[int]:
    """Give the QEMUs, as the directory that they share has them."""
    return set(map(int, (lab.runtime / DIRECTORY / fake_qemu.MEMORY).read_text().split()))


def test_a_directory_of_the_group(lab: Lab) -> None:
    done = lab.run("up", "-d", example(lab, "zynqmp", AMD))

    assert (done.status, done.err) == (0, "")
    rows = lab.rows()
    assert {name: row["state"] for name, row in rows.items()} == {
        "zynqmp": "running",
        "zynqmp-dependency": "running",
    }
    assert pids(lab) == {row["pid"] for row in rows.values()}
    assert stat.S_IMODE((lab.runtime / DIRECTORY).stat().st_mode) == 0o700
    assert "waiting for connection" in log(lab, "zynqmp-dependency").read_text()
    assert "waiting for connection" not in log(lab, "zynqmp").read_text()
    for verb in ("suspend", "resume"):
        assert lab.run(verb, "zynqmp").status == 0
    saved = lab.run("save", "zynqmp", str(lab.root / "saved"))
    assert "shares with others by itself would not be saved" in saved.error
    assert set(lab.states().values()) == {"running"}
    assert lab.run("destroy", "zynqmp").status == 0


def test_two_groups_of_one_kind_at_a_time(lab: Lab) -> None:
    """Each has a directory of its own, whatever it is called."""
    first = Path(example(lab, "zynqmp", AMD))
    for name in ("zynqmp.xml", "zynqmp-dependency.xml"):
        text = (lab.root / name).read_text().replace("zynqmp<", "other<")
        text = text.replace("zynqmp-dependency", "other-dependency")
        (lab.root / name.replace("zynqmp", "other")).write_text(text)
    ups = [lab.start("up", "-d", str(first.with_stem(stem))) for stem in ("zynqmp", "other")]
    assert [lab.finish(up).err for up in ups] == ["", ""]
    assert set(lab.states().values()) == {"running"}
    assert len(pids(lab)) == len(ups)
    assert lab.run("destroy", "zynqmp", "other").status == 0


def test_one_ends_and_so_do_all(lab: Lab) -> None:
    """A QEMU ends when the other hangs up; neither is started again by itself."""
    restart = "<on_crash>restart</on_crash>"
    done = lab.run("up", "-d", example(lab, "zynqmp", AMD, more=restart))
    assert done.status == 0
    assert "QEMUs that meet start only together" in done.err
    both, supervisor = pids(lab), lab.supervisor("zynqmp")
    kill(lab.rows()["zynqmp-dependency"]["pid"])
    assert all(map(ends, (*both, supervisor)))
    assert lab.rows() == {}


def test_prune_after_a_power_cut(lab: Lab) -> None:
    assert lab.run("up", "-d", example(lab, "zynqmp", AMD)).status == 0
    both = pids(lab)
    kill(lab.supervisor("zynqmp"))
    assert pids(lab) == both
    for pid in both:
        kill(pid)
    done = lab.run("prune")
    assert done.status == 0
    assert not (lab.runtime / DIRECTORY).exists()


def test_a_successor_removes_it(lab: Lab) -> None:
    assert lab.run("up", "-d", example(lab, "zynqmp", AMD)).status == 0
    kill(lab.supervisor("zynqmp"))
    assert (lab.runtime / DIRECTORY).is_dir()
    assert lab.run("destroy", "zynqmp").status == 0


def waiting(lab: Lab, *options: str) -> "subprocess.Popen[str]":
    """Start a group whose first QEMU keeps the other waiting."""
    up = lab.start("up", *options, example(lab, "zynqmp", AMD, QUICK, NEVER))
    lab.wait_text(log(lab, "zynqmp-dependency"), "starting: ")
    return up


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGQUIT])
def test_a_signal_while_one_waits_for_the_other(lab: Lab, number: signal.Signals) -> None:
    up = waiting(lab)
    up.send_signal(number)
    assert lab.finish(up).status == 128 + number


def test_the_supervisor_dies_while_one_waits_for_the_other(lab: Lab) -> None:
    """What had been started is rolled back."""
    waiting(lab, "-d")
    kill(lab.supervisor("zynqmp"))
    assert (lab.runtime / DIRECTORY).is_dir()
    done = lab.run("adopt", "zynqmp")
    assert "the start was rolled back" in done.err + done.out


def test_it_takes_too_long(lab: Lab) -> None:
    done = lab.run("up", "-d", "--timeout", "0.5", example(lab, "zynqmp", AMD, QUICK, NEVER))
    assert done.status == 75
    assert done.error == (
        "zynqmp-dependency: QEMU neither listens for the others nor answers within 0.5 s"
    )


def test_the_first_one_fails(lab: Lab) -> None:
    """What it said is told, and nothing of the one that would have waited for it."""
    broken = 'case "$*" in *machine-path*) echo no such dtb >&2; exit 3;; esac;'
    done = lab.run("up", "-d", example(lab, "zynqmp", AMD, QUICK, broken))
    assert done.status == 1
    assert done.error == "zynqmp-dependency: QEMU did not start: no such dtb"


def with_a_directory(lab: Lab, path: Path) -> str:
    """Let the users' own words name the directory."""
    given = "".join(f"<qemu:arg value='{word}'/>" for word in ("-machine-path", path))
    primary = example(lab, "zynqmp", AMD)
    for file in lab.root.glob("*.xml"):
        text = file.read_text().replace("<q:machine-path name='zynqmp'/>", "")
        file.write_text(text.replace("<qemu:commandline>", f"<qemu:commandline>{given}"))
    return primary


def test_a_directory_of_the_users(lab: Lab) -> None:
    mine = lab.root / "mine"
    done = lab.run("up", "-d", with_a_directory(lab, mine))
    assert done.status == 1
    assert done.error == f"zynqmp-dependency: -machine-path {mine}: no such directory"
    mine.mkdir()
    assert lab.run("up", "-d", with_a_directory(lab, mine)).status == 0
    assert {each.name for each in mine.iterdir()} == {fake_qemu.MEMORY, fake_qemu.PORT}
    assert lab.run("destroy", "zynqmp").status == 0
    assert mine.is_dir()


def test_the_master_listens_before_a_slave_looks(lab: Lab) -> None:
    """It is the primary, and comes first; its slave looks once."""
    primary = example(lab, "amp-boot", SERIES, SLOW, QUICK)
    done = lab.run("up", "-d", primary)
    assert (done.status, done.err) == (0, "")
    assert set(lab.states().values()) == {"running"}
    assert (lab.runtime / "groups" / "amp-boot" / "ram.multi").is_socket()
    assert lab.run("destroy", "amp-boot").status == 0
