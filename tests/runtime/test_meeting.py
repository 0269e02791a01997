"""Real QEMUs that meet: what a remote port does is what a socket does that waits for its client."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from qsuper.options import Option, Props
from qsuper.plan import GroupPlan, LaunchPlan, Meeting
from tests.support.supervised import domain, group, leftovers, log, supervised, wait_ticks

pytestmark = pytest.mark.qemu

DIRECTORY = "group/soc.machine-path"


def meets(name: str, *ports: str, waits: bool) -> LaunchPlan:
    """Give a domain whose QEMU has these sockets; it waits for its peers, or they for it."""
    options: list[Option] = []
    for port in ports:
        props: Props = {
            "backend": "socket",
            "id": port,
            "path": f"{DIRECTORY}/qemu-rport-{port}",
            "server": True if waits else None,
            "wait": True if waits else None,
        }
        options.append(Option.keyed("chardev", props, implied="backend"))
    meeting = Meeting(directory=DIRECTORY, prefix="qemu-rport-")
    return replace(domain(name, "tick", *options), meeting=meeting)


def run(plan: GroupPlan) -> None:
    """Start it, see all of it work, end it."""
    names = [member.plan.name for member in plan.members]
    with supervised(plan) as supervisor:
        for name in names:
            wait_ticks(name, 2)
        assert {row["state"] for row in supervisor.ask("list")["domains"]} == {"running"}
        supervisor.ask("destroy", domain=plan.name)
    assert leftovers() == []


def test_the_first_one_waits_for_the_second(rundir: Path) -> None:
    run(group([(meets("A", "b", waits=False), ["B"])], [meets("B", "b", waits=True)]))
    assert "waiting for connection on" in log("B", "qemu.log").read_text()


def test_one_in_the_middle(rundir: Path) -> None:
    """Two wait, each for a socket of its own; the last one comes to both."""
    spokes = [meets("B", "b", waits=True), meets("C", "c", waits=True)]
    run(group([(meets("A", "b", "c", waits=False), ["B", "C"])], spokes))


def test_one_that_waits_for_nobody(rundir: Path) -> None:
    """It answers, and the next one comes."""
    run(group([(meets("A", waits=False), ["B"])], [meets("B", waits=False)]))


def test_the_primary_is_the_one_to_come_to(rundir: Path) -> None:
    host = meets("A", "b", waits=True)
    assert host.meeting
    host = replace(host, meeting=replace(host.meeting, is_host=True))
    run(group([(host, ["B"])], [meets("B", "b", waits=False)]))
