"""Memory as the guest finds it: what backs it, its NUMA cells, and what is plugged in."""

import pytest

from tests.support.seen import NOTHING, Boots, xml

pytestmark = pytest.mark.qemu

MIB = 1 << 20
BACKED = "<memoryBacking><source type='file'/></memoryBacking>"
TUNED = (
    "<numatune><memory mode='strict' nodeset='0'/>"
    "<memnode cellid='2' mode='preferred' nodeset='0'/></numatune>"
)
CELLS = (
    "<vcpu>4</vcpu><cpu><topology sockets='2' cores='2' threads='1'/><numa>"
    "<cell id='0' cpus='0,3' memory='64' unit='MiB' memAccess='shared'>"
    "<distances><sibling id='0' value='10'/><sibling id='1' value='21'/>"
    "<sibling id='2' value='99'/></distances></cell>"
    "<cell id='1' cpus='1-2' memory='96' unit='MiB' discard='yes'>"
    "<distances><sibling id='0' value='31'/></distances></cell>"
    "<cell id='2' memory='32' unit='MiB'/></numa></cpu>"
)


def test_plain_memory(boot: Boots) -> None:
    parts = (
        "<currentMemory unit='MiB'>64</currentMemory>"
        "<memoryBacking><nosharepages/><source type='memfd'/><access mode='shared'/>"
        "<allocation mode='immediate' threads='2'/></memoryBacking>"
    )
    memory = "<memory unit='MiB' dumpCore='off'>96</memory>"
    balloon = (
        "<memballoon model='virtio' autodeflate='on' freePageReporting='on'><stats period='7'/>"
    )
    devices = f"<controller type='usb' model='none'/>{balloon}</memballoon>"
    with boot(xml(devices, parts=parts, memory=memory)) as vm:
        size = vm.qmp("query-memory-size-summary")
        assert size["base-memory"] == 96 * MIB
        [backing] = vm.qmp("query-memdev")
        wanted = {"size": 96 * MIB, "share": True, "merge": False, "dump": False, "prealloc": True}
        assert {key: backing[key] for key in wanted} == wanted
        facts = {
            f"/objects/{backing['id']}:prealloc-threads": 2,
            f"/objects/{backing['id']}:type": "memory-backend-memfd",
            "balloon0:deflate-on-oom": True,
            "balloon0:free-page-reporting": True,
            "balloon0:guest-stats-polling-interval": 7,
        }
        assert vm.alike(facts) == facts


def test_cells(boot: Boots) -> None:
    """Each CPU and each piece of memory is where it was put, as far as it was said."""
    memory = "<memory unit='MiB'>192</memory>"
    with boot(xml(NOTHING, parts=BACKED + TUNED + CELLS, memory=memory)) as vm:
        nodes = {row["cpu-index"]: row["props"]["node-id"] for row in vm.qmp("query-cpus-fast")}
        assert nodes == {0: 0, 3: 0, 1: 1, 2: 1}
        backings = {row["id"]: (row["size"] // MIB, row["share"]) for row in vm.qmp("query-memdev")}
        assert backings == {
            "ram-node0": (64, True),
            "ram-node1": (96, False),
            "ram-node2": (32, False),
        }
        policies = {row["id"]: (row["policy"], row["host-nodes"]) for row in vm.qmp("query-memdev")}
        assert policies == {
            "ram-node0": ("bind", [0]),
            "ram-node1": ("bind", [0]),
            "ram-node2": ("preferred", [0]),
        }
        assert vm.get("/objects/ram-node1:discard-data") is True
        told = vm.hmp("info numa").splitlines()
        assert told[0] == "3 nodes"
        assert "node 0 cpus: 0 3" in told
        assert "node 2 size: 32 MB" in told


def test_what_is_plugged(boot: Boots) -> None:
    """DIMMs, an NVDIMM, and the virtio ones."""
    for name in ("pm,em", "pmem"):
        (boot.root / name).write_bytes(bytes(4 * MIB))
    (boot.root / "dimm").write_bytes(bytes(32 * MIB))
    parts = (
        "<maxMemory slots='6' unit='GiB'>4</maxMemory><vcpu>2</vcpu><features><acpi/></features>"
        "<memoryBacking><source type='memfd'/></memoryBacking>"
        "<cpu><numa><cell id='0' cpus='0-1' memory='128' unit='MiB'/>"
        "<cell id='1' memory='64' unit='MiB'/></numa></cpu>"
    )
    devices = (
        f"{NOTHING}<memory model='dimm'><target><size unit='MiB'>32</size>"
        "<node>1</node></target></memory>"
        "<memory model='dimm' access='shared'><target><size unit='MiB'>64</size><node>0</node>"
        "</target><address type='dimm' slot='4' base='0x130000000'/></memory>"
        "<memory model='nvdimm' access='shared'><source><path>pm,em</path></source><target>"
        "<size unit='MiB'>4</size><node>1</node><label><size unit='KiB'>128</size></label>"
        "<readonly/></target></memory>"
        "<memory model='virtio-mem'><target><size unit='MiB'>64</size><node>0</node>"
        "<block unit='MiB'>2</block><requested unit='MiB'>16</requested>"
        "<address base='0x180000000'/></target></memory>"
        "<memory model='virtio-pmem' access='shared'><source><path>pmem</path></source><target>"
        "<size unit='MiB'>4</size></target></memory>"
    )
    memory = "<memory unit='MiB'>356</memory>"
    with boot(xml(devices, parts=parts, memory=memory)) as vm:
        found = {row["data"]["id"]: row["data"] for row in vm.qmp("query-memory-devices")}
        assert found.keys() == {"dimm0", "dimm4", "nvdimm1", "virtiomem0", "virtiopmem0"}
        wanted: dict[str, dict[str, object]] = {
            "dimm0": {"size": 32 * MIB, "node": 1, "memdev": "/objects/memdimm0"},
            "dimm4": {"size": 64 * MIB, "node": 0, "slot": 4, "addr": 0x130000000},
            "nvdimm1": {"node": 1, "memdev": "/objects/memnvdimm1"},
            "virtiomem0": {
                "max-size": 64 * MIB,
                "requested-size": 16 * MIB,
                "block-size": 2 * MIB,
                "node": 0,
                "memaddr": 0x180000000,
            },
            "virtiopmem0": {"size": 4 * MIB},
        }
        assert {
            name: {key: found[name].get(key) for key in keys} for name, keys in wanted.items()
        } == wanted
        facts = {
            "/objects/memdimm4:share": True,
            "/objects/memvirtiomem0:size": 64 * MIB,
            "/objects/memnvdimm1:mem-path": str(boot.root / "pm,em"),
            "/objects/memvirtiopmem0:mem-path": str(boot.root / "pmem"),
            "nvdimm1:label-size": 128 << 10,
            "nvdimm1:unarmed": True,
        }
        assert vm.alike(facts) == facts
        summary = vm.qmp("query-memory-size-summary")
        assert summary["base-memory"] == 192 * MIB


def test_heterogeneous_memory(boot: Boots) -> None:
    parts = (
        "<vcpu>2</vcpu><features><acpi/></features><cpu><numa>"
        "<cell id='0' cpus='0-1' memory='64' unit='MiB'><cache level='1' associativity='direct'"
        " policy='writeback'><size value='8' unit='KiB'/><line value='64' unit='B'/></cache></cell>"
        "<cell id='1' memory='64' unit='MiB'/><interconnects>"
        "<latency initiator='0' target='0' type='access' value='5'/>"
        "<latency initiator='0' target='1' type='access' value='9'/>"
        "<bandwidth initiator='0' target='0' type='access' value='2' unit='GiB'/>"
        "</interconnects></numa></cpu>"
    )
    with boot(xml(NOTHING, parts=parts)) as vm:
        assert vm.get("/machine:hmat") is True
