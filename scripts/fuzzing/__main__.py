"""Damage domain files at random and translate them: a command line or an error with a line."""

import argparse
import contextlib
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from lxml import etree

from qsuper.host.load import Accel, Settings
from qsuper.host.probe import read_capabilities
from scripts.fuzzing.mutation import Parent, mutant
from scripts.fuzzing.verdict import faults

_ROOT: Final = Path(__file__).parents[2]


def main(argv: Sequence[str] | None = None) -> int:
    """Try the mutants; 1 where one met a fault."""
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=1000, help="mutants to try (1000)")
    parser.add_argument("--seed", default="0", help="what the mutants follow from (0)")
    parser.add_argument("--first", type=int, default=0, help="number of the first mutant")
    parser.add_argument(
        "--domains",
        type=Path,
        action="append",
        metavar="DIR",
        help="where files to damage are (tests/domains and configs)",
    )
    parser.add_argument(
        "--capabilities", action="append", help="an emulator, instead of those here"
    )
    parser.add_argument("--host", help="another host, as for `qsuper translate`")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="where to put mutants at fault")
    options = parser.parse_args(argv)
    where = options.domains or [_ROOT / "tests" / "domains", _ROOT / "configs"]
    parents = list(_parents(where))
    if not parents:
        parser.error("no domain files there")
    grounds = _grounds(options.capabilities or [], options.host)
    seen: Counter[str] = Counter()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="qsuper-fuzz-") as scratch:
        file = Path(scratch) / "mutant.xml"
        for number in range(options.first, options.first + options.count):
            seed = f"{options.seed}/{number}"
            made = mutant(parents, seed)
            file.write_bytes(made.data)
            suited = grounds.get(made.arch) or grounds[""]
            for fault in _tried(str(file), suited[number % len(suited)]):
                kind = fault.replace(str(file), "FILE")
                seen[kind] += 1
                if seen[kind] == 1:
                    print(f"{seed} ({made.origin}): {kind}", flush=True)
                    _keep(options.keep, number, made.data)
    took = time.monotonic() - began
    print(f"{options.count} mutants of {len(parents)} files in {took:.0f} s, {seen.total()} faults")
    return 1 if seen else 0


def _tried(path: str, settings: Settings) -> Iterator[str]:
    try:
        yield from faults(path, settings)
    except Exception:  # noqa: BLE001 - any exception that is not the user's is what we look for
        yield "".join(traceback.format_exc().splitlines(keepends=True)[-6:]).rstrip()


def _grounds(capabilities: list[str], host: str | None) -> dict[str, list[Settings]]:
    """Give the emulators to translate for by architecture; under "" all."""
    result: dict[str, list[Settings]] = {"": []}
    for path in capabilities:
        ground = Settings(capabilities=(path,), host=host)
        result[""].append(ground)
        result.setdefault(read_capabilities(path).arch, []).append(ground)
    return result if result[""] else {"": [Settings(host=host, accel=Accel.TCG)]}


def _parents(directories: list[Path]) -> Iterator[Parent]:
    for directory in directories:
        for path in sorted(directory.rglob("*.xml")):
            data = path.read_bytes()
            with contextlib.suppress(etree.XMLSyntaxError):  # some are wrong on purpose
                root = etree.fromstring(data)
                if root.tag == "domain":
                    kind = root.find("os/type")
                    arch = None if kind is None else kind.get("arch")
                    yield Parent(path.name, data, arch or "x86_64")


def _keep(directory: Path | None, number: int, data: bytes) -> None:
    if directory is not None:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / f"{number}.xml").write_bytes(data)


if __name__ == "__main__":
    sys.exit(main())
