"""Log files that are kept small while others write to them."""

import fcntl
import os
from collections.abc import Generator
from contextlib import closing
from pathlib import Path

import pytest

from qsuper.plan import LogLimits
from qsuper.runtime.logreader import LogReader
from qsuper.runtime.rotation import base_of, rotate
from tests.support.places import small

LIMITS = LogLimits(max_bytes=1 << 16, keep=3)


def numbered(start: int, count: int) -> bytes:
    """Give lines of eight bytes."""
    return b"".join(b"%07d\n" % number for number in range(start, start + count))


def kept(path: Path) -> bytes:
    """Give what stands in all the files, the oldest first."""
    pieces = sorted(path.parent.glob(f"{path.name}.[0-9]*"), key=lambda each: -int(each.suffix[1:]))
    return b"".join(piece.read_bytes() for piece in (*pieces, path))


@pytest.fixture(params=["disk", "tmpfs"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Generator[Path]:
    """A log where pieces can be taken off the front, and one where they cannot."""
    if request.param == "disk":
        yield tmp_path / "serial0.log"
        return
    with small(tmp_path / "small", "size=64M") as directory:
        yield directory / "serial0.log"


def test_nothing_is_lost(log: Path) -> None:
    """What stands in the files joins on, whatever is cut off."""
    written = b""
    with log.open("ab", buffering=0) as writer:
        for start in range(0, 40_000, 1000):
            written += (more := numbered(start, 1000))
            writer.write(more)
            rotate(str(log), LIMITS)

    assert log.stat().st_size <= LIMITS.max_bytes
    assert sorted(path.name for path in log.parent.iterdir()) == [
        "serial0.log", "serial0.log.1", "serial0.log.2", "serial0.log.3", "serial0.log.base",
    ]  # fmt: skip
    assert written.endswith(kept(log))
    assert len(kept(log)) >= LIMITS.keep * LIMITS.max_bytes
    assert base_of(str(log)) == len(written) - log.stat().st_size
    assert (log.parent / "serial0.log.1").stat().st_mode & 0o777 == 0o600


def test_a_reader_sees_everything_once(log: Path) -> None:
    """However often it is cut between two of its reads."""
    log.touch()
    seen = b""
    with closing(LogReader(str(log))) as reader, log.open("ab", buffering=0) as writer:
        for start in range(0, 60_000, 3000):
            writer.write(numbered(start, 3000))
            rotate(str(log), LIMITS)
            seen += reader.read(1000 if start % 2000 else 40_000)
            for _ in range(start % 7000 // 1000):
                seen += reader.read()
        while chunk := reader.read():
            seen += chunk

    assert seen == numbered(0, 60_000)


def test_a_reader_that_comes_too_late_goes_on_with_what_is_there(log: Path) -> None:
    log.touch()
    with closing(LogReader(str(log))) as reader, log.open("ab", buffering=0) as writer:
        for start in range(0, 80_000, 1000):
            writer.write(numbered(start, 1000))
            rotate(str(log), LIMITS)
        seen = b""
        while chunk := reader.read():
            seen += chunk

    assert seen == kept(log)


def test_far_too_long(log: Path) -> None:
    """Of what was written faster than looked at, the end is kept."""
    log.write_bytes(numbered(0, 500_000))
    rotate(str(log), LIMITS)

    assert log.stat().st_size <= LIMITS.max_bytes
    assert numbered(0, 500_000).endswith(kept(log))
    assert len(kept(log)) >= LIMITS.max_bytes


def test_a_full_disk_keeps_the_end(tmp_path: Path) -> None:
    """What cannot be copied is not kept; the file is cut all the same."""
    with small(tmp_path / "small", "size=1M") as directory:
        log = directory / "serial0.log"
        with pytest.raises(OSError, match="space"):
            log.write_bytes(numbered(0, 1 << 18))
        with pytest.raises(OSError, match="space"):
            log.with_suffix(".other").write_bytes(b"x" * 4096)

        assert rotate(str(log), LIMITS) <= LIMITS.max_bytes

        assert sorted(path.name for path in directory.iterdir())[:1] == ["serial0.log"]
        with closing(LogReader(str(log))) as reader:
            with log.open("ab") as writer:
                writer.write(b"more\n")
            assert reader.read() == b"more\n"


def test_waits_for_a_reader_but_not_for_ever(tmp_path: Path) -> None:
    log = tmp_path / "serial0.log"
    log.write_bytes(numbered(0, 10_000))
    with log.open("rb") as reader:
        fcntl.flock(reader, fcntl.LOCK_SH)
        assert rotate(str(log), LIMITS) == 80_000
        os.truncate(log, 1 << 25)
        assert rotate(str(log), LIMITS) < (LIMITS.keep + 2) * LIMITS.max_bytes


def test_a_lower_limit_removes_what_was_kept(tmp_path: Path) -> None:
    log = tmp_path / "serial0.log"
    for start in range(0, 80_000, 1000):
        with log.open("ab") as writer:
            writer.write(numbered(start, 1000))
        rotate(str(log), LIMITS)
    with log.open("ab") as writer:
        writer.write(numbered(80_000, 10_000))
    rotate(str(log), LogLimits(max_bytes=1 << 16, keep=1))

    assert not (tmp_path / "serial0.log.2").exists()
    assert numbered(0, 90_000).endswith(kept(log))


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(bytes(1 << 20))
    (tmp_path / "serial0.log").symlink_to("precious")

    with pytest.raises(OSError, match="symbolic links"):
        rotate(str(tmp_path / "serial0.log"), LIMITS)

    assert (tmp_path / "precious").stat().st_size == 1 << 20
