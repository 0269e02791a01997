"""The files of a group: what is found, and every way in which they are wrong."""

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsuper.errors import ConfigErrors
from qsuper.host.files import XML_BYTES_MAX
from qsuper.host.members import find_members
from qsuper.plan import Role

Write = Callable[..., str]


def domain(name: str, *needs: str, uuid: str = "", kind: str = "qemu") -> str:
    """Give a domain of which each dependency has a line of its own, from line 5."""
    lines = [
        f"<domain type='{kind}'>",
        f"<name>{name}</name>",
        f"<uuid>{uuid}</uuid>" if uuid else "",
        "<devices>",
        *(f"<domaindependency>{need}</domaindependency>" for need in needs),
        "</devices>",
        "</domain>",
    ]
    return "\n".join(lines)


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write a domain into a file of the working directory."""
    monkeypatch.chdir(tmp_path)

    def to_file(path: str, *needs: str, name: str = "", uuid: str = "", kind: str = "qemu") -> str:
        stem = Path(path).stem
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(domain(name or stem, *needs, uuid=uuid, kind=kind))
        return path

    return to_file


def problems(*paths: str) -> list[str]:
    with pytest.raises(ConfigErrors) as caught:
        find_members(paths)
    return str(caught.value).split("\n")


def test_dependencies_come_first_in_document_order(write: Write) -> None:
    for name in ("z", "b", "m"):
        write(f"{name}.xml")

    found = find_members([write("a.xml", "z.xml", "b.xml", "m.xml")])

    assert [member.file.path for member in found] == ["z.xml", "b.xml", "m.xml", "a.xml"]
    assert [member.role for member in found] == [Role.DEPENDENCY] * 3 + [Role.PRIMARY]
    assert found[-1].needs == ("z", "b", "m")
    assert found[-1].file.text == Path("a.xml").read_text()


def test_a_relative_path_is_taken_from_the_file_that_names_it(write: Write, tmp_path: Path) -> None:
    write("vms/parts/b.xml")
    c = write("c.xml")
    write("vms/a.xml", "parts/b.xml", f"\n   {tmp_path / c}\t")

    found = find_members(["vms/a.xml"])

    assert [member.file.path for member in found] == [
        "vms/parts/b.xml",
        str(tmp_path / "c.xml"),
        "vms/a.xml",
    ]


def test_a_dependency_of_two_primaries_exists_once(write: Write) -> None:
    write("b.xml")
    write("c.xml")
    a1 = write("a1.xml", "b.xml")
    a2 = write("a2.xml", "c.xml", "./b.xml")

    found = find_members([a1, a2])

    assert [Path(member.file.path).stem for member in found] == ["b", "c", "a1", "a2"]
    assert [member.needs for member in found[2:]] == [("b",), ("c", "b")]


def test_a_dependency_that_is_missing(write: Write) -> None:
    assert problems(write("a.xml", "b.xml")) == ["a.xml:5: <domaindependency>: b.xml: no such file"]


def test_a_dependency_that_is_a_directory(write: Write) -> None:
    Path("b.xml").mkdir()

    assert problems(write("a.xml", "b.xml")) == [
        "a.xml:5: <domaindependency>: b.xml: is a directory"
    ]


@pytest.fixture
def nobody(tmp_path: Path) -> Iterator[None]:
    """Be a user who may not read everything."""
    tmp_path.chmod(0o755)
    if os.getuid() != 0:
        yield
        return
    os.seteuid(65534)
    yield
    os.seteuid(0)


def test_a_dependency_that_cannot_be_read(write: Write, request: pytest.FixtureRequest) -> None:
    Path(write("b.xml")).chmod(0)
    a = write("a.xml", "b.xml")
    request.getfixturevalue("nobody")

    assert problems(a) == ["a.xml:5: <domaindependency>: b.xml: Permission denied"]


def test_a_fifo_does_not_hang_us(write: Write) -> None:
    os.mkfifo("b.xml")

    assert problems(write("a.xml", "b.xml")) == [
        "a.xml:5: <domaindependency>: b.xml: is not a regular file"
    ]


def test_a_link_that_leads_nowhere_and_one_in_a_ring(write: Write) -> None:
    Path("b.xml").symlink_to("nowhere")
    Path("c.xml").symlink_to("c.xml")

    assert problems(write("a.xml", "b.xml", "c.xml")) == [
        "a.xml:5: <domaindependency>: b.xml: no such file",
        "a.xml:6: <domaindependency>: c.xml: Too many levels of symbolic links",
    ]


def test_a_file_that_is_too_big(write: Write) -> None:
    with open(write("b.xml"), "a", encoding="ascii") as file:
        file.truncate(XML_BYTES_MAX + 1)

    assert problems(write("a.xml", "b.xml")) == [
        "a.xml:5: <domaindependency>: b.xml: is bigger than 4 MiB"
    ]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "b.xml:1: not well-formed XML: "),
        ("<domain>\n</devices>", "b.xml:2: not well-formed XML: "),
        ("<network/>", "b.xml:1: <network>: this file is no domain (the root must be <domain>)"),
        ("<domain/>", "b.xml:1: <domain>: type='' is not supported (kvm or qemu)"),
        ("\n<domain type='xen'/>", "b.xml:2: <domain>: type='xen' is not supported (kvm or qemu)"),
        ("<!DOCTYPE d><domain type='kvm'/>", "b.xml:1: a DOCTYPE is refused"),
        ("\0", "b.xml:1: not well-formed XML: "),
    ],
)
def test_a_dependency_that_is_no_domain(write: Write, content: str, problem: str) -> None:
    Path("b.xml").write_text(content)

    (line,) = problems(write("a.xml", "b.xml"))

    assert line.startswith(f"a.xml:5: <domaindependency>: {problem}")


def test_a_dependency_with_a_dependency(write: Write) -> None:
    write("c.xml")
    write("b.xml", "c.xml")

    (line,) = problems(write("a.xml", "b.xml"))

    assert line == (
        "a.xml:5: <domaindependency>: b.xml has a dependency of its own, at b.xml:5"
        " (dependencies have one level)"
    )


def test_two_domains_that_depend_on_each_other(write: Write) -> None:
    write("b.xml", "a.xml")

    (line,) = problems(write("a.xml", "b.xml"))

    assert "b.xml has a dependency of its own, at b.xml:5" in line


@pytest.mark.parametrize("way", ["itself", "link", "hard link", "detour"])
def test_a_domain_that_names_itself(write: Write, way: str) -> None:
    named = {"itself": "a.xml", "detour": f"../{Path.cwd().name}/a.xml"}.get(way, "b.xml")
    a = write("a.xml", named)
    if way == "link":
        Path("b.xml").symlink_to("a.xml")
    elif way == "hard link":
        Path("b.xml").hardlink_to("a.xml")

    assert problems(a) == [f"a.xml:5: <domaindependency>: {named} is the file that names it"]


def test_a_file_that_is_named_twice(write: Write) -> None:
    write("b.xml")
    Path("c.xml").symlink_to("b.xml")

    assert problems(write("a.xml", "b.xml", "c.xml")) == [
        "a.xml:6: <domaindependency>: c.xml is named twice, first at a.xml:5"
    ]


def test_a_primary_that_is_given_twice(write: Write) -> None:
    a = write("a.xml")

    assert problems(a, "./a.xml") == ["./a.xml: is the same file as a.xml (name it once)"]


def test_a_primary_that_is_a_dependency_too(write: Write) -> None:
    b = write("b.xml")

    assert problems(write("a.xml", "b.xml"), f"./{b}") == [
        "a.xml:5: <domaindependency>: b.xml is a primary of this group too (./b.xml)"
    ]


def test_two_members_with_one_name(write: Write) -> None:
    write("b.xml", name="same")
    write("c.xml", name="same")

    assert problems(write("a.xml", "b.xml", "c.xml")) == [
        "a.xml:6: <domaindependency>: c.xml:2: the name same is that of b.xml:2 too"
    ]
    assert problems("b.xml", "c.xml") == ["c.xml:2: <name>: the name same is that of b.xml:2 too"]


def test_two_members_with_one_uuid(write: Write) -> None:
    uuid = "C7A5FDBD-EDAF-9455-926A-D65C16DB1809"
    write("b.xml", uuid=uuid.lower().replace("-", ""))

    (line,) = problems(write("a.xml", "b.xml", uuid=uuid))

    assert line == (
        "a.xml:5: <domaindependency>: b.xml:3: the uuid c7a5fdbdedaf9455926ad65c16db1809"
        " is that of a.xml:3 too"
    )


def test_everything_that_is_wrong_is_said_at_once(write: Write) -> None:
    write("b.xml", kind="xen")
    write("c.xml", name="a")

    lines = problems(write("a.xml", "b.xml", "c.xml", "d.xml", " "), "missing.xml")

    assert [line.split(": ")[0] for line in lines] == [
        "a.xml:5",
        "a.xml:6",
        "a.xml:7",
        "a.xml:8",
        "missing.xml",
    ]
    assert lines[3] == "a.xml:8: <domaindependency>: names no file"


@pytest.mark.parametrize("name", [".hidden", "..", "-rf", "--all"])
def test_a_name_that_would_be_taken_for_something_else(write: Write, name: str) -> None:
    (line,) = problems(write("a.xml", name=name))

    assert line == (
        f"a.xml:2: <name>: '{name}' can't be the name of a member"
        " (it must not start with '.' or '-')"
    )


def test_a_file_in_another_encoding_is_kept_as_text(write: Write) -> None:
    declaration = "<?xml version='1.0' encoding='{}'?>\n"
    for number, encoding in enumerate(("iso-8859-1", "utf-16")):
        text = declaration.format(encoding) + domain(f"gerät{number}")
        Path(f"{number}.xml").write_bytes(text.encode(encoding))

    found = find_members(["0.xml", "1.xml"])

    assert [f"<name>gerät{number}</name>" in found[number].file.text for number in (0, 1)] == [
        True,
        True,
    ]


TEXTS = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"]), min_size=1)


@given(TEXTS)
def test_any_path_is_read_or_refused_at_the_line_that_names_it(text: str) -> None:
    """Whatever the text is, only the file of that very name is taken for the dependency."""
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    with tempfile.TemporaryDirectory() as directory:
        a = Path(directory, "sub", "a.xml")
        a.parent.mkdir()
        a.write_text(domain("a", escaped), encoding="utf-8")
        target = Path(directory, "sub", text.strip())
        is_a_name = "/" not in text and target.parent == a.parent
        is_ours = is_a_name and target.name not in ("", "..", "a.xml")
        if is_ours and len(os.fsencode(target.name)) <= 255:
            target.write_text(domain("b"))
            assert [member.file.root.child_text("name") for member in find_members([str(a)])] == [
                "b",
                "a",
            ]
        else:
            (line,) = problems(str(a))
            assert line.startswith(f"{a}:5: <domaindependency>: ")


@given(TEXTS, TEXTS)
def test_names_are_compared_as_they_are(one: str, other: str) -> None:
    def escaped(name: str) -> str:
        return name.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")

    with tempfile.TemporaryDirectory() as directory:
        paths = [str(Path(directory, name)) for name in ("1.xml", "2.xml")]
        for path, name in zip(paths, (one, other), strict=True):
            Path(path).write_text(domain(escaped(name)), encoding="utf-8")
        names = (one.strip(), other.strip())
        is_fine = names[0] != names[1] or not names[0]
        if is_fine and not any(name.startswith((".", "-")) for name in names):
            assert len(find_members(paths)) == 2
        else:
            assert all(line.startswith(directory) for line in problems(*paths))
