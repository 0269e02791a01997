"""Log files that grow."""

from pathlib import Path

from qsuper.runtime.tail import Tail


def test_lines_come_whole_and_harmless(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"before\n")
    tail = Tail(str(log), "A")
    assert tail.lines() is None
    with log.open("ab", buffering=0) as file:
        file.write(b"one\r\ntw")
        assert tail.lines() == [b"one"]
        file.write(b"o\n\x1b[2J\x1bcred\x07\tx\n\nrest")
        assert tail.lines() == [b"two", b"red\tx", b""]
        assert tail.last() == [b"rest"]
        assert tail.last() == []
        file.write(b"y" * 10_000)
        assert tail.lines() == [b"y" * 10_000]
        file.truncate(0)
        file.write(b"anew\n")
        assert tail.lines() == [b"anew"]
    tail.close()
