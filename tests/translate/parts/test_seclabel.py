"""Labels for the host's security drivers: checked, and passed over."""

from typing import Final

import pytest

from tests.support.grounds import domain, lines, messages, translated

SOURCE: Final = (
    "<disk type='file'><source file='/x'>\n{}\n</source><target dev='vda' bus='virtio'/></disk>"
)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ("<seclabel relabel='yes'/>", "relabel='yes' needs a <label> (add it)"),
        (
            "<seclabel model='dac' relabel='no'><label>0:0</label></seclabel>",
            "relabel='no' leaves no use for a <label> (remove one)",
        ),
        (
            "<seclabel model='dac' relabel='no'/><seclabel model='dac' relabel='no'/>",
            "model='dac' is given twice (one of each)",
        ),
    ],
)
def test_labels_of_an_image_that_are_wrong(labels: str, expected: str) -> None:
    xml = domain().replace("</devices>", SOURCE.format(labels) + "</devices>")
    assert messages(xml) == [f"vm.xml:5: <seclabel>: {expected}"]


@pytest.mark.parametrize(
    "labels",
    [
        "<seclabel/>",
        "<seclabel relabel='no'/>",
        "<seclabel model='dac' relabel='yes'><label>0:0</label></seclabel>",
        "<seclabel model='dac' relabel='no'/><seclabel model='selinux' labelskip='yes'/>",
    ],
)
def test_labels_of_an_image_are_passed_over(labels: str) -> None:
    xml = domain().replace("</devices>", SOURCE.format(labels) + "</devices>")
    translation = translated(xml)
    assert translation.notices == ()
    assert '"filename":"/x"' in "".join(lines(translation.plan, "blockdev"))
