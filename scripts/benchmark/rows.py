"""The rows: what is measured, and the budget of each."""

import itertools
import json
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import psutil
from msgspec import Struct

from scripts.benchmark.lab import Lab
from scripts.benchmark.translation import translation

_IDLE_S: Final = 3.0


class Row(Struct, frozen=True, kw_only=True):
    """One line of the table."""

    name: str
    figure: float
    unit: str = "ms"
    reference: float | None = None
    """The same work done otherwise, in the same unit; None where nothing can be compared."""
    ratio_budget: float | None = None
    figure_budget: float | None = None

    @property
    def ratio(self) -> float | None:
        return self.figure / self.reference if self.reference else None

    @property
    def met(self) -> bool | None:
        if self.figure_budget is not None:
            return self.figure <= self.figure_budget
        if self.ratio_budget is not None and self.ratio is not None:
            return self.ratio <= self.ratio_budget
        return None

    def cells(self) -> tuple[str, ...]:
        budget = self.figure_budget if self.figure_budget is not None else self.ratio_budget
        return (
            self.name,
            f"{self.figure:.3g} {self.unit}",
            "-" if self.reference is None else f"{self.reference:.3g} {self.unit}",
            "-" if self.ratio is None else f"{self.ratio:.2f}",
            "-" if budget is None else f"{budget:g}",
            {True: "met", False: "MISSED", None: "-"}[self.met],
        )

    def to_json(self) -> dict[str, object]:
        return {
            "name": self.name,
            "unit": self.unit,
            "qsuper": self.figure,
            "reference": self.reference,
            "ratio": self.ratio,
            "ratio_budget": self.ratio_budget,
            "figure_budget": self.figure_budget,
            "met": self.met,
        }


def _versus(name: str, mine: list[float], theirs: list[float], budget: float) -> Row:
    return Row(
        name=name,
        figure=statistics.median(mine) * 1e3,
        reference=statistics.median(theirs) * 1e3 if theirs else None,
        ratio_budget=budget,
    )


def pair(lab: Lab) -> Iterator[Row]:
    """`up -d` and `destroy` of a domain with one dependency, against libvirt's two of each."""
    primary, others = lab.group(2), lab.alone(2)
    names = [path.stem for path in others]
    up: list[float] = []
    create: list[float] = []
    down: list[float] = []
    destroy: list[float] = []
    for _ in range(lab.rounds):
        up.append(lab.timed([*lab.qsuper, "up", "-d", str(primary)]))
        down.append(lab.timed([*lab.qsuper, "destroy", primary.stem]))
        if lab.has_libvirt:
            create.append(lab.timed(*([*lab.virsh, "create", str(path)] for path in others)))
            destroy.append(lab.timed(*([*lab.virsh, "destroy", name] for name in names)))
    yield _versus("up -d of two (virsh create twice)", up, create, 0.5)
    yield _versus("destroy of two (virsh destroy twice)", down, destroy, 0.1)


def suspend(lab: Lab) -> Iterator[Row]:
    """`suspend` of a group of five and of one, whole processes."""
    for size, budget in ((5, 0.5), (1, 1.5)):
        primary, others = lab.group(size), lab.alone(size)
        names = [path.stem for path in others]
        mine: list[float] = []
        theirs: list[float] = []
        lab.run([*lab.qsuper, "up", "-d", str(primary)])
        if lab.has_libvirt:
            for path in others:
                lab.run([*lab.virsh, "create", str(path)])
        for _ in range(lab.rounds * 3):
            mine.append(lab.timed([*lab.qsuper, "suspend", primary.stem]))
            lab.run([*lab.qsuper, "resume", primary.stem])
            if lab.has_libvirt:
                theirs.append(lab.timed(*([*lab.virsh, "suspend", name] for name in names)))
                for name in names:
                    lab.run([*lab.virsh, "resume", name])
        lab.run([*lab.qsuper, "destroy", primary.stem])
        if lab.has_libvirt:
            for name in names:
                lab.run([*lab.virsh, "destroy", name])
        title = "suspend of one" if size == 1 else f"suspend of a group of {size}"
        yield _versus(f"{title} (virsh suspend each)", mine, theirs, budget)


_SKEWS: Final = {4: 1000.0, 8: 2000.0}
"""The budget in microseconds, by the size of the group."""
_BUSY: Final = {"busy": "compute", "flood": "flood a port"}
"""Guests that flood a serial port have QEMU itself busy as well."""


def skew(lab: Lab) -> Iterator[Row]:
    """How far apart the members of a group of busy guests stop, and go on."""
    for guest, size in itertools.product(_BUSY, _SKEWS):
        primary = lab.group(size, guest)
        lab.run([*lab.qsuper, "up", "-d", str(primary)])
        skews: dict[str, list[float]] = {"suspend": [], "resume": []}
        for _ in range(lab.rounds * 3):
            for verb, found in skews.items():
                answer = lab.json(verb, primary.stem)
                found.append(float(answer["results"][0]["skew_us"]))
        lab.run([*lab.qsuper, "destroy", primary.stem])
        for verb, found in skews.items():
            yield Row(
                name=f"{verb} skew, {size} guests that {_BUSY[guest]}",
                figure=statistics.median(found),
                unit="us",
                figure_budget=_SKEWS[size],
            )


def supervisor(lab: Lab) -> Iterator[Row]:
    """The supervisor's memory, and its wakeups while nothing happens."""
    memory: dict[int, float] = {}
    for size in (2, 10):
        primary = lab.group(size)
        lab.run([*lab.qsuper, "up", "-d", str(primary)])
        process = psutil.Process(lab.supervisor(primary.stem))
        memory[size] = process.memory_info().rss / 2**20
        if size == 2:  # noqa: PLR2004 - once is enough
            before = process.num_ctx_switches().voluntary
            time.sleep(_IDLE_S)  # idle time is what is measured
            wakeups = (process.num_ctx_switches().voluntary - before) / _IDLE_S
            yield Row(name="supervisor, idle", figure=wakeups, unit="wakeups/s", figure_budget=0)
        lab.run([*lab.qsuper, "destroy", primary.stem])
    yield Row(name="supervisor with two members", figure=memory[2], unit="MiB", figure_budget=45)
    further = (memory[10] - memory[2]) / 8
    yield Row(name="supervisor, each further member", figure=further, unit="MiB", figure_budget=0.5)


def crowd(lab: Lab) -> Iterator[Row]:
    """64 members, against 64 bare QEMU starts at the same parallelism."""
    size = 64
    primary = lab.group(size)
    mine: list[float] = []
    bare: list[float] = []
    for _ in range(max(1, lab.rounds // 3)):
        mine.append(lab.timed([*lab.qsuper, "up", "-d", str(primary)]))
        lab.run([*lab.qsuper, "destroy", primary.stem])
        bare.append(_bare_starts(lab, primary, size))
    yield _versus(f"up -d of {size} (bare QEMU starts)", mine, bare, 1.3)


def _bare_starts(lab: Lab, primary: Path, size: int) -> float:
    """Start the translated command line *size* times at once, each until its monitor greets."""
    translated = lab.output([*lab.qsuper, "translate", "--format", "jsonl", str(primary)])
    line = json.loads(translated)["argv"]
    begin = time.perf_counter()
    processes = [
        subprocess.Popen(
            [*line, "-S", "-qmp", "stdio"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for _ in range(size)
    ]
    for process in processes:
        if process.stdout is None or not process.stdout.readline():
            raise RuntimeError("a bare QEMU did not start")
    elapsed = time.perf_counter() - begin
    for process in processes:
        process.kill()
        process.communicate()
    return elapsed


def start_up(lab: Lab) -> Iterator[Row]:
    """One cold `qsuper translate`, whole process."""
    primary = lab.group(1)
    argv = [*lab.qsuper, "translate", str(primary)]
    lab.run(argv)  # probes the emulator once
    figures = [lab.timed(argv) for _ in range(lab.rounds * 2)]
    yield Row(
        name="one translate, whole process",
        figure=statistics.median(figures) * 1e3,
        figure_budget=120,
    )


def corpus(lab: Lab) -> Iterator[Row]:
    """Translation per domain, start-up not counted."""
    mine, theirs = translation(lab)
    yield Row(
        name="translation, a domain (domxml-to-native)",
        figure=mine * 1e3,
        reference=None if theirs is None else theirs * 1e3,
        ratio_budget=1.0,
    )


ROWS: Final[dict[str, Callable[[Lab], Iterator[Row]]]] = {
    "pair": pair,
    "suspend": suspend,
    "skew": skew,
    "supervisor": supervisor,
    "crowd": crowd,
    "start-up": start_up,
    "translation": corpus,
}
"""By the name that `--only` takes."""
