"""Files made from a template before the first start."""

import os
from pathlib import Path

import pytest

from qsuper.errors import QsuperError
from qsuper.plan import Seed
from qsuper.runtime.seeds import plant


def seed(path: Path, template: Path) -> Seed:
    return Seed(path=str(path), template=str(template))


def test_a_file_is_made_with_its_directories(tmp_path: Path) -> None:
    template, path = tmp_path / "template", tmp_path / "state" / "nvram" / "vars.fd"
    content = os.urandom(100_000)
    template.write_bytes(content)
    plant([seed(path, template)])
    assert path.read_bytes() == content
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["vars.fd"]


def test_what_the_guest_has_written_stays(tmp_path: Path) -> None:
    template, path = tmp_path / "template", tmp_path / "vars.fd"
    template.write_bytes(b"new")
    path.write_bytes(b"the guest's own")
    plant([seed(path, template)])
    assert path.read_bytes() == b"the guest's own"


def test_a_file_of_a_copy_that_was_cut_off_is_no_obstacle(tmp_path: Path) -> None:
    template, path = tmp_path / "template", tmp_path / "vars.fd"
    template.write_bytes(b"whole")
    (tmp_path / f"vars.fd.{os.getpid()}.new").write_bytes(b"who")
    plant([seed(path, template)])
    assert path.read_bytes() == b"whole"


def test_a_template_that_is_not_there_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(QsuperError, match="template: No such file or directory"):
        plant([seed(tmp_path / "vars.fd", tmp_path / "template")])
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_copied_must_be_there_already(tmp_path: Path) -> None:
    path = tmp_path / "vars.qcow2"
    unfit = Seed(path=str(path), template="/template", obstacle="a template is no qcow2")
    with pytest.raises(QsuperError, match="it does not exist, and a template is no qcow2"):
        plant([unfit])
    path.write_bytes(b"the guest's own")
    plant([unfit])
    assert path.read_bytes() == b"the guest's own"
