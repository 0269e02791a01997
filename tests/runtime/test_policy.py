"""What the guests' own actions lead to."""

import pytest

from qsuper.plan import Lifecycle, OnEnd
from qsuper.runtime.policy import Backoff, actions


def test_backoff_doubles_up_to_a_minute_and_forgets() -> None:
    backoff = Backoff()
    delays_s = [backoff.delay_s(5.0) for _ in range(9)]
    assert delays_s == [0, 1, 2, 4, 8, 16, 32, 60, 60]
    assert backoff.delay_s(600.0) == 0
    assert backoff.delay_s(5.0) == 1


@pytest.mark.parametrize("on_reboot", OnEnd)
def test_qemu_leaves_the_decision_to_us(on_reboot: OnEnd) -> None:
    stays = on_reboot in (OnEnd.RESTART, OnEnd.RENAME_RESTART, OnEnd.COREDUMP_RESTART)
    wanted = {"shutdown": "pause"} | ({} if stays else {"reboot": "shutdown"})
    assert actions(Lifecycle(on_reboot=on_reboot)) == wanted
