"""Malformed messages to the control socket of a real supervisor with a real guest.

After each batch the supervisor must answer `list` with the guest running, and its memory is read.
The end fails where it has grown by more than the slack since the first tenth, or descriptors are
left open.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from qsuper import paths
from qsuper.control.client import Connection
from tests.support.supervised import Supervisor, domain, group, wait_ticks

_SLACK_KIB: Final = 4096
_TIMEOUT_S: Final = 10.0
_SLOW_BYTES: Final = 200
_HELLO: Final = b'{"execute": "qmp_capabilities"}\n'
_VERBS: Final = (
    "list", "status", "info", "suspend", "resume", "destroy", "shutdown", "down", "reset",
    "reboot", "restart", "qmp", "console", "events",
)  # fmt: skip
_ODD: Final[tuple[Any, ...]] = (
    None,
    True,
    0,
    -1,
    1e308,
    "",
    "A\0",
    "../A",
    "x" * 5000,
    [],
    [[]],
    {},
    {"a": {}},
)

Attack = Callable[[random.Random], bytes]


def _noise(dice: random.Random) -> bytes:
    return dice.randbytes(dice.randint(1, 2000))


def _truncated(dice: random.Random) -> bytes:
    whole = json.dumps({"execute": dice.choice(_VERBS), "arguments": {"domain": "A"}}).encode()
    return whole[: dice.randrange(len(whole) - 1)] + b"\n"


def _flipped(dice: random.Random) -> bytes:
    whole = bytearray(b'{"execute": "lisp", "arguments": {"domain": "B", "x": [1, 2]}, "id": 7}\n')
    for _ in range(dice.randint(1, 6)):
        whole[dice.randrange(len(whole))] = dice.randrange(256)
    return bytes(whole)


def _wrong_types(dice: random.Random) -> bytes:
    message: dict[str, Any] = {
        "execute": dice.choice((*_VERBS, *_ODD)),
        "arguments": dice.choice((*_ODD, {"domain": dice.choice(_ODD)}, {"group": 1})),
        "id": dice.choice(_ODD),
    }
    for key in dice.sample(list(message), dice.randint(0, 2)):
        del message[key]
    if message.get("execute") in ("list", "status", "events"):
        message["arguments"] = {"nothing": 1}
    return json.dumps(message).encode() + b"\n"


def _not_an_object(dice: random.Random) -> bytes:
    return json.dumps(dice.choice(_ODD)).encode() + b"\n"


def _deep(dice: random.Random) -> bytes:
    depth = dice.choice((255, 257, 5000, 100_000))
    return dice.choice((b"[", b'{"a":')) * depth + b"\n"


def _oversized(dice: random.Random) -> bytes:
    return b'{"execute": "' + b"x" * dice.choice((1 << 20, (1 << 20) + 1, 3 << 20))


def _bad_text(dice: random.Random) -> bytes:
    return dice.choice(
        (b'{"execute": "\xff\xfe"}\n', b'{"execute": "\\ud800"}\n', b"\0" * 100 + b"\n", b"NaN\n")
    )


_ATTACKS: Final[tuple[Attack, ...]] = (
    _noise,
    _truncated,
    _flipped,
    _wrong_types,
    _wrong_types,
    _wrong_types,
    _not_an_object,
    _bad_text,
)
_SELDOM: Final[tuple[Attack, ...]] = (_deep, _oversized)  # a message of 3 MiB takes its time


def attack(control: str, messages: int, dice: random.Random) -> int:
    """Send *messages*, several on a connection; give how many connections that took."""
    sent = connections = 0
    while sent < messages:
        connections += 1
        with contextlib.suppress(OSError), _connected(control) as client:
            client.sendall(b"" if _happens(dice, 0.1) else _HELLO)
            for _ in range(dice.randint(1, 20)):
                seldom = _happens(dice, 0.002)
                content = dice.choice(_SELDOM if seldom else _ATTACKS)(dice)
                sent += 1
                _send(client, content, dice)
            _leave(client, dice)
    return connections


def _happens(dice: random.Random, share: float) -> bool:
    return dice.random() < share


def _connected(control: str) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(_TIMEOUT_S)
    client.connect(control)
    return client


def _send(client: socket.socket, content: bytes, dice: random.Random) -> None:
    if _happens(dice, 0.02) and len(content) < _SLOW_BYTES:  # slowly
        for at in range(len(content)):
            client.sendall(content[at : at + 1])
    else:
        client.sendall(content)


def _leave(client: socket.socket, dice: random.Random) -> None:
    """Hang up rudely, or half, or having read what there is."""
    if _happens(dice, 0.4):
        return
    client.shutdown(socket.SHUT_WR)
    if _happens(dice, 0.8):
        while client.recv(1 << 16):
            pass


def resident_kib(pid: int) -> int:
    """Give a process's resident memory."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1])
    raise ProcessLookupError(pid)


def descriptors(pid: int) -> int:
    """Give how many descriptors a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def campaign(messages: int, seed: int) -> Iterator[tuple[int, int, int, float]]:
    """Give after each batch: messages so far, resident KiB, descriptors, seconds for `list`.

    Raises:
        AssertionError: the supervisor or its guest does not do what it should.
    """
    dice = random.Random(seed)
    with Supervisor(group([(domain("A"), ["B"])], [domain("B")]), detached=True) as supervisor:
        supervisor.wait_started()
        control = os.path.join(paths.group_dir("A"), "control.sock")
        idlers = [_connected(control) for _ in range(20)]  # say nothing, or half a word
        for idler in idlers[10:]:
            idler.sendall(b'{"exe')
        batch = max(1, messages // 20)
        done = 0
        while done < messages:
            attack(control, min(batch, messages - done), dice)
            done += batch
            began_s = time.monotonic()
            with Connection(control, "the supervisor") as connection:
                rows = connection.execute("list")["domains"]
            took_s = time.monotonic() - began_s
            assert {row["name"] for row in rows} == {"A", "B"}, rows
            pid = supervisor.process.pid
            yield done, resident_kib(pid), descriptors(pid), took_s
        for idler in idlers:
            idler.close()
        wait_running(supervisor)


def wait_running(supervisor: Supervisor) -> None:
    """Check that the guests go on, or do where a message that was right has suspended them."""
    for row in supervisor.ask("list")["domains"]:
        if row["state"] == "paused":
            supervisor.ask("resume", domain=row["name"])
    wait_ticks("A", 3)
    wait_ticks("B", 3)


def verdict(rows: list[tuple[int, int, int, float]]) -> str:
    """Say what is wrong; empty where nothing is."""
    first, last = rows[len(rows) // 10], rows[-1]
    if last[1] > first[1] + _SLACK_KIB:
        return f"memory grew from {first[1]} to {last[1]} KiB"
    if last[2] > first[2] + 5:
        return f"descriptors grew from {first[2]} to {last[2]}"
    return ""


def main(argv: list[str]) -> int:
    """Run a campaign and report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as directory:
        os.environ["QSUPER_RUNTIME_DIR"] = f"{directory}/run"
        os.environ["XDG_STATE_HOME"] = f"{directory}/state"
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        rows: list[tuple[int, int, int, float]] = []
        for row in campaign(args.messages, args.seed):
            rows.append(row)
            done, resident, open_files, took_s = row
            print(
                f"{done:7} messages: {resident} KiB, {open_files} descriptors,"
                f" list in {took_s * 1000:.1f} ms",
                flush=True,
            )
    problem = verdict(rows)
    print(f"FAILED: {problem}" if problem else "the supervisor lives, answers, and has not grown")
    return 1 if problem else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
