"""The rows of the fabric: signals that pass the supervisor, and whole groups saved and restored."""

import json
import shutil
import statistics
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from qsuper.fabric.client import Client
from scripts.benchmark.lab import PATIENCE_S, Lab, wait
from scripts.benchmark.rows import Row

_CONFIGS: Final = Path(__file__).parents[2] / "configs"
_TRIPS: Final = 500
_SIGNALS: Final = 50
_SLOT: Final = 2 * 64  # the primary's, see configs/guests/README.md


def boot_signal(lab: Lab) -> Iterator[Row]:
    """From the doorbell that the supervisor sees to the RESUME of the member that it boots."""
    path = _example(lab, "amp-boot")
    delays: list[float] = []
    for _ in range(lab.rounds):
        lab.run([*lab.qsuper, "up", "-d", str(path)])
        delays.append(_booted_us(lab, len(delays)))
        lab.run([*lab.qsuper, "destroy", "amp-boot"])
    yield Row(
        name="boot signal seen, to RESUME",
        figure=statistics.median(delays) / 1e3,
        figure_budget=1.0,
    )


def round_trip(lab: Lab) -> Iterator[Row]:
    """From a program to a guest and back; the way back passes the supervisor."""
    lab.run([*lab.qsuper, "up", "-d", str(_example(lab, "cosim"))])
    (domain,) = lab.json("info", "cosim")["domains"]
    with Client(domain["doorbells"][0]["socket"]) as client:
        wait(lambda: struct.unpack_from("<I", client.memory, _SLOT + 32)[0], "guest")
        struct.pack_into("<I", client.memory, _SLOT + 36, 0)
        struct.pack_into("<I", client.memory, _SLOT + 16 + 4, 1 << 16 | 3)
        trips: list[float] = []
        for _ in range(_TRIPS):
            begin = time.perf_counter()
            client.ring(2, 1)
            if client.wait(PATIENCE_S) is None:
                raise RuntimeError("the guest does not answer")
            trips.append(time.perf_counter() - begin)
    lab.run([*lab.qsuper, "destroy", "cosim"])
    figure = statistics.median(trips) * 1e3
    yield Row(name="program to guest and back", figure=figure, figure_budget=0.2)


def guest_to_guest(lab: Lab) -> Iterator[Row]:
    """What the supervisor does while guests ring each other: nothing, by strace."""
    if not shutil.which("strace"):
        return
    config = lab.scratch / "config" / "qsuper"
    config.mkdir(parents=True)
    # The guests print what they hear, and of logs that may grow too long the supervisor takes care.
    (config / "config.toml").write_text('[logs]\nsize = "0 B"\n')
    lab.run([*lab.qsuper, "up", "-d", str(_example(lab, "mailbox", numbering="unique"))])
    trace = lab.scratch / "trace"
    argv = ["strace", "-f", "-qq", "-o", str(trace), "-p", str(lab.supervisor("mailbox"))]
    heard = lab.scratch / "state" / "qsuper" / "mailbox" / "serial0.log"
    wait(lambda: heard.read_text().count("signal "), "a first signal")
    with subprocess.Popen(argv) as strace:
        wait(lambda: _is_traced(lab.supervisor("mailbox")), "strace")
        before = heard.read_text().count("signal ")
        wait(lambda: heard.read_text().count("signal ") >= before + _SIGNALS, "signals")
        strace.terminate()
    calls = [line for line in trace.read_text().splitlines() if "<detached" not in line]
    lab.run([*lab.qsuper, "destroy", "mailbox"])
    (config / "config.toml").unlink()
    name = f"supervisor, {_SIGNALS} signals from guest to guest"
    yield Row(name=name, figure=len(calls), unit="calls", figure_budget=0)


def _is_traced(pid: int) -> bool:
    return "TracerPid:\t0\n" not in Path(f"/proc/{pid}/status").read_text()


def save_and_restore(lab: Lab) -> Iterator[Row]:
    """A group of two with 96 MiB."""
    path = _example(lab, "amp-boot")
    directory = lab.scratch / "saved"
    saves: list[float] = []
    restores: list[float] = []
    lab.run([*lab.qsuper, "up", "-d", str(path)])
    for _ in range(lab.rounds):
        saves.append(lab.timed([*lab.qsuper, "save", "amp-boot", str(directory)]))
        restores.append(lab.timed([*lab.qsuper, "restore", str(directory)]))
        shutil.rmtree(directory)
    lab.run([*lab.qsuper, "destroy", "amp-boot"])
    for name, took in (("save", saves), ("restore", restores)):
        figure = statistics.median(took) * 1e3
        yield Row(name=f"{name} of 2 members, 96 MiB", figure=figure, figure_budget=1000.0)


def _booted_us(lab: Lab, before: int) -> float:
    """Wait for one more boot of the example than *before*; give how long it took."""
    log = lab.scratch / "state" / "qsuper" / "amp-boot-dependency" / "events.jsonl"
    delays: list[float] = []

    def booted() -> bool:
        events = map(json.loads, log.read_text().splitlines())
        delays[:] = [each["detail"]["delay_us"] for each in events if each["event"] == "BOOTED"]
        return len(delays) > before

    wait(booted, "boot")
    return delays[-1]


def _example(lab: Lab, name: str, *, numbering: str = "private") -> Path:
    """Copy an example, with its dependency if it has one; `private` ones can be saved."""
    for source in _CONFIGS.glob(f"{name}*.xml"):
        text = source.read_text().replace("guests/", f"{_CONFIGS}/guests/")
        text = text.replace("domain:1'>", f"domain:1' numbering='{numbering}'>")
        (lab.scratch / source.name).write_text(text)
    return lab.scratch / f"{name}.xml"


FABRIC: Final[dict[str, Callable[[Lab], Iterator[Row]]]] = {
    "boot signal": boot_signal,
    "program to guest": round_trip,
    "guest to guest": guest_to_guest,
    "save and restore": save_and_restore,
}
