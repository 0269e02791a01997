"""A group plan survives the way through JSON, and nothing else is taken for one."""

import json
from enum import StrEnum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsuper import planfile
from qsuper.options import (
    Access,
    Doorbell,
    FreePort,
    Handle,
    OpenFile,
    Option,
    SharedMemory,
    Tap,
    UnixListener,
    VhostNet,
)
from qsuper.plan import (
    Console,
    ConsoleKind,
    GroupPlan,
    LaunchPlan,
    Lifecycle,
    Member,
    OnEnd,
    OnSignal,
    Role,
    Signal,
    Vector,
)

RESOURCES = (
    UnixListener(name="a", path="/run/a.sock"),
    OpenFile(name="b", path="/log", access=Access.APPEND),
    SharedMemory(name="c", share="mailbox", size_bytes=4096),
    Doorbell(name="f", share="mailbox", size_bytes=4096, vectors=2, is_private=True),
    Tap(name="d", bridge="br0"),
    VhostNet(name="e"),
    FreePort(name="g", address="::1", first=5900),
)


class Family(StrEnum):
    """A device family's own words, of which planfile knows nothing."""

    WORD = "2"


def plan(name: str) -> LaunchPlan:
    return LaunchPlan(
        name=name,
        uuid="7d0a1c2e-0000-4000-8000-000000000000",
        arch="x86_64",
        emulator="/usr/bin/qemu-system-x86_64",
        options=(
            Option.flag("no-user-config"),
            Option.raw("-global", "x=y"),
            Option.keyed("machine", {"gic-version": Family.WORD}),
            Option.word("uuid", "7d0a1c2e-0000-4000-8000-000000000000"),
            *(
                Option.json("x", {"deep": [{"path": Handle(resource=made, shown="s")}]})
                for made in RESOURCES
            ),
        ),
        env={"A": "b"},
        consoles=(Console(alias="serial0", chardev="charserial0", kind=ConsoleKind.PTY),),
        lifecycle=Lifecycle(on_crash=OnEnd.RESTART),
        boot=Vector(share="mailbox", number=0),
        signals=(Signal(vector=Vector(share="mailbox", number=1), verb=OnSignal.RESET),),
    )


GROUP = GroupPlan(
    (
        Member(plan=plan("b"), role=Role.DEPENDENCY, source="/b.xml", xml="<domain/>"),
        Member(plan=plan("a"), role=Role.PRIMARY, needs=("b",)),
    )
)


def test_a_group_comes_back_as_it_went_in() -> None:
    back = planfile.loads(planfile.dumps(GROUP))

    assert planfile.dumps(back) == planfile.dumps(GROUP)
    assert back.name == "a"
    assert back.members[0].plan.lifecycle == GROUP.members[0].plan.lifecycle
    assert tuple(back.members[0].plan.resources()) == RESOURCES
    assert back.members[0].plan.boot == GROUP.members[0].plan.boot
    assert back.members[0].plan.signals == GROUP.members[0].plan.signals
    assert [
        option.argv(dict.fromkeys("abcdefg", 3)) for option in back.members[1].plan.options
    ] == [option.argv(dict.fromkeys("abcdefg", 3)) for option in GROUP.members[1].plan.options]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda part: st.lists(part) | st.dictionaries(st.text() | st.sampled_from(["$class"]), part),
)


@given(json_values)
def test_other_json_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="not a group plan"):
        planfile.loads(json.dumps(value))


@pytest.mark.parametrize("cut", range(0, len(planfile.dumps(GROUP)) - 1, 97))
def test_a_truncated_plan_is_refused(cut: int) -> None:
    with pytest.raises(ValueError, match="not a group plan"):
        planfile.loads(planfile.dumps(GROUP)[:cut])
