"""`[logs]` in the configuration file."""

from pathlib import Path

import pytest

from qsuper.errors import UsageError
from qsuper.host.config import read_config
from qsuper.host.load import Settings, load_group
from qsuper.plan import LogLimits
from qsuper.planfile import dumps, loads


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "qsuper").mkdir()
    return tmp_path / "qsuper" / "config.toml"


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        ("", LogLimits(max_bytes=10 << 20, keep=3)),
        ("[logs]", LogLimits(max_bytes=10 << 20, keep=3)),
        ("logs = {size='64KiB', keep=0}", LogLimits(max_bytes=1 << 16, keep=0)),
        ("logs = {size='0 B'}", LogLimits(max_bytes=0, keep=3)),
        ("logs = {size=' 1 GB ', keep=10}", LogLimits(max_bytes=10**9, keep=10)),
    ],
)
def test_limits(text: str, limits: LogLimits, config: Path) -> None:
    config.write_text(text)
    assert read_config().logs == limits


@pytest.mark.parametrize(
    "text",
    [
        "logs = 1",
        "logs = {sizes='1 MiB'}",
        "logs = {size=1}",
        "logs = {size='1'}",
        "logs = {size='1 lot'}",
        "logs = {size='1 KiB'}",
        "logs = {size='-1 MiB'}",
        "logs = {keep=-1}",
        "logs = {keep=true}",
        "logs = {keep='3'}",
        "logs = {keep=1001}",
    ],
)
def test_what_is_wrong_is_named(text: str, config: Path) -> None:
    config.write_text(text)
    with pytest.raises(UsageError, match=r"config.toml: logs"):
        read_config()


@pytest.mark.qemu
def test_the_supervisor_is_told(config: Path, tmp_path: Path) -> None:
    """And its successor, by the plan."""
    config.write_text("logs = {size='1 MiB', keep=1}")
    file = tmp_path / "vm.xml"
    file.write_text(
        "<domain type='qemu'><name>vm</name><memory>65536</memory><os><type arch='x86_64'>hvm"
        "</type></os></domain>"
    )
    group = load_group([str(file)], Settings()).group
    assert loads(dumps(group)).logs == LogLimits(max_bytes=1 << 20, keep=1)
