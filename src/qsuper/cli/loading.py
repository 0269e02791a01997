"""What `up`, `translate` and `validate` share: options about loading, and how notices look.

Import budget: argparse; the loader, with lxml, only where it is used.
"""

import argparse
from collections.abc import Iterable
from typing import TYPE_CHECKING

from qsuper.cli.main import report
from qsuper.location import Notice

if TYPE_CHECKING:  # lxml costs 22 ms, and the supervisor of `up` must never load it
    from qsuper.host.load import Settings


def add_files(parser: argparse.ArgumentParser) -> None:
    """Add FILE..., `--accel`, `--network` and `--no-qemu-namespace`."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="a domain XML file")
    parser.add_argument(
        "--accel",
        choices=("kvm", "tcg"),
        help="the accelerator, whatever the files say",
    )
    parser.add_argument(
        "--network",
        action="append",
        default=[],
        metavar="NAME=STAND-IN",
        help="what stands in for a libvirt network: user, bridge:BRIDGE or passt",
    )
    parser.add_argument(
        "--no-qemu-namespace",
        action="store_true",
        help="refuse <qemu:...> and emulators outside PATH, in files that are not trusted",
    )


def add_elsewhere(parser: argparse.ArgumentParser) -> None:
    """Add `--capabilities` and `--host`: to translate for another host than this one."""
    parser.add_argument(
        "--capabilities",
        action="append",
        default=[],
        metavar="FILE",
        help="what the emulator can do, from `qsuper capabilities`, instead of asking it;"
        " again for each further architecture of a group",
    )
    parser.add_argument(
        "--host",
        metavar="DIR",
        help="a directory with another host's firmware/, networks/ and storage-pools/",
    )


def settings(args: argparse.Namespace) -> "Settings":
    """Give what the options of `add_files` and `add_elsewhere` say.

    Raises:
        UsageError: an entry for `--network` is none.
    """
    from qsuper.host.load import Accel, Settings  # noqa: PLC0415 - lxml, as above
    from qsuper.host.network import parse_entry  # noqa: PLC0415 - likewise

    return Settings(
        accel=Accel(args.accel) if args.accel else None,
        networks=dict(map(parse_entry, args.network)),
        capabilities=tuple(getattr(args, "capabilities", ())),
        host=getattr(args, "host", None),
        is_trusted=not getattr(args, "no_qemu_namespace", False),
    )


def warning(notice: Notice) -> str:
    """Give a notice as it is shown."""
    return f"{notice.at}: warning: {notice.message}"


def warn(notices: Iterable[Notice]) -> None:
    """Show notices on stderr."""
    for notice in notices:
        report(warning(notice))
