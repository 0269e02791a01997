"""Groups of the examples that share memory, as real supervisors run them."""

import os
import shutil
import signal
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from qsuper import paths
from qsuper.fabric import ledger
from qsuper.fabric.client import Client
from qsuper.fabric.ledger import Ledger
from qsuper.host.load import Settings, load_group
from qsuper.plan import GroupPlan
from tests.support.supervised import Supervisor, events, log, wait_file, wait_log, wait_pid

ROOT: Final = Path(__file__).parents[2]
CONFIGS: Final = ROOT / "configs"
NAMESPACE: Final = "urn:qsuper:domain:1"
SECOND: Final = ROOT / ".second-qemu" / "bin"
"""Where `scripts/second-qemu` puts a later QEMU."""
both = pytest.mark.parametrize("which", ["installed", "second"])
"""For tests that take which QEMU runs the group: `by`."""
PRIMARY, DEPENDENCY = 2, 3
"""Their numbers in mailbox."""
ANSWER, TICK, RESULT = 16, 36, 40
"""Words of a peer's slot: configs/guests/README.md."""


def load(directory: Path, name: str, edit: Callable[[str], str] = str) -> GroupPlan:
    """Translate an example and its dependency, each as *edit* makes it."""
    for file in (f"{name}.xml", f"{name}-dependency.xml"):
        text = edit((CONFIGS / file).read_text()).replace("guests/", f"{CONFIGS}/guests/")
        (directory / file).write_text(text)
    plan = load_group([str(directory / f"{name}.xml")], Settings()).group
    for member in plan.members:
        if not shutil.which(member.plan.emulator):
            pytest.skip(f"no {member.plan.emulator} here")
    return plan


def by(which: str, edit: Callable[[str], str] = str) -> Callable[[str], str]:
    """Give an edit that has the `installed` QEMU run a domain, or the `second` one."""
    if which == "installed":
        return edit

    def changed(text: str) -> str:
        text = edit(text)
        arch = text.partition("<type arch='")[2].partition("'")[0]
        emulator = SECOND / f"qemu-system-{'arm' if arch == 'armv7l' else arch}"
        if not emulator.exists():
            pytest.skip("no second QEMU here (scripts/second-qemu)")
        return text.replace("<devices>", f"<devices><emulator>{emulator}</emulator>", 1)

    return changed


def with_rules(rules: str) -> Callable[[str], str]:
    """Give mailbox's dependency the rules; the primary rings nobody by itself."""

    def edit(text: str) -> str:
        fabric = f"<metadata><q:fabric xmlns:q='{NAMESPACE}'>{rules}</q:fabric></metadata>"
        name = "<name>mailbox-dependency</name>"
        return text.replace(name, name + fabric)

    return edit


def restarting(text: str) -> str:
    """Have a domain come back when it crashes."""
    return text.replace("  <devices>", "  <on_crash>restart</on_crash>\n  <devices>", 1)


def private(text: str) -> str:
    """Number the doorbells such that QEMU saves them."""
    if "<q:fabric" in text:
        return text.replace("domain:1'>", "domain:1' numbering='private'>", 1)
    fabric = f"<metadata><q:fabric xmlns:q='{NAMESPACE}' numbering='private'/></metadata>"
    return text.replace("</name>", f"</name>{fabric}", 1)


def joined(supervisor: Supervisor, name: str) -> Client:
    """Join by the socket that `info` tells of."""
    (bell,) = supervisor.ask("info", domain=name)["doorbells"]
    return Client(bell["socket"])


def ticking(client: Client) -> None:
    """Have the primary ring its dependency 25 times a second: both read 0 as their numbers."""
    struct.pack_into("<I", client.memory, 16, 2 << 16)
    struct.pack_into("<I", client.memory, 36, 3 << 16)


def wait_signals(name: str, more: int) -> None:
    """Wait until a guest has told of so many signals again."""
    path = log(name)
    goal = path.read_text().count("signal ") + more
    wait_file(path, lambda: path.read_text().count("signal ") >= goal)


def greetings(name: str = "mailbox-dependency") -> int:
    """How often a guest has begun."""
    text = log(name).read_text(errors="replace") if log(name).exists() else ""
    return text.count("mailbox ")


def wait_greetings(count: int, name: str = "mailbox-dependency") -> None:
    wait_file(log(name), lambda: greetings(name) >= count)


def wait_event(name: str, what: Callable[[dict[str, object]], bool]) -> None:
    """Wait until a domain's log has such an event."""
    wait_file(log(name, "events.jsonl"), lambda: any(map(what, events(name))))


def write(client: Client, peer: int, at: int, value: int) -> None:
    """Write a word of a peer's slot."""
    struct.pack_into("<I", client.memory, peer * 64 + at, value)


def answers(supervisor: Supervisor, client: Client, name: str, number: int) -> None:
    """Ring a guest by vector 2, and see it print the number."""
    write(client, DEPENDENCY if name.endswith("dependency") else PRIMARY, RESULT, number)
    supervisor.ask("signal", domain=name, vector=2)
    wait_log(name, f"answer {number}\n")


def noted(group: str = "mailbox") -> Path:
    return Path(paths.group_dir(group), "fabric.json")


def ledger_of(group: str = "mailbox") -> Ledger:
    return ledger.loads(noted(group).read_bytes())


def kill_member(supervisor: Supervisor, name: str) -> None:
    pid = supervisor.pid(name)
    os.kill(pid, signal.SIGKILL)
    wait_pid(pid)


def wait_count(name: str, text: str, count: int) -> None:
    path = log(name)
    wait_file(path, lambda: path.read_text().count(text) >= count)


def is_event(event: str) -> Callable[[dict[str, object]], bool]:
    return lambda each: each["event"] == event
