"""The rows of the fabric: signals that pass the supervisor, and whole groups saved and restored."""

import json
import shutil
import statistics
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from qsuper.fabric.client import Client
from scripts.benchmark.lab import Lab
from scripts.benchmark.rows import Row

_CONFIGS: Final = Path(__file__).parents[2] / "configs"
_TRIPS: Final = 500
_PATIENCE_S: Final = 30.0
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
        deadline = time.monotonic() + _PATIENCE_S
        while not struct.unpack_from("<I", client.memory, _SLOT + 32)[0]:
            if time.monotonic() > deadline:
                raise RuntimeError("the guest does not start")
        struct.pack_into("<I", client.memory, _SLOT + 36, 0)
        struct.pack_into("<I", client.memory, _SLOT + 16 + 4, 1 << 16 | 3)
        trips: list[float] = []
        for _ in range(_TRIPS):
            begin = time.perf_counter()
            client.ring(2, 1)
            if client.wait(_PATIENCE_S) is None:
                raise RuntimeError("the guest does not answer")
            trips.append(time.perf_counter() - begin)
    lab.run([*lab.qsuper, "destroy", "cosim"])
    figure = statistics.median(trips) * 1e3
    yield Row(name="program to guest and back", figure=figure, figure_budget=0.2)


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
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        events = map(json.loads, log.read_text().splitlines())
        delays = [event["detail"]["delay_us"] for event in events if event["event"] == "BOOTED"]
        if len(delays) > before:
            return float(delays[-1])
        time.sleep(0.01)
    raise RuntimeError("the dependency did not boot")


def _example(lab: Lab, name: str) -> Path:
    """Copy an example, with its dependency if it has one, such that it can be saved."""
    for source in _CONFIGS.glob(f"{name}*.xml"):
        text = source.read_text().replace("guests/", f"{_CONFIGS}/guests/")
        text = text.replace("domain:1'>", "domain:1' numbering='private'>")
        (lab.scratch / source.name).write_text(text)
    return lab.scratch / f"{name}.xml"


FABRIC: Final[dict[str, Callable[[Lab], Iterator[Row]]]] = {
    "boot signal": boot_signal,
    "program to guest": round_trip,
    "save and restore": save_and_restore,
}
