"""Memory that is plugged in: places, names, what is refused."""

import pytest

from tests.support.domains import FIRST_DEVICE_LINE, device, errors, options, translated

UUID = "c2177883-f1bb-47f0-914d-32a22e3a8800"
NUMA = (
    "<maxMemory slots='2' unit='GiB'>8</maxMemory>"
    "<cpu><numa><cell id='0' cpus='0' memory='64' unit='MiB'/></numa></cpu>"
)


DIMM = "<memory model='dimm'><target><size unit='MiB'>16</size><node>0</node></target></memory>"


def test_dimms_take_the_slots_that_are_free() -> None:
    placed = DIMM.replace("</memory>", "<address type='dimm' slot='0'/></memory>")
    made = translated(DIMM + placed, parts=NUMA)
    assert [device(made, f"dimm{slot}")["slot"] for slot in range(2)] == [0, 1]
    assert options(made, "m")[0]["size"] == "65536k"


def test_memory_devices_count_by_their_model() -> None:
    virtio = (
        "<memory model='virtio-mem'><target><size unit='MiB'>16</size><node>0</node>"
        "<block unit='MiB'>2</block><requested unit='MiB'>2</requested></target></memory>"
    )
    made = translated(virtio * 2, parts=NUMA)
    assert device(made, "virtiomem1")["memdev"] == "memvirtiomem1"


@pytest.mark.parametrize(
    ("xml", "what"),
    [
        (DIMM * 3, "<maxMemory> has 2 slots"),
        (DIMM.replace("<node>0", "<node>5"), "no NUMA cell 5"),
        (DIMM.replace("dimm", "virtio-mem"), "needs a <block>"),
        (
            "".join(
                DIMM.replace("</memory>", f"<address type='dimm' base='{base}'/></memory>")
                for base in ("0x200000000", "0x200200000")
            ),
            "overlaps",
        ),
    ],
)
def test_what_is_wrong_with_memory_devices(xml: str, what: str) -> None:
    found = errors(xml, parts=NUMA)
    assert any(what in error for error in found), found


LASTING = (
    "<memory model='{}' {}>{}<source><path>/p</path></source>"
    "<target><size unit='MiB'>16</size>{}</target></memory>"
)


CELL = "<node>0</node>"


@pytest.mark.parametrize(
    ("xml", "what"),
    [
        (LASTING.format("virtio-pmem", "access='private'", "", ""), "virtio-pmem is always shared"),
        (LASTING.format("virtio-pmem", "", "", CELL), "virtio-pmem is in no NUMA cell"),
        (LASTING.format("nvdimm", "discard='yes'", "", CELL), "model='nvdimm' discards nothing"),
        (
            LASTING.format("nvdimm", "", f"<uuid>{UUID}</uuid>", CELL),
            "an nvdimm has a uuid on pseries machines alone",
        ),
        (
            LASTING.format("nvdimm", "", "", f"{CELL}<label><size unit='KiB'>64</size></label>"),
            "<label> is below 128 KiB",
        ),
        (
            LASTING.format("nvdimm", "", "", f"{CELL}<label><size unit='MiB'>16</size></label>"),
            "<label> leaves no memory",
        ),
    ],
)
def test_what_is_wrong_with_memory_that_lasts(xml: str, what: str) -> None:
    [found] = errors(xml, parts=NUMA)
    assert found.startswith(f"vm.xml:{FIRST_DEVICE_LINE}: ")
    assert what in found


def test_a_label_may_be_on_memory_that_is_read_only() -> None:
    label = f"{CELL}<readonly/><label><size unit='KiB'>128</size></label>"
    made = translated(LASTING.format("nvdimm", "", "", label), parts=NUMA)
    row = device(made, "nvdimm0")
    assert (row["label-size"], row["unarmed"]) == (128 << 10, True)


def test_pmem_needs_no_cell() -> None:
    made = translated(LASTING.format("virtio-pmem", "", "", ""), parts=NUMA)
    assert device(made, "virtiopmem0")["memdev"] == "memvirtiopmem0"


ADDRESSED = (
    "<memory model='virtio-mem'><target><size unit='MiB'>16</size><node>0</node>"
    "<block unit='MiB'>2</block><requested unit='MiB'>2</requested>{0}</target></memory>"
)


@pytest.mark.parametrize("base", ["140200000", "0x140200000"])
def test_where_memory_begins_is_hexadecimal(base: str) -> None:
    address = f"<address base='{base}'/>"
    made = translated(ADDRESSED.format(address), parts=NUMA)
    assert device(made, "virtiomem0")["memaddr"] == 0x140200000
    made = translated(LASTING.format("virtio-pmem", "", "", address), parts=NUMA)
    assert device(made, "virtiopmem0")["memaddr"] == 0x140200000


def test_memory_begins_where_it_can() -> None:
    found = errors(ADDRESSED.format("<address base='140300000'/>"), parts=NUMA)
    assert "base= is no multiple of 0x200000 (it is hexadecimal)" in found[0]
    # 4096 is 0x4096
    xml = LASTING.format("virtio-pmem", "", "", "<address base='4096'/>")
    [error] = errors(xml, parts=NUMA)
    assert "base= is no multiple of 0x1000 (it is hexadecimal)" in error


def test_a_label_is_smaller_than_what_was_asked_for() -> None:
    inside = f"{CELL}<label><size>16384</size></label>"
    xml = LASTING.format("nvdimm", "", "", inside)
    assert "<label> leaves no memory" in errors(xml, parts=NUMA)[0]
    rounded = xml.replace("'MiB'>16<", "'KiB'>16385<")
    assert errors(rounded, parts=NUMA) == []


def test_memory_is_plugged_into_a_cell() -> None:
    assert "vm.xml:6: <memory>: memory devices need NUMA cells (<cpu><numa>)" in errors(DIMM)


@pytest.mark.parametrize("model", ["nvdimm", "virtio-pmem"])
def test_memory_that_lasts_discards_nothing(model: str) -> None:
    node = "" if model == "virtio-pmem" else "<node>0</node>"
    memory = (
        f"<memory model='{model}' discard='{{}}'><source><path>/nv</path></source>"
        f"<target><size unit='MiB'>4</size>{node}</target></memory>"
    )
    wrong = f"model='{model}' discards nothing (remove discard=)"
    assert [wrong in error for error in errors(memory.format("yes"), parts=NUMA)] == [True]
    assert errors(memory.format("no"), parts=NUMA) == []


def test_virtio_mem_that_asks_for_nothing_says_nothing() -> None:
    memory = (
        "<memory model='virtio-mem'><target><size unit='MiB'>4</size><node>0</node>"
        "<block unit='MiB'>2</block><requested unit='MiB'>{}</requested></target></memory>"
    )
    plugged = translated(memory.format(0) + memory.format(2), parts=NUMA)
    found = [props for props in options(plugged, "device") if "block-size" in props]
    assert [props.get("requested-size") for props in found] == [None, 2 << 20]
