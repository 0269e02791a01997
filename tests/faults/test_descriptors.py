"""A process that may have few descriptors: at every point at which they can run out."""

import pytest

from tests.support.lab import Lab

pytestmark = pytest.mark.qemu


def limited(number: int) -> list[str]:
    return ["sh", "-c", f'ulimit -n {number}; exec "$@"', "sh"]


@pytest.mark.parametrize("words", [["-d"], ["--wait"]], ids=["detached", "foreground"])
def test_every_point_at_which_descriptors_run_out(lab: Lab, words: list[str]) -> None:
    """With some more each time, until there are enough: an error, and nothing left."""
    file = lab.domain("a", guest="poweroff")
    statuses: list[int] = []
    for number in range(8, 44, 3):
        done = lab.run("up", *words, file, before=limited(number))
        statuses.append(done.status)
        if done.status:
            assert done.error.endswith("Too many open files") or done.error == (
                f"too few open files are allowed here: {number} of the 40 that are needed"
                " (see `ulimit -n`)"
            )
        lab.assert_nothing_left()
    assert statuses == [1] * 11 + [0]


def test_the_limit_is_raised_where_it_may_be(lab: Lab) -> None:
    low = ["sh", "-c", 'ulimit -S -n 20; exec "$@"', "sh"]

    assert lab.run("up", "-d", lab.domain("a"), before=low).status == 0

    limits = (lab.root / f"/proc/{lab.supervisor('a')}/limits").read_text()
    assert int(limits.partition("Max open files")[2].split()[0]) > 500
    assert lab.run("destroy", "a").status == 0


@pytest.mark.parametrize("verb", [["list"], ["info", "a"], ["suspend", "a"]])
def test_a_verb_without_descriptors(lab: Lab, verb: list[str]) -> None:
    assert lab.run("up", "-d", lab.domain("a")).status == 0
    for number in (8, 6):  # below, Python itself does not start
        done = lab.run(*verb, before=limited(number))
        assert done.status in (0, 1)
        assert len(done.err.splitlines()) <= 1
    assert lab.run("destroy", "a").status == 0
