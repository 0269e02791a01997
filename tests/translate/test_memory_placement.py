"""Where the memory of devices lies, and who touches it first: as that of cells, by one's own words.

libvirt 11.3 was asked about each of these, by `domxml-to-native` on a QEMU 10.0.
"""

import pytest

from tests.support.domains import Props, device, errors, options, translated

CELLS = "<cpu><numa><cell id='0' cpus='0' memory='64' unit='MiB'{}/></numa></cpu>"
SLOTS = "<maxMemory slots='4' unit='GiB'>8</maxMemory>"
TUNE = "<numatune><memory mode='{}' nodeset='0'/></numatune>"
EARLY = "<memoryBacking><allocation mode='immediate' threads='4'/></memoryBacking>"


def memory(model: str, *, source: str = "", words: str = "") -> str:
    file = "<path>/nv</path>" if model in {"nvdimm", "virtio-pmem"} else source
    node = "" if model == "virtio-pmem" else "<node>0</node>"
    blocks = "<block unit='MiB'>2</block><requested unit='MiB'>2</requested>"
    inside = f"<size unit='MiB'>16</size>{node}{blocks if model == 'virtio-mem' else ''}"
    return (
        f"<memory model='{model}' {words}>{f'<source>{file}</source>' if file else ''}"
        f"<target>{inside}</target></memory>"
    )


def objects(xml: str, parts: str, cells: str = "") -> dict[str, Props]:
    """Give the objects by their ids."""
    made = translated(xml, parts=SLOTS + CELLS.format(cells) + parts)
    return {row["id"]: row for row in options(made, "object")}


@pytest.mark.parametrize("model", ["dimm", "nvdimm", "virtio-pmem"])
def test_memory_of_devices_is_bound_and_touched_as_that_of_cells(model: str) -> None:
    found = objects(memory(model), TUNE.format("preferred") + EARLY)
    [ident] = [name for name in found if name.startswith("mem")]
    back_end, threads = found[ident], found[f"tc-{ident}"]
    assert (back_end["policy"], back_end["host-nodes"]) == ("preferred", [0])
    assert (back_end["prealloc"], back_end["prealloc-threads"]) == (True, 4)
    assert back_end["prealloc-context"] == threads["id"]
    assert threads["node-affinity"] == [0]


def test_what_is_bound_by_the_hosts_groups_is_touched_on_their_nodes() -> None:
    found = objects("", TUNE.format("restrictive") + EARLY)
    assert found["tc-ram-node0"]["node-affinity"] == [0]
    assert found["ram-node0"]["prealloc-context"] == "tc-ram-node0"
    assert "policy" not in found["ram-node0"]


@pytest.mark.parametrize(
    ("mode", "policy"), [("", "bind"), ("preferred", "preferred"), ("restrictive", None)]
)
def test_the_nodes_of_a_device_are_its_own_and_the_mode_is_the_domains(
    mode: str, policy: str | None
) -> None:
    own = memory("dimm", source="<nodemask>1</nodemask>")
    found = objects(own, TUNE.format(mode) if mode else "")["memdimm0"]
    assert found.get("policy") == policy
    assert found.get("host-nodes") == ([1] if policy else None)


def test_an_nvdimm_is_shared_as_its_cell_is_and_pmem_always() -> None:
    shared = " memAccess='shared'"
    assert objects(memory("nvdimm"), "", shared)["memnvdimm0"]["share"] is True
    private = memory("nvdimm", words="access='private'")
    assert objects(private, "", shared)["memnvdimm0"]["share"] is False
    assert objects(memory("virtio-pmem"), "")["memvirtiopmem0"]["share"] is True


def test_an_nvdimm_is_touched_anyway_and_pmem_when_all_memory_is() -> None:
    assert objects(memory("nvdimm"), "")["memnvdimm0"]["prealloc"] is True
    assert "prealloc" not in objects(memory("virtio-pmem"), "")["memvirtiopmem0"]
    assert objects(memory("virtio-pmem"), EARLY)["memvirtiopmem0"]["prealloc"] is True


@pytest.mark.parametrize("model", ["dimm", "nvdimm", "virtio-mem"])
def test_one_option_touches_all_memory_of_old_machines(model: str) -> None:
    parts = SLOTS + CELLS.format("") + EARLY
    made = translated(memory(model), parts=parts, arch="riscv64", machine="virt")
    [back_end] = [row for row in options(made, "object") if row["id"].startswith("mem")]
    assert {"prealloc", "prealloc-threads", "prealloc-context"}.isdisjoint(back_end)


def test_virtio_mem_touches_its_memory_itself() -> None:
    parts = SLOTS + CELLS.format("") + EARLY
    made = translated(memory("virtio-mem"), parts=parts)
    assert device(made, "virtiomem0")["prealloc"] is True
    [back_end] = [row for row in options(made, "object") if row["id"] == "memvirtiomem0"]
    assert {"prealloc", "prealloc-threads", "prealloc-context"}.isdisjoint(back_end)


def test_an_iommu_that_remaps_interrupts_needs_a_split_ioapic_under_any_accelerator() -> None:
    iommu = "<iommu model='intel'><driver intremap='on'/></iommu>"
    chip = "<features><ioapic driver='{}'/></features>"
    assert errors(iommu, machine="q35", parts=chip.format("qemu")) == []
    [found] = errors(iommu, machine="q35", parts=chip.format("kvm"))
    assert found.startswith("vm.xml:6: <iommu>: intremap='on' needs a split I/O APIC (")
