"""Images on servers: what QEMU is told of them."""

from collections.abc import Mapping

import pytest

from tests.support.disks import crumbs, network
from tests.support.domains import errors, options, translated
from tests.support.emulators import emulator


@pytest.mark.parametrize(
    ("xml", "expected"),
    [
        (
            network("nfs", "/x", "<host name='h'/><identity user='root' group='+7'/>"),
            {"driver": "nfs", "user": 0, "group": 7, "path": "/x"},
        ),
        (network("http", "a b/\u00fc?"), {"url": "http://h:80/a%20b/%C3%BC%3F"}),
        (network("gluster", "v/d/a"), {"volume": "v", "path": "d/a"}),
    ],
)
def test_what_a_server_is_told(xml: str, expected: Mapping[str, object]) -> None:
    node = options(translated(xml), "blockdev")[0]
    assert {key: node[key] for key in expected} == expected


def test_cookies_are_a_secret() -> None:
    xml = network("http", "x", crumbs("<cookie name='a'>1</cookie><cookie name='b'>2</cookie>"))
    found = translated(xml)
    [secret] = [row for row in options(found, "object") if row["qom-type"] == "secret"]
    assert secret["data"] == "a=1; b=2"
    assert options(found, "blockdev")[0]["cookie-secret"] == secret["id"]


def test_a_protocol_that_this_qemu_lacks() -> None:
    lacking = emulator(paths=["blockdev-add/arg-type/+iscsi"])
    assert errors(network("iscsi", "iqn.t/1"), caps=lacking) == [
        "vm.xml:6: iqn.t/1: this QEMU has no protocol 'iscsi'"
    ]
