"""What is wrong with a start: one line that says so, its exit status, and nothing left."""

import socket
from pathlib import Path

import pytest

from tests.support.lab import Lab

pytestmark = pytest.mark.qemu

both = pytest.mark.parametrize("words", [["-d"], []], ids=["detached", "foreground"])


@both
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "bad.xml:1: "),
        (b"\x00\xff", "bad.xml:1: "),
        (b"<domain type='qemu'>\n<name>x</uuid>\n</domain>", "bad.xml:2: "),
        (b"<!DOCTYPE domain [<!ENTITY e 'x'>]>\n<domain/>", "bad.xml:1: "),
        (b"<network/>", "bad.xml:1: "),
        (b"<domain type='xen'><name>x</name></domain>", "bad.xml:1: "),
        (b"<domain type='qemu'>\n<name>../x</name>\n</domain>", "bad.xml:2: "),
    ],
    ids=["empty", "binary", "malformed", "doctype", "network", "xen", "name"],
)
def test_wrong_file(lab: Lab, words: list[str], content: bytes, said: str) -> None:
    (lab.root / "bad.xml").write_bytes(content)

    done = lab.run("up", *words, str(lab.root / "bad.xml"))

    assert (done.status, done.out) == (65, "")
    assert all(line.startswith(f"qsuper: {lab.root}/{said}") for line in done.err.splitlines())
    assert done.err


@both
def test_no_file(lab: Lab, words: list[str]) -> None:
    done = lab.run("up", *words, str(lab.root / "none.xml"))

    assert (done.status, done.out) == (65, "")
    assert done.error == f"{lab.root}/none.xml: no such file"


@both
def test_one_of_several_files_is_wrong(lab: Lab, words: list[str]) -> None:
    (lab.root / "bad.xml").write_text("<domain")

    done = lab.run("up", *words, lab.domain("a"), str(lab.root / "bad.xml"))

    assert done.status == 65
    assert done.error.startswith(f"{lab.root}/bad.xml:1: ")


@both
def test_no_emulator(lab: Lab, words: list[str]) -> None:
    lab.domain("b", devices="<emulator>/nonexistent/qemu</emulator>")
    file = lab.domain("a", "b")

    done = lab.run("up", *words, file)

    assert (done.status, done.out) == (69, "")
    assert done.error == (
        f"{lab.root}/b.xml:15: /nonexistent/qemu: no such emulator"
        " (without <emulator>, qemu-system-ARCH is taken)"
    )


@both
def test_emulator_that_dies_at_once(lab: Lab, words: list[str]) -> None:
    """One member of several: it is named, its own words are shown, the others are ended."""
    script = 'case "$*" in *guest=b,*) echo "no luck today" >&2; exit 7;; esac\n'
    lab.domain("b", devices=lab.emulator(f'{script}exec qemu-system-x86_64 "$@"'))
    lab.domain("c")

    done = lab.run("up", *words, lab.domain("a", "c", "b"))

    assert (done.status, done.out) == (1, "")
    assert done.error == "b: QEMU did not start: no luck today"


@both
def test_emulator_that_dies_without_a_word(lab: Lab, words: list[str]) -> None:
    script = 'case "$*" in *guest=*) kill -9 $$;; esac\n'
    file = lab.domain("a", devices=lab.emulator(f'{script}exec qemu-system-x86_64 "$@"'))

    done = lab.run("up", *words, file)

    assert done.status == 1
    assert done.error == "a: QEMU did not start: it was ended by SIGKILL"


@both
def test_no_disk_image(lab: Lab, words: list[str]) -> None:
    image = lab.root / "none.img"
    disk = f"<disk type='file'><source file='{image}'/><target dev='vda' bus='virtio'/></disk>"
    lab.domain("b", devices=disk)

    done = lab.run("up", *words, lab.domain("a", "b"))

    assert (done.status, done.out) == (1, "")
    assert done.error.startswith("b: QEMU did not start: ")
    assert done.error.endswith(f"Could not open '{image}': No such file or directory")
    assert not image.exists()


@both
def test_port_in_use(lab: Lab, words: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        source = f"<source mode='bind' host='127.0.0.1' service='{port}'/>"
        file = lab.domain("a", devices=f"<serial type='tcp'>{source}</serial>")

        done = lab.run("up", *words, file)

    assert done.status == 1
    assert done.error.startswith("a: QEMU did not start: ")
    assert f"port={port}" in done.error
    assert done.error.endswith("Address already in use")


@both
@pytest.mark.parametrize(
    ("path", "said"),
    [("none/x.sock", "No such file or directory"), ("taken", "Address already in use")],
)
def test_socket_that_cannot_be_made(lab: Lab, words: list[str], path: str, said: str) -> None:
    taken = lab.root / "taken"
    taken.write_text("mine")
    source = f"<source mode='bind' path='{lab.root}/{path}'/>"
    file = lab.domain("a", devices=f"<serial type='unix'>{source}</serial>")

    done = lab.run("up", *words, file)

    assert done.status == 1
    assert done.error == f"a: {lab.root}/{path}: cannot listen: {said}"
    assert taken.read_text() == "mine"


def test_console_socket_with_a_long_path(lab: Lab) -> None:
    """It is bound elsewhere, found by a link, and both are gone at the end."""
    path = lab.root / f"{'x' * 120}.sock"
    source = f"<source mode='bind' path='{path}'/>"
    file = lab.domain("a", devices=f"<serial type='unix'>{source}</serial>")

    assert lab.run("up", "-d", file) == (0, "Domain 'a' started\n", "")

    assert path.is_symlink()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path.resolve()))
    assert lab.run("destroy", "a").status == 0
    assert not path.is_symlink()


def test_runtime_directory_with_a_path_too_long_for_sockets(lab: Lab) -> None:
    runtime = lab.runtime / ("x" * 120)

    done = lab.run("up", "-d", lab.domain("a"), env={"QSUPER_RUNTIME_DIR": str(runtime)})

    assert done.status == 1
    assert done.error == (
        f"{runtime}/groups/a/control.sock: too long for a socket"
        " (set QSUPER_RUNTIME_DIR to a shorter path)"
    )
    assert not list(runtime.glob("*/*"))
    Path(runtime, "groups").rmdir()
    runtime.rmdir()
