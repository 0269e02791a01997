"""What libvirt refuses because two things that are said do not go together."""

import pytest

from tests.support.domains import errors

BRIDGE = "<interface type='bridge'><source bridge='b'/>{}</interface>"
LABELLED = "<disk type='file'><source file='/a'>{}</source><target dev='vda' bus='virtio'/></disk>"
PORT = "<serial type='file'><source path='/a'>{}</source></serial>"
MIRROR = (
    "<disk type='file'><source file='/a'/><target dev='vda' bus='virtio'/>"
    "<mirror type='file'><source file='/b'>{}</source></mirror></disk>"
)
NONE = "<seclabel type='none' model='selinux'/>"
RELABELLED = "<seclabel type='static' model='selinux' relabel='yes'><label>a</label></seclabel>"
STATIC = "<seclabel type='static' model='selinux'><label>a</label></seclabel>"
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
        (LABELLED.format("<seclabel model='selinux' labelskip='yes'/>"), STATIC, "relabelled"),
        (LABELLED.format("<seclabel model='selinux' relabel='no'/>"), NONE, "relabelled"),
        (PORT.format("<seclabel model='selinux' relabel='no'/>"), STATIC, "relabelled"),
        ("", "<features><htm state='off'/></features>", "only pseries guests have it"),
    ],
)
def test_it_is_refused(devices: str, parts: str, what: str) -> None:
    [error] = errors(devices, parts=parts)
    assert what in error


@pytest.mark.parametrize(
    ("devices", "parts"),
    [
        (LABELLED.format("<seclabel relabel='no'/>"), STATIC),
        (MIRROR.format("<seclabel model='selinux' relabel='no'/>"), STATIC),
        (LABELLED.format("<seclabel model='dac' relabel='no'/>"), STATIC),
        (LABELLED.format("<seclabel model='selinux' relabel='no'/>"), ""),
        (LABELLED.format("<seclabel model='selinux' relabel='no'/>"), RELABELLED),
        (BRIDGE.format("<port isolated='yes'/>"), ""),
        (BRIDGE.format(f"<port isolated='no'/>{OVS}"), ""),
        ("<input type='keyboard' bus='virtio' model='virtio'/>", ""),
    ],
)
def test_each_by_itself_is_not(devices: str, parts: str) -> None:
    assert errors(devices, parts=parts) == []
