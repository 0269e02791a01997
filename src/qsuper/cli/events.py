"""`qsuper events`.

Import budget: that of `control.client`.
"""

import argparse
import json
import select
import time

from qsuper.cli.main import report
from qsuper.control import client
from qsuper.control.client import Connection, Json
from qsuper.errors import QsuperError


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `events`."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="a domain (default: all that run)")
    parser.add_argument(
        "--format",
        choices=("plain", "jsonl"),
        default="plain",
        help="plain text (default), or a JSON line an event",
    )


def run(args: argparse.Namespace) -> int:
    """Print events as they come, until Ctrl-C, or until no supervisor is left to send any."""
    sources = _of_domain(args.name) if args.name is not None else _of_all()
    poll = select.poll()
    for descriptor in sources:
        poll.register(descriptor, select.POLLIN)
    while sources:
        for descriptor, _ in poll.poll():
            source = sources[descriptor]
            events, goes_on = source.arrived()
            for event in events:
                if args.name is None or _concerns(event, args.name):
                    print(json.dumps(event) if args.format == "jsonl" else _line(event), flush=True)
            if not goes_on:
                poll.unregister(descriptor)
                source.close()
                del sources[descriptor]
    return 0


def _of_domain(name: str) -> dict[int, Connection]:
    connection = client.connect(name)
    connection.execute("events")
    return {connection.fileno(): connection}


def _of_all() -> dict[int, Connection]:
    sources: dict[int, Connection] = {}
    for group in client.groups():
        try:
            connection = client.connect_group(group)
            connection.execute("events")
        except OSError:
            continue  # its supervisor died: it sends nothing
        except QsuperError as error:
            report(str(error))
        else:
            sources[connection.fileno()] = connection
    return sources


def _concerns(event: Json, name: str) -> bool:
    data = event["data"]
    return data["domain"] == name or name in data.get("domains", ())


def _line(event: Json) -> str:
    at = event["timestamp"]
    clock = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at["seconds"]))
    data = dict(event["data"])
    said = f"{clock}.{at['microseconds']:06}  {data.pop('domain')}  {event['event']}"
    details = " ".join(f"{key}={_value(value)}" for key, value in data.items())
    return f"{said}  {details}".rstrip()


def _value(value: Json) -> str:
    return value if isinstance(value, str) and " " not in value else json.dumps(value)
