"""The command line as a whole: verbs, help, errors, exit statuses."""

import os
import shlex
import signal
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from qsuper import __version__
from qsuper.cli.main import ALIASES, COMMANDS, main, parser_of

HELP = Path(__file__).parent / "help"


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="argparse's form changes")
@pytest.mark.parametrize("verb", COMMANDS)
def test_help(
    verb: str, regenerate: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each verb's help is as it was read and approved."""
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr("os.uname", lambda: os.uname_result(("Linux", "h", "6", "1", "x86_64")))
    golden = HELP / f"{verb}.txt"

    assert main([verb, "--help"]) == 0

    actual = capsys.readouterr().out
    if regenerate:
        HELP.mkdir(exist_ok=True)
        golden.write_text(actual)
    assert actual == golden.read_text()


def test_overview_names_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0

    out = capsys.readouterr().out
    for verb, command in COMMANDS.items():
        assert f"  {verb} " in out
        assert command.summary in out
    for alias in ALIASES:
        assert f"  {alias} " in out


@pytest.mark.parametrize("verb", COMMANDS)
def test_examples_are_valid(verb: str) -> None:
    """What help shows as an example is accepted by the verb's own parser."""
    for example in COMMANDS[verb].examples:
        command = example.partition(" #")[0].rstrip()
        program, shown, *words = _words(command)
        assert (program, shown) == ("qsuper", verb)
        parser_of(verb).parse_intermixed_args(words)


@pytest.mark.parametrize("verb", COMMANDS)
def test_modules_have_the_two_functions(verb: str) -> None:
    module = import_module(f"qsuper.cli.{COMMANDS[verb].module}")

    assert callable(module.add_options)
    assert callable(module.run)


def test_aliases_lead_to_verbs() -> None:
    for alias, (verb, *words) in ALIASES.items():
        assert alias not in COMMANDS
        given = ["x", "y"] if verb == "qmp" else ["x"]
        parser_of(verb).parse_intermixed_args([*words, *given])


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"qsuper {__version__}\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["fly"], "no such verb: fly"),
        (["--fly"], "no such option: --fly"),
        (["suspend"], "the following arguments are required: NAME"),
        (["suspend", "a", "--al"], "unrecognized arguments: --al"),
        (["down"], "name a domain, or say --all"),
        (["down", "a", "--all"], "name domains or say --all, not both"),
        (["down", "a", "--timeout", "soon"], "'soon' is no number of seconds"),
        (["down", "a", "--timeout", "nan"], "'nan' is no number of seconds"),
        (["list", "--format", "xml"], "invalid choice: 'xml'"),
        (["qmp", "a", "[1"], "no such domain: a"),
        (["qmp", "a", "{1"], "not JSON: {1"),
        (["qmp", "a", "{}"], 'for want of "execute"'),
        (["qmp", "a", "stop", "[]"], "not a JSON object: []"),
        (["qmp", "a", '{"execute": "stop"}', "{}"], "JSON already"),
    ],
)
def test_usage_errors(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str], rundir: Path
) -> None:
    """A wrong command line is one line on stderr, and exit status 2."""
    status = main(words)

    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert err.startswith("qsuper: ")
    assert err.count("\n") == 1
    assert status == (1 if "no such domain" in said else 2)


def test_no_words_at_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("usage: qsuper VERB")


@pytest.mark.parametrize(
    "words",
    [
        ["suspend", "ghost"],
        ["destroy", "ghost"],
        ["info", "ghost"],
        ["console", "ghost"],
        ["logs", "ghost"],
        ["events", "ghost"],
        ["qmp", "ghost", "stop"],
        ["suspend", "../groups/ghost"],
        ["suspend", ".."],
        ["suspend", ""],
        ["suspend", "a\0b"],
        ["suspend", "x" * 5000],
    ],
)
def test_unknown_domain(words: list[str], capsys: pytest.CaptureFixture[str], rundir: Path) -> None:
    assert main(words) == 1
    assert capsys.readouterr() == ("", f"qsuper: no such domain: {words[1]}\n")


def test_each_unknown_domain_is_named(capsys: pytest.CaptureFixture[str], rundir: Path) -> None:
    assert main(["resume", "a", "b", "a"]) == 1
    assert capsys.readouterr().err == "qsuper: no such domain: a\nqsuper: no such domain: b\n"


def test_nothing_runs(capsys: pytest.CaptureFixture[str], rundir: Path) -> None:
    """Where nothing runs, `list` has nothing to say, and ending everything is no failure."""
    assert main(["list"]) == 0
    assert main(["list", "--names"]) == 0
    assert main(["destroy", "--all"]) == 0
    assert capsys.readouterr() == ("", "")

    assert main(["list", "--format", "json"]) == 0
    assert capsys.readouterr().out == '{\n  "version": 1,\n  "domains": []\n}\n'


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr("qsuper.cli.list.run", fail)

    with pytest.raises(ZeroDivisionError):
        main(["list"])


def test_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: object) -> int:
        signal.raise_signal(signal.SIGINT)
        return 0

    monkeypatch.setattr("qsuper.cli.list.run", interrupt)

    assert main(["list"]) == 130


def test_reader_goes_away(rundir: Path) -> None:
    """`qsuper list | head -0` ends without a traceback, as by SIGPIPE."""
    reader, writer = os.pipe()
    os.close(reader)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}

    done = subprocess.run(
        [sys.executable, "-m", "qsuper", "list", "--format", "json"],
        stdout=writer,
        stderr=subprocess.PIPE,
        timeout=30,
        check=False,
        env=environment,
    )

    os.close(writer)
    assert done.returncode == 141
    assert done.stderr == b""


def _words(command: str) -> list[str]:
    return shlex.split(command)
