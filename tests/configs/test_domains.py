"""The example domains are libvirt's XML, apart from what qsuper adds, by libvirt's judgement."""

import shutil
import subprocess
from pathlib import Path

import pytest
from lxml import etree

CONFIGS = Path(__file__).parents[2] / "configs"
DOMAINS = sorted(CONFIGS.glob("*.xml"))
SCHEMA = Path("/usr/share/libvirt/schemas/domain.rng")
EMBEDDED_DRIVER = "/usr/lib/*/libvirt/connection-driver/libvirt_driver_qemu.so"


def for_libvirt(path: Path) -> bytes:
    """Give *path* without what only qsuper understands."""
    tree = etree.parse(path)
    for dependency in tree.findall(".//domaindependency"):
        parent = dependency.getparent()
        assert parent is not None
        parent.remove(dependency)
    for element in tree.iter("loader", "kernel", "initrd"):
        element.text = str(path.parent / (element.text or ""))
    for element in tree.iter("source"):
        element.set("file", str(path.parent / element.get("file", "")))
    return etree.tostring(tree)


@pytest.fixture(scope="module")
def libvirt_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a directory in which libvirt's driver runs without its daemons."""
    if not shutil.which("virsh") or not list(Path("/").glob(EMBEDDED_DRIVER[1:])):
        pytest.skip("libvirt's QEMU driver is not installed")
    return tmp_path_factory.mktemp("libvirt")


@pytest.mark.parametrize("path", DOMAINS, ids=lambda path: path.stem)
def test_comment_says_what_it_is(path: Path) -> None:
    comment, _, domain = path.read_text().partition("-->\n")
    assert comment.startswith("<!--\n  ")
    assert domain.startswith("<domain ")


@pytest.mark.parametrize("path", DOMAINS, ids=lambda path: path.stem)
def test_name_is_that_of_the_file(path: Path) -> None:
    assert etree.parse(path).findtext("name") == path.stem


@pytest.mark.parametrize("path", DOMAINS, ids=lambda path: path.stem)
def test_files_are_there(path: Path) -> None:
    tree = etree.parse(path)
    named = [element.get("file", "") for element in tree.iter("source")]
    named += [element.text or "" for element in tree.iter("loader", "domaindependency")]
    assert [file for file in named if not (path.parent / file).is_file()] == []


@pytest.mark.parametrize("path", DOMAINS, ids=lambda path: path.stem)
def test_valid_by_libvirts_schema(path: Path) -> None:
    if not SCHEMA.exists():
        pytest.skip(f"no {SCHEMA} here")
    schema = etree.RelaxNG(etree.parse(SCHEMA))
    assert schema.validate(etree.fromstring(for_libvirt(path))), schema.error_log


@pytest.mark.qemu
@pytest.mark.parametrize("path", DOMAINS, ids=lambda path: path.stem)
def test_libvirt_translates_it(path: Path, libvirt_root: Path) -> None:
    emulator = etree.parse(path).findtext("devices/emulator")
    if emulator and not Path(emulator).exists():
        pytest.skip(f"no {emulator} here")
    stripped = libvirt_root / path.name
    stripped.write_bytes(for_libvirt(path))
    uri = f"qemu:///embed?root={libvirt_root}"
    done = subprocess.run(
        ["virsh", "-c", uri, "domxml-to-native", "qemu-argv", "--xml", stripped],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert f"guest={path.stem}," in done.stdout
