"""Ports that are kept for QEMU."""

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from qsuper.errors import QsuperError
from qsuper.options import FreePort
from qsuper.runtime.ports import KeptPort, keep_port

LOCALHOST = "127.0.0.1"


@pytest.fixture
def kept() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def keep(kept: ExitStack, first: int, address: str = LOCALHOST) -> KeptPort:
    found = keep_port(FreePort(name="p", address=address, first=first))
    kept.callback(os.close, found.descriptor)
    return found


def test_each_gets_its_own_until_the_descriptor_is_closed(kept: ExitStack) -> None:
    first = keep(kept, 20000)
    second = keep(kept, first.port)
    assert second.port > first.port
    kept.close()
    assert keep(kept, first.port).port == first.port


def test_a_port_that_is_listened_on_is_passed_over(kept: ExitStack) -> None:
    with socket.create_server((LOCALHOST, 0)) as server:
        taken = server.getsockname()[1]
        if taken == 0xFFFF:
            pytest.skip("there is none after it")
        assert keep(kept, taken).port > taken


def test_what_is_kept_can_be_listened_on(kept: ExitStack) -> None:
    port = keep(kept, 20000).port
    with socket.create_server((LOCALHOST, port)), socket.create_connection((LOCALHOST, port)):
        pass


def test_it_is_kept_from_programs_that_are_started() -> None:
    found = keep_port(FreePort(name="p", address=LOCALHOST, first=20000))
    assert not os.get_inheritable(found.descriptor)
    os.close(found.descriptor)


def test_no_port_is_free(kept: ExitStack) -> None:
    keep(kept, 0xFFFF)
    with pytest.raises(QsuperError, match=r"127\.0\.0\.1: no port from 65535 on is free"):
        keep(kept, 0xFFFF)


def test_an_address_of_others(kept: ExitStack) -> None:
    with pytest.raises(QsuperError, match=r"192\.0\.2\.1: Cannot assign requested address"):
        keep(kept, 5900, "192.0.2.1")
