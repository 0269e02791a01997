"""What libvirt refuses because two things that are said do not go together."""

import pytest

from tests.support.domains import errors

BRIDGE = "<interface type='bridge'><source bridge='b'/>{}</interface>"
OVS = "<virtualport type='openvswitch'/>"


@pytest.mark.parametrize(
    ("devices", "parts", "what"),
    [
        (BRIDGE.format(f"<port isolated='yes'/>{OVS}"), "", "for a port of type='openvswitch'"),
        (BRIDGE.format("<virtualport type='none'/>"), "", "type='none' is unknown"),
        ("<interface type='user'><port isolated='yes'/></interface>", "", "for type='user'"),
        (
            "<input type='keyboard' bus='virtio' model='virtio-transitional'/>",
            "",
            "type='keyboard' has no model='virtio-transitional'",
        ),
        ("", "<features><htm state='off'/></features>", "only pseries guests have it"),
    ],
)
def test_it_is_refused(devices: str, parts: str, what: str) -> None:
    [error] = errors(devices, parts=parts)
    assert what in error


@pytest.mark.parametrize(
    "devices",
    [
        BRIDGE.format("<port isolated='yes'/>"),
        BRIDGE.format(f"<port isolated='no'/>{OVS}"),
        "<input type='keyboard' bus='virtio' model='virtio'/>",
    ],
)
def test_each_by_itself_is_not(devices: str) -> None:
    assert errors(devices) == []
