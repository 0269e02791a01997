"""Malformed messages, as `scripts/fuzz-control` sends them; a short run."""

import pytest

from scripts.fuzzing.control import campaign, verdict

pytestmark = pytest.mark.qemu


def test_malformed_messages() -> None:
    rows = list(campaign(3000, seed=7))

    assert rows[-1][0] >= 3000
    assert verdict(rows) == ""
    assert max(took_s for *_, took_s in rows) < 2
