"""A short seeded run of `scripts/fuzz`, and that it finds what it is there for."""

from pathlib import Path

import pytest

from qsuper.errors import ConfigError, plain
from qsuper.location import Location
from qsuper.options import Option
from scripts.fuzzing.__main__ import main
from scripts.fuzzing.mutation import MARK, Parent, mutant
from scripts.fuzzing.verdict import option_faults

DOMAINS = Path(__file__).parents[1] / "domains"


@pytest.mark.qemu
def test_damaged_files_are_translated_or_refused(capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["--count", "200", "--seed", "test", "--domains", str(DOMAINS)])
    assert not status, capsys.readouterr().out


def test_a_mutant_follows_from_its_seed() -> None:
    parents = [Parent("vm.xml", (DOMAINS / "parts.xml").read_bytes(), "x86_64")]
    assert mutant(parents, "1/2") == mutant(parents, "1/2")
    assert len({mutant(parents, f"1/{number}").data for number in range(20)}) > 15


@pytest.mark.parametrize(
    "option",
    [
        Option.keyed("drive", {f"file,{MARK}": "x"}),
        Option.json("device", {"driver": "x", MARK: "y"}),
        Option.json("object", {"props": [{f"a {MARK}": 1}]}),
        Option.flag(f"S -{MARK}"),
        Option.keyed("cpu", {"": "host", "vendor": "a,b"}, implied=""),
    ],
    ids=str,
)
def test_what_breaks_out_of_a_value_is_found(option: Option) -> None:
    assert list(option_faults(option))


def test_what_stays_in_its_value_is_no_fault() -> None:
    text = f"a,{MARK}=on"
    assert not list(option_faults(Option.keyed("drive", {"file": text, "id": text})))
    assert not list(option_faults(Option.json("device", {"driver": text})))


def test_a_message_is_one_line_that_steers_no_terminal() -> None:
    error = ConfigError("'a\n\x1b[31m\u202e' is wrong", at=Location("vm.xml", 1), hint="x\ty")
    assert str(error) == "vm.xml:1: 'a\\n\\x1b[31m\\u202e' is wrong (x\\ty)"
    assert len(plain("x" * 9999)) < 700
