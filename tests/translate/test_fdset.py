"""Files by `-add-fd`: each has a set of its own."""

from qsuper.translate.fdset import fdset_path

DEVICES = ("serial", "parallel", "console", "channel", "redir", "smartcard", "net")


def test_no_two_files_share_a_set() -> None:
    """The one would get what the guest writes for the other."""
    names = [
        f"{device}{number}-{end}"
        for device in DEVICES
        for number in range(256)
        for end in ("source", "log", "vdpa")
    ]
    sets = {int(fdset_path(name).removeprefix("/dev/fdset/")) for name in names}
    assert len(sets) == len(names)
    assert max(sets) < 1 << 31
