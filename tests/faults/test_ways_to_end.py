"""Timeouts, `--paused`, `--wait`, `--exit-from`, and primaries that share a dependency."""

import pytest

from tests.support.lab import Lab

pytestmark = pytest.mark.qemu

HANGS = 'case "$*" in *guest=*) exec sleep 1000;; esac\nexec qemu-system-x86_64 "$@"'
DEBUG_EXIT = "-device isa-debug-exit,iobase=0xf4,iosize=0x04"

both = pytest.mark.parametrize("words", [["-d"], []], ids=["detached", "foreground"])


@both
def test_start_that_takes_too_long(lab: Lab, words: list[str]) -> None:
    """One member's monitor never answers: it is named, all are ended."""
    lab.domain("b", devices=lab.emulator(HANGS))

    done = lab.run("up", *words, "--timeout", "1.5", lab.domain("a", "b"))

    assert (done.status, done.out) == (75, "")
    assert done.error == "b: QEMU's monitor gave no answer within 1.5 s"


@both
@pytest.mark.parametrize("timeout", ["-1", "x", "nan", "inf"])
def test_timeout_that_is_none(lab: Lab, words: list[str], timeout: str) -> None:
    done = lab.run("up", *words, "--timeout", timeout, lab.domain("a"))

    assert (done.status, done.out) == (2, "")
    assert "--timeout" in done.error


def test_wait_ends_with_the_guests(lab: Lab) -> None:
    """When the primary has powered off, its dependency ends; the status is 0."""
    lab.domain("b")

    assert lab.run("up", "--wait", lab.domain("a", "b", guest="poweroff")) == (0, "", "")


def test_wait_times_out(lab: Lab) -> None:
    """A guest that knows its power button powers off: nothing more to say than the timeout."""
    file = lab.domain("a", guest="tick")

    done = lab.run("up", "--wait", "--timeout", "2", "--grace", "0.1", file)

    assert (done.status, done.out) == (75, "")
    assert done.err.splitlines() == [
        "qsuper: shutting down, within 0.1 s (again: end it now)",
        "qsuper: ended without its consent: a",
        "qsuper: not ended within 2 s",
    ]


def test_a_crash_is_told_by_the_status(lab: Lab) -> None:
    """QEMU itself fails in mid-run: status 1, and its last words are in the log."""
    file = lab.domain("a", guest="exit", arguments=DEBUG_EXIT)

    done = lab.run("up", "--wait", file)

    assert (done.status, done.out) == (1, "")
    assert "EMULATOR_ENDED" in (lab.state / "qsuper" / "a" / "events.jsonl").read_text()


def test_exit_from(lab: Lab) -> None:
    """The status is that of the dependency named; its primary ends with it."""
    lab.domain("b", guest="exit", arguments=DEBUG_EXIT)

    assert lab.run("up", "--wait", "--exit-from", "b", lab.domain("a", "b")) == (43, "", "")


def test_exit_from_nobody(lab: Lab) -> None:
    done = lab.run("up", "--exit-from", "z", lab.domain("a"))

    assert (done.status, done.out) == (2, "")
    assert done.error == "no domain 'z' in the group"


def test_paused(lab: Lab) -> None:
    """Nobody runs; a shutdown has nobody to obey it, and ends all at once."""
    lab.domain("b")
    assert lab.run("up", "-d", "--paused", lab.domain("a", "b")).status == 0
    assert set(lab.states().values()) <= {"paused", "prelaunch"}
    assert not (lab.state / "qsuper" / "a" / "serial0.log").read_text()

    assert lab.run("down", "a", "--timeout", "20").status == 0
    assert lab.rows() == {}


def test_primaries_that_share_a_dependency(lab: Lab) -> None:
    """It exists once, is spared as long as one of them runs, and ends with the last."""
    lab.domain("b")
    files = [lab.domain("a1", "b"), lab.domain("a2", "b")]
    assert lab.run("up", "-d", *files) == (
        0,
        "Domain 'a1' started (with b)\nDomain 'a2' started (with b)\n",
        "",
    )
    assert len(lab.qemus()) == 3

    assert lab.run("suspend", "a1").status == 0
    assert lab.states() == {"b": "paused", "a1": "paused", "a2": "running"}
    assert lab.run("resume", "a2").status == 0
    assert lab.states() == {"b": "running", "a1": "paused", "a2": "running"}
    done = lab.run("destroy", "a1")
    assert done.error == "spared, since another primary needs it: b"
    assert lab.states() == {"b": "running", "a2": "running"}
    again = lab.run("up", "-d", files[0])
    assert again.status == 1
    assert again.error.startswith("group 'a1' runs already under the supervisor with pid ")
    assert lab.run("destroy", "a2").status == 0
