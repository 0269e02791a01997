"""`qsuper translate`, `validate` and `capabilities`: what can be known before anything starts."""

import json
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from qsuper.host.files import read_xml
from qsuper.host.probe import read_capabilities
from tests.support.pasted import pasted

Run = Callable[..., tuple[int, str, str]]

CONFIGS = Path(__file__).parents[2] / "configs"
HELLO = str(CONFIGS / "hello.xml")
QUAD = str(CONFIGS / "quad.xml")


@pytest.fixture(scope="module")
def capabilities(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the emulator here can do."""
    path = tmp_path_factory.mktemp("caps") / "x86_64.json"
    subprocess.run(
        [sys.executable, "-m", "qsuper", "capabilities", "x86_64", "--output", str(path)],
        check=True,
        timeout=60,
    )
    return str(path)


@pytest.fixture
def bad(tmp_path: Path) -> str:
    """A file with three problems, and one thing that is only unknown."""
    path = tmp_path / "bad.xml"
    path.write_text("""\
<domain type='qemu'>
  <name>bad</name>
  <unheard-of/>
  <memory unit='parsec'>1</memory>
  <os><type arch='x86_64'>hvm</type></os>
  <devices>
    <disk type='file'><source file='/x'/></disk>
    <serial type='carrier pigeon'/>
  </devices>
</domain>
""")
    return str(path)


@pytest.mark.qemu
def test_the_pasted_lines_run(rundir: Path, qsuper: Run) -> None:
    """A shell takes the output as it is: one command, that QEMU accepts."""
    status, out, err = qsuper("translate", HELLO)

    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "/usr/bin/qemu-system-x86_64 \\"
    assert lines[1] == "  -name guest=hello \\"
    assert all(line.startswith("  -") for line in lines[1:])
    assert all(line.endswith(" \\") for line in lines[:-1])
    assert not lines[-1].endswith("\\")
    with pasted(out) as qemu:
        said, complaints = qemu.communicate("info name\nquit\n", timeout=60)
    assert qemu.returncode == 0, complaints
    assert "hello" in said


@pytest.mark.qemu
def test_group(rundir: Path, qsuper: Run) -> None:
    """Dependencies come first, each under a comment with its name."""
    status, out, err = qsuper("translate", QUAD)
    assert (status, err) == (0, "")
    assert [line for line in out.splitlines() if line.startswith("#")] == [
        "# quad-aarch64 (dependency)",
        "# quad-arm (dependency)",
        "# quad-riscv64 (dependency)",
        "# quad",
    ]

    answer = json.loads(qsuper("translate", "--format", "json", QUAD)[1])
    assert answer["version"] == 1
    assert [row["role"] for row in answer["domains"]] == ["dependency"] * 3 + ["primary"]
    for row in answer["domains"]:
        assert shlex.join(row["argv"][:3]) in out.replace(" \\\n ", "")


@pytest.mark.qemu
def test_full_shows_what_the_supervisor_adds(rundir: Path, qsuper: Run) -> None:
    plain, full = (qsuper("translate", *words, HELLO)[1] for words in ([], ["--full"]))

    assert set(plain.splitlines()[2:-1]) - set(full.splitlines()) == {
        line for line in plain.splitlines() if "-chardev pty" in line
    }
    for word in ("-S", "-sandbox on", "qsuper-qmp", "qsuper-sync", "qsuper-monitor", "logfile="):
        assert word in full
        assert word not in plain.replace("-Serial", "")


def test_jsonl(rundir: Path, capabilities: str, bad: str, qsuper: Run) -> None:
    """A line a file, in the order given; what is wrong with one is its own affair."""
    status, out, err = qsuper(
        "translate",
        "--format",
        "jsonl",
        "--capabilities",
        capabilities,
        HELLO,
        bad,
        "nowhere.xml",
        QUAD,
    )

    first, second, third, fourth = map(json.loads, out.splitlines())
    assert (status, err) == (65, "")
    assert first["file"] == HELLO
    assert first["argv"][:3] == ["/usr/bin/qemu-system-x86_64", "-name", "guest=hello"]
    assert second["file"] == bad
    assert f"{bad}:4: " in second["error"]
    assert "argv" not in second
    assert third["file"] == "nowhere.xml"
    assert "nowhere.xml" in third["error"]
    assert fourth["argv"][2] == "guest=quad", "only the file itself"


def test_jsonl_survives_a_bug(
    rundir: Path,
    capabilities: str,
    qsuper: Run,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """A bug that one file meets becomes its error; the traceback and the status tell."""
    buggy = str(tmp_path / "buggy.xml")

    def read(path: str) -> object:
        if path == buggy:
            raise ZeroDivisionError("boo")
        return read_xml(path)

    monkeypatch.setattr("qsuper.host.load.read_xml", read)

    status, out, err = qsuper(
        "translate", "--format", "jsonl", "--capabilities", capabilities, buggy, HELLO
    )

    first, second = map(json.loads, out.splitlines())
    assert status == 1
    assert first == {"file": buggy, "error": f"{buggy}: internal error: ZeroDivisionError('boo')"}
    assert "Traceback" in err
    assert "argv" in second


def test_capabilities_are_read_once(
    rundir: Path, capabilities: str, qsuper: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []

    def read(path: str) -> object:
        reads.append(path)
        return read_capabilities(path)

    monkeypatch.setattr("qsuper.host.surroundings.read_capabilities", read)

    words = ["translate", "--format", "jsonl", "--capabilities", capabilities]
    assert qsuper(*words, *[HELLO] * 50)[0] == 0
    assert reads == [capabilities]


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["--capabilities", "/nowhere/caps.json"], 2),
        (["--capabilities", HELLO], 2),
        (["--host", "/nowhere"], 2),
        (["--network", "x"], 2),
    ],
)
@pytest.mark.parametrize("verb", ["translate", "validate"])
def test_wrong_options(rundir: Path, verb: str, words: list[str], status: int, qsuper: Run) -> None:
    done = qsuper(verb, *words, HELLO)

    assert done[:2] == (status, "")
    assert done[2].startswith("qsuper: ")
    assert words[1] in done[2]


def test_validate(rundir: Path, capabilities: str, bad: str, qsuper: Run) -> None:
    """Every problem has its line; a good file is said to be good."""
    status, out, err = qsuper("validate", "--capabilities", capabilities, HELLO, bad)

    assert status == 65
    assert out == f"{HELLO}: valid\n"
    lines = [line for line in err.splitlines() if ": warning: " not in line]
    assert [line.split(":")[2] for line in lines] == ["4", "7", "8"]
    assert all(line.startswith(f"qsuper: {bad}:") for line in err.splitlines())

    answer = json.loads(
        qsuper("validate", "--capabilities", capabilities, "--format", "json", HELLO, bad)[1]
    )
    assert answer["version"] == 1
    assert [row["valid"] for row in answer["files"]] == [True, False]
    assert len(answer["files"][1]["errors"]) == 3


def test_validate_warns(rundir: Path, capabilities: str, tmp_path: Path, qsuper: Run) -> None:
    """What libvirt would ignore is a warning, and the file is valid all the same."""
    path = tmp_path / "odd.xml"
    path.write_text(Path(HELLO).read_text().replace("<vcpu>", "<unheard-of/><vcpu>"))

    status, out, err = qsuper("validate", "--capabilities", capabilities, str(path))

    assert (status, out) == (0, f"{path}: valid\n")
    assert err.startswith(f"qsuper: {path}:14: warning: ")
    assert "unheard-of" in err


@pytest.mark.qemu
def test_what_cannot_be_started_is_shown(
    rundir: Path, capabilities: str, tmp_path: Path, qsuper: Run
) -> None:
    """Who only looks is warned; who would start it, or asks whether it could be, is refused."""
    path = tmp_path / "transient.xml"
    disk = "<disk type='file'><source file='/x'/><target dev='vda'/><transient/></disk></devices>"
    path.write_text(Path(HELLO).read_text().replace("</devices>", disk))
    for verb, start in (("translate", "/usr/bin/qemu"), ("dumpxml", "<domain")):
        status, out, err = qsuper(verb, "--capabilities", capabilities, str(path))
        assert (status, out.startswith(start)) == (0, True)
        assert ": warning: this can't be started: <disk> 'vda': <transient> is not" in err
    for words in (("validate", "--capabilities", capabilities), ("up",)):
        argv = [sys.executable, "-m", "qsuper", *words, str(path)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
        assert (done.returncode, done.stdout) == (65, "")
        assert "warning" not in done.stderr
        assert ": <disk> 'vda': <transient> is not supported" in done.stderr


def test_validate_says_each_problem_once(
    rundir: Path, capabilities: str, tmp_path: Path, bad: str, qsuper: Run
) -> None:
    """Two files that need the same wrong one do not say it twice."""
    files: list[str] = []
    for name in ("one", "two"):
        path = tmp_path / f"{name}.xml"
        dependency = f"<domaindependency>{bad}</domaindependency></devices>"
        text = Path(HELLO).read_text().replace("</devices>", dependency)
        path.write_text(text.replace("<name>hello", f"<name>{name}"))
        files.append(str(path))

    err = qsuper("validate", "--capabilities", capabilities, *files)[2]

    assert len(err.splitlines()) == len(set(err.splitlines()))


@pytest.mark.qemu
def test_capabilities(rundir: Path, tmp_path: Path, qsuper: Run) -> None:
    """They go where they should, as a whole; an error leaves nothing."""
    path = tmp_path / "a64.json"

    assert qsuper("capabilities", "aarch64", "--output", str(path)) == (0, "", "")
    assert json.loads(path.read_text())["binary_arch"] == "aarch64"
    assert [entry.name for entry in tmp_path.iterdir() if entry.suffix == ".json"] == ["a64.json"]

    status, out, err = qsuper("capabilities", "no-such-arch")
    assert (status, out) == (69, "")
    assert "no-such-arch" in err

    status, out, err = qsuper("capabilities", "--output", "/nowhere/x.json")
    assert (status, out, err) == (1, "", "qsuper: /nowhere/x.json: No such file or directory\n")
