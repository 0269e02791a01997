"""Doorbells between real guests, and between guests and us."""

import os

import pytest

from qsuper.errors import QsuperError
from tests.support.doorbells import ANSWER, SUPERVISOR, TICK, bench, doorbell

pytestmark = pytest.mark.qemu

A, B = 2, 3


@pytest.mark.parametrize("arch", ["x86_64", "aarch64"])
def test_doorbells_both_ways(arch: str) -> None:
    """A rings B 25 times a second; B answers."""
    with bench("a", "b") as it:
        b = it.start("b", arch)
        b.wait(f"mailbox {B}\n")
        a = it.start("a", "x86_64")
        a.wait(f"mailbox {A}\n")
        b.wait("signal 3\n")
        a.wait("signal 3\n")


@pytest.mark.parametrize("arch", ["x86_64", "aarch64"])
def test_us_to_guest_and_back(arch: str) -> None:
    with bench("a") as it:
        machine = it.start("a", arch)
        machine.wait(f"mailbox {A}\n")
        it.box.set(A, TICK, 0)
        it.box.set(A, ANSWER, doorbell(SUPERVISOR, 3))
        it.box.set(A, ANSWER + 4, doorbell(SUPERVISOR, 1))
        it.server.ring("a", 0)
        it.rung(3)
        machine.wait("signal 1\n")
        for _ in range(100):
            it.server.ring("a", 1)
            it.rung(1)
        assert it.box.get(A, 4) == 100


@pytest.mark.parametrize("arch", ["x86_64", "aarch64"])
def test_private_numbering(arch: str) -> None:
    """The guest sees itself as 0, and us where we are."""
    with bench("a", "b") as it:
        machine = it.start("b", arch, private=True)
        machine.wait("mailbox 0\n")
        it.box.set(0, ANSWER + 4, doorbell(SUPERVISOR, 2))
        it.server.ring("b", 1)
        it.rung(2)


def test_who_is_replaced_leaves_number_and_eventfds() -> None:
    """B is killed and replaced ten times while A rings it; A never notices."""
    with bench("a", "b") as it:
        a = it.start("a", "x86_64")
        a.wait(f"mailbox {A}\n")
        before = len(os.listdir("/proc/self/fd"))
        for round_ in range(10):
            b = it.start("b", "x86_64")
            b.wait(f"mailbox {B}\n")
            answered = it.box.get(A, 0)
            b.wait("signal ")
            it.box.set(B, 0, 0)
            it.box.set(B, ANSWER + 4, doorbell(SUPERVISOR, 1))
            it.server.ring("b", 1)
            it.rung(1)
            a.drain()
            b.kill()
            it.machines.remove(b)
            assert it.box.get(A, 0) >= answered, round_
            assert a.process.poll() is None
        assert len(os.listdir("/proc/self/fd")) == before + 1  # our end of the last conversation


def test_signals_to_a_predecessor_are_dropped() -> None:
    with bench("a") as it:
        it.server.ring("a", 0)
        machine = it.start("a", "aarch64")
        machine.wait(f"mailbox {A}\n")
        it.box.set(A, ANSWER + 4, doorbell(SUPERVISOR, 1))
        it.server.ring("a", 1)
        it.rung(1)
        assert it.box.get(A, 0) == 0


def test_fewer_vectors_than_others_are_no_complaint(capfd: pytest.CaptureFixture[str]) -> None:
    with bench("a", "b") as it:
        machine = it.start("a", "x86_64")
        machine.wait("mailbox 2\n")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("vector", [-1, 4])
def test_vectors_out_of_range(vector: int) -> None:
    with bench("a") as it, pytest.raises(QsuperError, match=r"no vector .*0 to 3"):
        it.server.ring("a", vector)


def test_a_domain_without_doorbell() -> None:
    with bench("a") as it, pytest.raises(QsuperError, match="'c' has no doorbell"):
        it.server.ring("c", 0)
