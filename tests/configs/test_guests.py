"""The guests in configs/guests are what their sources give, and do what their README says."""

import json
import shutil
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
import trio

ROOT = Path(__file__).parents[2]
GUESTS = ROOT / "configs" / "guests"
ASSEMBLERS = ["x86_64-linux-gnu", "aarch64-linux-gnu", "arm-linux-gnueabihf", "riscv64-linux-gnu"]
MACHINES = {
    "x86_64": ["-M", "pc"],
    "aarch64": ["-M", "virt,acpi=off", "-cpu", "cortex-a53"],
    "arm": ["-M", "virt"],
    "riscv64": ["-M", "virt"],
}
PATIENCE_S = 30


class Guest:
    """A guest in a QEMU of its own: its serial port and its monitor."""

    def __init__(
        self, process: trio.Process, serial: trio.SocketStream, qmp: trio.SocketStream
    ) -> None:
        self.process = process
        self._serial = Lines(serial)
        self._qmp = Lines(qmp)
        self.type = serial.send_all
        self._send = qmp.send_all
        self._events: list[str] = []

    async def line(self) -> str:
        return await self._serial.line()

    async def ask(self, command: str) -> None:
        """Perform a QMP command without arguments."""
        await self._send(json.dumps({"execute": command}).encode())
        while "return" not in (message := await self._message()):
            assert "error" not in message, message

    async def event(self, name: str) -> None:
        """Wait for an event, unless it has come already."""
        while name not in self._events:
            await self._message()

    def cpu_s(self) -> float:
        """Give how much CPU time its QEMU has used."""
        times = psutil.Process(self.process.pid).cpu_times()
        return times.user + times.system

    async def ticks(self, seconds: float) -> list[str]:
        """Give the lines of so long a time."""
        lines: list[str] = []
        with trio.move_on_after(seconds):
            while True:
                lines.append(await self.line())
        return lines

    async def _message(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(await self._qmp.line())
        if "event" in message:
            self._events.append(message["event"])
        return message


class Lines:
    """A stream, line by line."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._text = b""

    async def line(self) -> str:
        while b"\n" not in self._text:
            more = await self._stream.receive_some()
            assert more, f"the stream ended after {self._text!r}"
            self._text += more
        line, _, self._text = self._text.partition(b"\n")
        return line.decode().rstrip("\r")


@asynccontextmanager
async def booted(name: str, *options: str) -> AsyncGenerator[Guest]:
    """Boot guest *name*; its QEMU ends with the block."""
    arch = name.rpartition("-")[2]
    emulator = f"qemu-system-{arch}"
    if not shutil.which(emulator):
        pytest.skip(f"no {emulator} here")
    image = GUESTS / f"{name}.img"
    disk = f"file={image},format=raw,if=floppy,readonly=on"
    place = ["-drive", disk] if arch == "x86_64" else ["-bios", str(image)]
    argv = [emulator, "-accel", "tcg", "-m", "64", "-nodefaults", "-display", "none", "-no-reboot"]
    streams: dict[str, trio.SocketStream] = {}
    inherited: list[trio.socket.SocketType] = []
    for chardev in "serial", "qmp":
        ours, theirs = trio.socket.socketpair()
        streams[chardev] = trio.SocketStream(ours)
        inherited.append(theirs)
        argv += ["-chardev", f"socket,id={chardev},fd={theirs.fileno()}"]
    argv += ["-serial", "chardev:serial", "-mon", "chardev=qmp,mode=control"]
    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            run = partial(
                trio.run_process, pass_fds=[end.fileno() for end in inherited], check=False
            )
            command = [*argv, *MACHINES[arch], *place, *options]
            process: trio.Process = await nursery.start(run, command)
            for end in inherited:
                end.close()
            async with streams["serial"], streams["qmp"]:
                guest = Guest(process, streams["serial"], streams["qmp"])
                await guest.ask("qmp_capabilities")
                yield guest
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("tools", ASSEMBLERS)
def test_assembler_is_known_to_the_build_script(tools: str) -> None:
    assert f"build {tools} " in (ROOT / "scripts" / "build-guests").read_text()


def test_images_are_what_the_sources_give(tmp_path: Path) -> None:
    missing = [tools for tools in ASSEMBLERS if not shutil.which(f"{tools}-as")]
    if missing:
        pytest.skip(f"no assembler for {', '.join(missing)} here")
    subprocess.run([ROOT / "scripts" / "build-guests", tmp_path], check=True)
    built = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    committed = {path.name: path.read_bytes() for path in GUESTS.glob("*.img")}
    assert built.keys() == committed.keys()
    assert [name for name in built if built[name] != committed[name]] == []


@pytest.mark.qemu
@pytest.mark.parametrize("arch", MACHINES)
async def test_ticks_stop_while_the_guest_is_paused(arch: str) -> None:
    async with booted(f"tick-{arch}") as guest:
        assert [await guest.line() for _ in range(3)] == ["tick 0", "tick 1", "tick 2"]
        await guest.ask("stop")
        late = await guest.ticks(0.4)  # the time of ten; what was on its way still comes
        assert len(late) < 10
        await guest.ask("cont")
        assert await guest.line() == f"tick {3 + len(late)}"


@pytest.mark.qemu
@pytest.mark.parametrize("arch", ["x86_64", "aarch64", "arm"])
async def test_power_button(arch: str) -> None:
    async with booted(f"powerbutton-{arch}") as guest:
        assert await guest.line() == "tick 0"
        await guest.ask("system_powerdown")
        while (line := await guest.line()).startswith("tick "):
            pass
        assert line == "power button"
        await guest.event("SHUTDOWN")
        assert await guest.process.wait() == 0


@pytest.mark.qemu
@pytest.mark.parametrize("machine", ["pc", "q35"])
@pytest.mark.parametrize(
    ("name", "line", "event"),
    [
        ("poweroff", "powering off", "SHUTDOWN"),
        ("reboot", "rebooting", "SHUTDOWN"),
        ("panic", "panicking", "GUEST_PANICKED"),
    ],
)
async def test_guest_that_ends_itself(machine: str, name: str, line: str, event: str) -> None:
    async with booted(f"{name}-x86_64", "-M", machine, "-device", "pvpanic") as guest:
        assert await guest.line() == line
        await guest.event(event)
        assert await guest.process.wait() == 0


@pytest.mark.qemu
async def test_exit_status() -> None:
    device = "isa-debug-exit,iobase=0xf4,iosize=0x04"
    async with booted("exit-x86_64", "-device", device) as guest:
        assert await guest.line() == "exit 43"
        assert await guest.process.wait() == 43


@pytest.mark.qemu
async def test_echo() -> None:
    async with booted("echo-x86_64") as guest:
        assert await guest.line() == "ready"
        await guest.type(b"Hello, z{@\n")
        assert await guest.line() == "HELLO, Z{@"


@pytest.mark.qemu
async def test_busy_computes_without_end() -> None:
    async with booted("busy-x86_64") as guest:
        assert await guest.line() == "busy"
        before_s = guest.cpu_s()
        assert await guest.ticks(0.2) == []
        assert guest.cpu_s() > before_s


@pytest.mark.qemu
async def test_flood_loses_no_line() -> None:
    async with booted("flood-x86_64") as guest:
        for number in range(3000):
            assert await guest.line() == f"flood {number}"
