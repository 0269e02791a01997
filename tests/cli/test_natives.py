"""QEMUs that are not here, by what they say of themselves: tests/natives has it."""

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from qsuper.errors import UnavailableError
from tests.natives.build import DIRECTORY, FILES, content

Run = Callable[..., tuple[int, str, str]]

UUID = r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"
CONFIGS = Path(__file__).parents[2] / "configs"
GROUPS = {
    "amp-boot": ("series-x86_64", "series-aarch64"),
    "zynqmp": ("amd-aarch64", "amd-microblazeel"),
}
"""Examples, and the QEMUs that run them."""

pytestmark = pytest.mark.usefixtures("rundir")


def translation(qsuper: Run, name: str, *options: str) -> str:
    """Run the command; what depends on the host is replaced."""
    files = (DIRECTORY / f"{each}.json" for each in GROUPS[name])
    words = [word for file in files for word in ("--capabilities", str(file))]
    status, out, err = qsuper("translate", *words, *options, str(CONFIGS / f"{name}.xml"))
    assert (status, err) == (0, "")
    return re.sub(UUID, "UUID", out.replace(str(CONFIGS), "configs"))


@pytest.mark.parametrize("name", GROUPS)
def test_command_lines(name: str, qsuper: Run, regenerate: bool) -> None:
    """The example gives the command lines that stand in tests/natives."""
    actual, expected = translation(qsuper, name), DIRECTORY.parent / f"{name}.args"
    if regenerate:
        expected.write_text(actual)
    assert actual == expected.read_text()


@pytest.mark.parametrize("name", GROUPS)
def test_a_group_and_each_file_by_itself(name: str, qsuper: Run) -> None:
    """A program gets the words that a person gets; what a group has in common is guessed alone."""
    commands = translation(qsuper, name).replace("\\\n", "").split("\n\n")
    shown = [shlex.split(command, comments=True) for command in commands]
    rows = json.loads(translation(qsuper, name, "--format", "json"))["domains"]
    assert [row["role"] for row in rows] == ["dependency", "primary"]
    assert sorted(row["argv"] for row in rows) == sorted(shown)
    files = [str(CONFIGS / f"{name}-dependency.xml")]
    alone = translation(qsuper, name, "--format", "jsonl", *files).splitlines()
    assert [json.loads(line)["argv"] for line in alone] == [row["argv"] for row in rows]


@pytest.mark.qemu
@pytest.mark.parametrize("name", FILES)
def test_the_files_are_what_the_builder_makes(name: str) -> None:
    """`python -m tests.natives.build` makes them; another QEMU says another thing."""
    file = DIRECTORY / f"{name}.json"
    try:
        made = content(FILES[name])
    except UnavailableError:
        pytest.skip(f"no emulator for {FILES[name].arch} here")
    if json.loads(made)["qemu_version"] != json.loads(file.read_text())["qemu_version"]:
        pytest.skip("it was made from another QEMU")
    assert file.read_text() == made
