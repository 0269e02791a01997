"""Bare QEMUs with a doorbell, for tests of the fabric without a supervisor."""

import contextlib
import mmap
import os
import select
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Final

import pytest

from qsuper.fabric.ivshmem import SUPERVISOR, Server
from qsuper.fabric.memory import Shares

GUESTS: Final = Path(__file__).parents[2] / "configs" / "guests"
PATIENCE_S: Final = 30.0
SIZE: Final = 1 << 20
VECTORS: Final = 4
MACHINES: Final = {
    "x86_64": ["-M", "q35", "-kernel", str(GUESTS / "mailbox-x86_64.img")],
    "aarch64": [
        *("-M", "virt,gic-version=2,acpi=off", "-cpu", "cortex-a53"),
        *("-bios", str(GUESTS / "mailbox-aarch64.img")),
    ],
}
# Of the guests' protocol, see configs/guests/README.md.
ANSWER, READY, TICK, RESULT, REQUEST = 16, 32, 36, 40, 44


class Mailbox:
    """The memory as the guests use it."""

    def __init__(self, memory: mmap.mmap) -> None:
        self.memory = memory

    def get(self, peer: int, at: int) -> int:
        value: int = struct.unpack_from("<I", self.memory, peer * 64 + at)[0]
        return value

    def set(self, peer: int, at: int, value: int) -> None:
        struct.pack_into("<I", self.memory, peer * 64 + at, value)


def doorbell(peer: int, vector: int) -> int:
    return peer << 16 | vector


class Machine:
    """A QEMU with the mailbox guest; its serial port is a pipe of ours."""

    def __init__(self, arch: str, far: socket.socket, *words: str) -> None:
        self._serial, serial_end = socket.socketpair()
        self._text = b""
        with far, serial_end:
            argv = [
                f"qemu-system-{arch}",
                *("-accel", "tcg", "-m", "32", "-nodefaults", "-display", "none"),
                *MACHINES[arch],
                *("-chardev", f"socket,id=serial,fd={serial_end.fileno()}"),
                *("-serial", "chardev:serial"),
                *("-chardev", f"socket,id=doorbell,fd={far.fileno()}"),
                *("-device", f"ivshmem-doorbell,chardev=doorbell,vectors={VECTORS}"),
                *words,
            ]
            fds = [far.fileno(), serial_end.fileno()]
            self.process = subprocess.Popen(argv, pass_fds=fds, stdin=subprocess.DEVNULL)

    def wait(self, text: str) -> None:
        """Wait until the guest has said *text*."""
        while text not in self._text.decode(errors="replace"):
            readable(self._serial.fileno(), f"{text!r}, but {self._text!r}")
            chunk = self._serial.recv(4096)
            assert chunk, f"QEMU ended after {self._text!r}"
            self._text += chunk

    def drain(self) -> None:
        """Read what the guest has said: one whose serial port is full stands still."""
        with contextlib.suppress(BlockingIOError):
            while chunk := self._serial.recv(4096, socket.MSG_DONTWAIT):
                self._text += chunk

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self._serial.close()


class Bench:
    """A server, its memory, and machines that are killed at the end."""

    def __init__(self, *names: str) -> None:
        self._shares = Shares()
        memory = self._shares.memory("mailbox", SIZE)
        self.box = Mailbox(mmap.mmap(memory, SIZE))
        members: Mapping[str, tuple[int, int]] = {
            name: (number, VECTORS) for number, name in enumerate(names, start=2)
        }
        self.server = Server("mailbox", memory, members)
        self.machines: list[Machine] = []

    def start(self, name: str, arch: str, *words: str, private: bool = False) -> Machine:
        if not shutil.which(f"qemu-system-{arch}"):
            pytest.skip(f"no qemu-system-{arch} here")
        machine = Machine(arch, self.server.attach(name, private=private), *words)
        self.machines.append(machine)
        return machine

    def rung(self, vector: int) -> None:
        """Wait until the supervisor's *vector* is rung."""
        descriptor = self.server.own.eventfds[vector]
        readable(descriptor, f"vector {vector}")
        os.eventfd_read(descriptor)

    def close(self) -> None:
        for machine in self.machines:
            machine.kill()
        self.server.close()
        self._shares.close()
        self.box.memory.close()


@contextlib.contextmanager
def bench(*names: str) -> Generator[Bench]:
    """Give a server whose members are *names*, numbered from 2."""
    made = Bench(*names)
    try:
        yield made
    finally:
        made.close()


def readable(descriptor: int, what: str) -> None:
    ready, _, _ = select.select([descriptor], [], [], PATIENCE_S)
    assert ready, f"no {what} within {PATIENCE_S:g} s"


def clock_s() -> float:
    return time.perf_counter()


__all__ = ["SUPERVISOR", "Bench", "Machine", "Mailbox", "bench", "doorbell"]
