"""Ask QEMU binaries over QMP what they can do.

A binary is started without a machine, once with KVM where that may work and once with TCG. All
asked at one time start together, since starting is most of what it costs, and the conversations
go on side by side without threads: QEMU works while we read another's answers.

Nothing of this is loaded while the cache of `host.probe` answers: `subprocess` and `ctypes` cost
more than a cached load.
"""

import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess  # noqa: TID251 - runs before there is a loop, and ends what it starts
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self

from qsuper import __version__
from qsuper.caps import LIBVIRT_ARCH, Json, Transcript
from qsuper.errors import EmulatorError, TimedOutError

DEADLINE_S: Final = 20.0
"""Time that all emulators asked together may take."""

_REPLY_BYTES_MAX: Final = 32 << 20  # a QEMU 10 says 0.5 MB in all
_PR_SET_PDEATHSIG: Final = 1

Command = tuple[str, Mapping[str, Json] | None]
Row = dict[str, Json]

_FIRST: Final = (
    "query-version",
    "query-target",
    "query-qmp-schema",
    "query-kvm",
    "qom-list-types",
    "query-machines",
    "query-tpm-models",
    "query-tpm-types",
    "query-command-line-options",
    "query-migrate-capabilities",
)
# Not every target has them; its schema says.
_OPTIONAL: Final = (
    "query-cpu-definitions",
    "query-gic-capabilities",
    "query-sev-capabilities",
    "query-sgx-capabilities",
)
_DEVICES: Final = (
    "ICH9-LPC",
    "PIIX4_PM",
    "VGA",
    "ide-hd",
    "intel-iommu",
    "kvm-pit",
    "mch",
    "nvdimm",
    "pcie-root-port",
    "qxl",
    "scsi-hd",
    "spapr-pci-host-bridge",
    "usb-host",
    "usb-redir",
    "usb-storage",
    "vfio-pci",
    "vhost-user-fs-device",
    "virtio-balloon-ccw",
    "virtio-balloon-device",
    "virtio-balloon-pci",
    "virtio-blk-ccw",
    "virtio-blk-pci",
    "virtio-gpu-ccw",
    "virtio-gpu-device",
    "virtio-gpu-pci",
    "virtio-iommu-pci",
    "virtio-mem-pci",
    "virtio-net-ccw",
    "virtio-net-pci",
    "virtio-scsi-ccw",
    "virtio-scsi-pci",
    "vmware-svga",
)
_OBJECTS: Final = (
    "max-arm-cpu",
    "max-i386-cpu",
    "max-x86_64-cpu",
    "memory-backend-file",
    "memory-backend-memfd",
    "none-machine",
)
_MACHINES: Final = ("pseries", "virt")  # by their aliases
_PC_MACHINE: Final = "generic-pc-machine"  # abstract: not among the listed types

_STATIC: Final = {"type": "static"}
_FULL: Final = {"type": "full"}
_UNMIGRATABLE: Final = {"migratable": False}
_X86_EXPANSIONS: Final = (
    (_STATIC, None),
    (_STATIC, _UNMIGRATABLE),
)
_EXPANSIONS: Final[Mapping[str, Sequence[tuple[Mapping[str, str], Json]]]] = {
    "x86_64": _X86_EXPANSIONS,
    "i386": _X86_EXPANSIONS,
    "arm": ((_FULL, None),),  # Arm knows no static ones
    "aarch64": ((_FULL, None),),
    "s390x": ((_STATIC, None), (_FULL, None)),
}
_KVM_EXPANSIONS: Final[Mapping[str, Sequence[tuple[Mapping[str, str], Json]]]] = {
    "x86_64": ((_FULL, _UNMIGRATABLE | {"hv-passthrough": True}),),
}


def transcripts(
    emulators: Mapping[str, bool], *, deadline_s: float = DEADLINE_S
) -> dict[str, Transcript]:
    """Ask each emulator everything that `Caps` is made of.

    Args:
        emulators: Paths, and whether to try KVM with it.
        deadline_s: How long all may take together.

    Returns:
        A capabilities file's content for each.

    Raises:
        EmulatorError: one cannot be started, ends at once, or does not speak QMP.
        TimedOutError: one does not answer in time.
    """
    deadline = time.monotonic() + deadline_s
    with contextlib.ExitStack() as stack:
        probes = {
            emulator: _Probe(
                *(
                    stack.enter_context(_Conversation(emulator, accel, deadline))
                    for accel in (("kvm:tcg", "tcg") if tries_kvm else ("tcg",))
                )
            )
            for emulator, tries_kvm in emulators.items()
        }
        for probe in probes.values():
            probe.greet()
        for emulator, probe in probes.items():
            with _of_qemu(emulator):
                probe.go_on()
        result: dict[str, Transcript] = {}
        for emulator, probe in probes.items():
            with _of_qemu(emulator):
                result[emulator] = probe.result(emulator)
        return result


@contextlib.contextmanager
def _of_qemu(emulator: str) -> Generator[None, None, None]:
    """Take answers of another shape than QEMU's for what they are."""
    try:
        yield
    except (KeyError, TypeError, AttributeError, StopIteration) as error:
        raise EmulatorError(f"{emulator}: does not answer as QEMU does: {error!r}") from error


class _Probe:
    """The questions to one emulator: some to all, the rest by what those were answered."""

    def __init__(self, first: "_Conversation", second: "_Conversation | None" = None) -> None:
        self._first = first
        self._second = second
        self._rows: list[Row] = []
        self._target = ""
        self._accel = "tcg"

    def greet(self) -> None:
        self._first.ask(("qmp_capabilities", None), *((name, None) for name in _FIRST))
        if self._second:
            self._second.ask(("qmp_capabilities", None))

    def go_on(self) -> None:
        self._rows = self._first.answers()
        replies: dict[str, Json] = {row["execute"]: row.get("return", {}) for row in self._rows}
        if replies["query-kvm"].get("enabled"):
            self._accel = "kvm"
        else:
            self._second = None
        self._target = str(replies["query-target"].get("arch", ""))
        commands = {
            row["name"] for row in replies["query-qmp-schema"] if row["meta-type"] == "command"
        }
        self._first.ask(
            *self._properties(replies),
            *((name, None) for name in _OPTIONAL if name in commands),
            *self._expansions(self._accel, commands),
        )
        if self._second:
            cpus = ["query-cpu-definitions"] if "query-cpu-definitions" in commands else []
            self._second.ask(
                *((name, None) for name in cpus),
                *self._expansions("tcg", commands),
                ("query-machines", None),
            )

    def result(self, emulator: str) -> Transcript:
        self._rows += self._first.answers()
        version = next(row for row in self._rows if row["execute"] == "query-version")["return"]
        numbers = version["qemu"]
        result: dict[str, Json] = {
            "source": f"qsuper {__version__} from {emulator} {version['package']}".rstrip(),
            "binary_arch": LIBVIRT_ARCH.get(self._target, self._target),
            "qemu_version": f"{numbers['major']}.{numbers['minor']}.{numbers['micro']}",
            "first_pass_accel": self._accel,
            "commands": self._rows,
        }
        if self._second:
            result["commands_tcg"] = self._second.answers()
        return result

    def _properties(self, replies: Mapping[str, Json]) -> Iterator[Command]:
        types = {row["name"] for row in replies["qom-list-types"]}
        machines = [
            f"{row['name']}-machine"
            for row in replies["query-machines"]
            if row["name"] in _MACHINES or row.get("alias") in _MACHINES
        ]
        if self._target in ("x86_64", "i386"):
            machines.append(_PC_MACHINE)
        for name in _DEVICES:
            if name in types:
                yield "device-list-properties", {"typename": name}
        for name in (*_OBJECTS, *machines):
            if name in types or name == _PC_MACHINE:
                yield "qom-list-properties", {"typename": name}

    def _expansions(self, accel: str, commands: set[str]) -> Iterator[Command]:
        if "query-cpu-model-expansion" not in commands:
            return
        wanted = list(_EXPANSIONS.get(self._target, ((_STATIC, None),)))
        if accel == "kvm":
            wanted += _KVM_EXPANSIONS.get(self._target, ())
        name = "host" if accel == "kvm" else "max"
        for kind, props in wanted:
            model = {"name": name} | ({"props": props} if props else {})
            yield "query-cpu-model-expansion", {**kind, "model": model}


class _Conversation:
    """One QEMU without a machine, and its monitor; a context manager that ends the process."""

    def __init__(self, emulator: str, accel: str, deadline: float) -> None:
        self._emulator = emulator
        self._deadline = deadline
        self._asked: list[Command] = []
        self._unparsed = bytearray()
        self._stderr = os.memfd_create("stderr")
        ours, theirs = socket.socketpair()
        self._socket = ours
        try:
            with theirs:
                self._process = _spawn(
                    _argv(emulator, accel, theirs.fileno()), theirs, self._stderr
                )
        except OSError as error:
            self._close()
            raise EmulatorError(f"{emulator}: cannot be started: {error.strerror}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()  # it has no guest and no files: nothing to put in order
        self._process.wait()
        self._close()

    def ask(self, *commands: Command) -> None:
        """Send all *commands* at once: a few kilobytes, which the socket's buffer holds."""
        self._asked += commands
        lines = (
            json.dumps({"execute": name} | ({"arguments": arguments} if arguments else {}))
            for name, arguments in commands
        )
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # `answers` tells why
            self._socket.sendall("\n".join(lines).encode() + b"\n")

    def answers(self) -> list[Row]:
        """Wait for the answers to everything that was asked since the last call."""
        rows: list[Row] = []
        asked = iter(self._asked)
        self._asked = []
        for (name, arguments), reply in zip(asked, self._replies(), strict=False):
            row: Row = {"execute": name}
            if arguments:
                row["arguments"] = arguments
            row |= {key: reply[key] for key in ("return", "error") if key in reply}
            rows.append(row)
        return rows

    def _replies(self) -> Iterator[Mapping[str, Json]]:
        for line in self._lines():
            try:
                reply = dict(json.loads(line))
            except (ValueError, TypeError, RecursionError):
                words = line[:80].decode(errors="replace")
                raise EmulatorError(f"{self._emulator}: no QMP: {words!r}") from None
            if "return" in reply or "error" in reply:  # neither the greeting nor an event
                yield reply

    def _lines(self) -> Iterator[bytes]:
        while True:
            end = self._unparsed.find(b"\n")
            while end < 0:
                start = len(self._unparsed)
                self._unparsed += self._receive()
                end = self._unparsed.find(b"\n", start)
            line = bytes(self._unparsed[:end])
            del self._unparsed[: end + 1]
            if line.strip():
                yield line

    def _receive(self) -> bytes:
        if len(self._unparsed) > _REPLY_BYTES_MAX:
            raise EmulatorError(f"{self._emulator}: no QMP: an endless line")
        remaining_s = self._deadline - time.monotonic()
        try:
            if remaining_s <= 0:
                raise TimeoutError  # noqa: TRY301 - settimeout(0) would mean another thing
            self._socket.settimeout(remaining_s)
            if data := self._socket.recv(1 << 18):
                return data
        except TimeoutError:
            raise TimedOutError(f"{self._emulator}: does not answer over QMP") from None
        except ConnectionResetError:
            pass
        raise EmulatorError(f"{self._emulator}: {self._ending()}")

    def _ending(self) -> str:
        try:
            status = self._process.wait(max(0.0, self._deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            return "closed its monitor"
        said = os.pread(self._stderr, 4096, 0).decode(errors="replace")
        how = f"signal {-status}" if status < 0 else f"status {status}"
        quote = "; ".join(line.strip() for line in said.splitlines() if line.strip())
        return f"ended with {how} when asked what it can do" + (f": {quote}" if quote else "")

    def _close(self) -> None:
        self._socket.close()
        os.close(self._stderr)


def _argv(emulator: str, accel: str, fd: int) -> list[str]:
    return [
        emulator,
        *("-S", "-no-user-config", "-nodefaults", "-nographic"),
        *("-machine", f"none,accel={accel}"),
        *("-chardev", f"socket,id=q,fd={fd}"),
        *("-mon", "chardev=q,mode=control"),
    ]


def _spawn(argv: Sequence[str], monitor: socket.socket, stderr: int) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        argv,
        pass_fds=(monitor.fileno(),),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=stderr,
        env=os.environ | {"LC_ALL": "C"},
        process_group=0,  # Ctrl-C reaches us, and we end it
        preexec_fn=_die_with_us(),  # noqa: PLW1509 - we have one thread
    )


def _die_with_us() -> Callable[[], None]:
    """Give what a child runs so that it ends with us, however we end: QEMU stays otherwise."""
    prctl: Callable[..., Any] = ctypes.CDLL(None).prctl
    us = os.getpid()

    def run() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != us:
            os._exit(1)

    return run
