"""Translating many domains in one go, on both sides."""

from pathlib import Path
from typing import Final

from scripts.benchmark.lab import Lab, median

_ROOT: Final = Path(__file__).parents[2]
_COPIES: Final = 20
_LEAST: Final = 40


def translation(lab: Lab) -> tuple[float, float | None]:
    """Give the seconds a domain that each side takes, start-up not counted.

    The files are those of `--corpus`, else the examples and the tests' domains; only those that
    both sides translate count.
    """
    files = _files(lab)
    good = [path for path in files if lab.answers([*lab.qsuper, "translate", str(path)])]
    if lab.has_libvirt:
        good = [path for path in good if lab.answers([*lab.virsh, *_command(path)])]
    many = good * max(1, -(-_LEAST // max(1, len(good))))
    turns = min(5, lab.rounds)

    def mine(batch: list[Path]) -> float:
        argv = [*lab.qsuper, "translate", "--format", "jsonl", *map(str, batch)]
        return median(turns, lambda: lab.timed(argv))

    def theirs(batch: list[Path]) -> float:
        script = lab.scratch / "batch"
        script.write_text("".join(" ".join(_command(path)) + "\n" for path in batch))
        argv = ["sh", "-c", 'exec "$@" < "$0"', str(script), *lab.virsh]
        return median(turns, lambda: lab.timed(argv))

    further = len(many) - 1
    own = (mine(many) - mine(many[:1])) / further
    if not lab.has_libvirt:
        return own, None
    return own, (theirs(many) - theirs(many[:1])) / further


def _files(lab: Lab) -> list[Path]:
    if lab.corpus:
        return sorted(lab.corpus.glob("*.xml"))
    return sorted(
        [*(_ROOT / "tests" / "domains").glob("*.xml"), *(_ROOT / "configs").glob("*.xml")]
    )


def _command(path: Path) -> list[str]:
    return ["domxml-to-native", "qemu-argv", "--xml", str(path)]
