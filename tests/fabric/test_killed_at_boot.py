"""Members killed while one of them waits for its boot signal, or is being booted."""

import os
import signal
from pathlib import Path

import pytest

from qsuper import paths
from qsuper.control.adopt import adopt
from qsuper.fabric.client import Client
from qsuper.runtime.rundir import RELEASED
from tests.support.fabric import (
    greetings,
    is_event,
    joined,
    kill_member,
    load,
    restarting,
    wait_count,
    wait_event,
    wait_greetings,
    with_rules,
)
from tests.support.orphans import finish, kill
from tests.support.supervised import (
    Supervisor,
    leftovers,
    states,
    supervised,
    wait_log,
    wait_pid,
    wait_states,
    wait_ticks,
)

pytestmark = [pytest.mark.qemu, pytest.mark.usefixtures("nothing_left")]

WAITS = "<q:boot shmem='mailbox' vector='1'/>"
DEPENDENCY = "mailbox-dependency"


def waiting(text: str) -> str:
    return with_rules(WAITS)(text)


def waiting_and_restarting(text: str) -> str:
    return restarting(waiting(text))


def test_the_one_that_waits(tmp_path: Path) -> None:
    """It has crashed, for all that it has not run yet; the primary is not touched."""
    with supervised(load(tmp_path, "mailbox", waiting)) as supervisor:
        wait_greetings(1, "mailbox")
        kill_member(supervisor, DEPENDENCY)
        wait_event(DEPENDENCY, is_event("EMULATOR_ENDED"))
        with joined(supervisor, "mailbox") as client:
            client.ring(1, 1)
            assert client.wait(30) == 1  # it was heard, and booted nobody
        assert supervisor.state("mailbox") == "running"
        assert states(DEPENDENCY)[-1] == ("crashed", "emulator ended")
        supervisor.ask("destroy", domain="mailbox")
    assert leftovers() == []


def test_the_one_that_waits_comes_back_and_waits(tmp_path: Path) -> None:
    with supervised(load(tmp_path, "mailbox", waiting_and_restarting)) as supervisor:
        wait_greetings(1, "mailbox")
        pid = supervisor.pid(DEPENDENCY)
        kill_member(supervisor, DEPENDENCY)
        wait_states(DEPENDENCY, lambda found: found[-1:] == [("prelaunch", "starting up")])
        with joined(supervisor, "mailbox") as client:
            client.ring(1, 0)
            assert client.wait(30) == 0
            assert supervisor.state(DEPENDENCY) == "prelaunch"
            assert supervisor.pid(DEPENDENCY) != pid
            client.ring(1, 1)
            wait_greetings(1)


def test_the_primary_while_another_waits(tmp_path: Path) -> None:
    """Its dependency ends with it, without having run."""
    with supervised(load(tmp_path, "mailbox", waiting)) as supervisor:
        wait_greetings(1, "mailbox")
        waits = supervisor.pid(DEPENDENCY)
        kill_member(supervisor, "mailbox")
        wait_pid(waits)
        assert supervisor.wait_ended() == 1
    assert greetings() == 0
    assert states(DEPENDENCY)[-1] == ("shut off", "destroyed")
    assert leftovers() == []


def test_the_primary_comes_back_and_boots_it(tmp_path: Path) -> None:
    """Killed before it could ring, it copies the firmware and rings in its second life."""

    def edit(text: str) -> str:
        return restarting(text).replace("shmem='mailbox' vector='0'", "shmem='mailbox' vector='3'")

    with supervised(load(tmp_path, "amp-boot", edit)) as supervisor:
        wait_log("amp-boot", "firmware copied\n")
        waits = supervisor.pid("amp-boot-dependency")
        assert supervisor.state("amp-boot-dependency") == "prelaunch"
        kill_member(supervisor, "amp-boot")
        wait_count("amp-boot", "firmware copied\n", 2)
        assert supervisor.pid("amp-boot-dependency") == waits
        with joined(supervisor, "amp-boot") as client:
            client.ring(1, 3)
            wait_ticks("amp-boot-dependency", 3)


def stopped_at_boot(supervisor: Supervisor, client: Client) -> int:
    """Have the dependency's QEMU told to go while it cannot hear; give its pid."""
    pid = supervisor.pid(DEPENDENCY)
    os.kill(pid, signal.SIGSTOP)
    client.ring(1, 1)
    released = Path(paths.domain_dir(DEPENDENCY), RELEASED)
    while not released.exists():
        supervisor.ask("status")
    return pid


def test_the_one_that_is_being_booted(tmp_path: Path) -> None:
    """The signal has come: the QEMU that replaces it waits for no other."""
    plan = load(tmp_path, "mailbox", waiting_and_restarting)
    with supervised(plan) as supervisor, joined(supervisor, "mailbox") as client:
        wait_greetings(1, "mailbox")
        pid = stopped_at_boot(supervisor, client)
        os.kill(pid, signal.SIGKILL)
        wait_greetings(1)
        assert supervisor.pid(DEPENDENCY) != pid
        assert supervisor.state(DEPENDENCY) == "running"


def test_the_primary_while_another_is_being_booted(tmp_path: Path) -> None:
    with supervised(load(tmp_path, "mailbox", waiting)) as supervisor:
        wait_greetings(1, "mailbox")
        with joined(supervisor, "mailbox") as client:
            pid = stopped_at_boot(supervisor, client)
        kill_member(supervisor, "mailbox")
        wait_pid(pid)
        assert supervisor.wait_ended() == 1
    assert leftovers() == []


def test_the_supervisor_while_another_is_being_booted(tmp_path: Path) -> None:
    """Its successor sees that the signal has come."""
    with supervised(load(tmp_path, "mailbox", waiting)) as supervisor:
        wait_greetings(1, "mailbox")
        with joined(supervisor, "mailbox") as client:
            pid = stopped_at_boot(supervisor, client)
        kill(supervisor)
        os.kill(pid, signal.SIGCONT)
        adopt("mailbox")
        wait_greetings(1)
        assert supervisor.pid(DEPENDENCY) == pid
        finish(supervisor)
