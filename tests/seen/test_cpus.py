"""CPUs as the guest finds them: models, features, topology, what can be plugged, enlightenments.

Not here: `host-passthrough`, `host-model`, KVM's own features and what of Hyper-V asks for KVM.
"""

import pytest

from tests.support.seen import NOTHING, Boots, Seen, xml

pytestmark = pytest.mark.qemu


def cpu(vm: Seen, number: int = 0) -> str:
    """Give the path of a CPU."""
    return str(vm.qmp("query-cpus-fast")[number]["qom-path"])


def test_a_model_with_features(boot: Boots) -> None:
    parts = (
        "<vcpu>1</vcpu><features><acpi/><pmu state='off'/></features>"
        "<cpu mode='custom' match='exact' check='none'>"
        "<model fallback='forbid' vendor_id='HygonGenuine'>Nehalem</model>"
        "<maxphysaddr mode='emulate' bits='38'/>"
        "<feature policy='require' name='avx2'/><feature policy='force' name='smep'/>"
        "<feature policy='disable' name='sse4.2'/><feature policy='forbid' name='popcnt'/>"
        "<cache mode='emulate' level='3'/></cpu>"
    )
    with boot(xml(NOTHING, parts=parts)) as vm:
        path = cpu(vm)
        wanted = {
            f"{path}:type": "Nehalem-x86_64-cpu",
            f"{path}:vendor": "HygonGenuine",
            f"{path}:phys-bits": 38,
            f"{path}:avx2": True,
            f"{path}:smep": True,
            f"{path}:sse4.2": False,
            f"{path}:popcnt": False,
            f"{path}:sse4.1": True,
            f"{path}:l3-cache": True,
            f"{path}:pmu": False,
        }
        assert vm.alike(wanted) == wanted


def test_the_most_there_is(boot: Boots) -> None:
    parts = (
        "<vcpu>1</vcpu><cpu mode='maximum'><feature policy='disable' name='avx'/></cpu>"
        "<features><acpi/><hyperv mode='custom'><relaxed state='on'/>"
        "<spinlocks state='on' retries='8191'/><vendor_id state='on' value='KVM Hv'/>"
        "<vapic state='on'/><frequencies state='on'/><reset state='on'/></hyperv>"
        "<kvm><hidden state='on'/></kvm>"
        "</features><clock offset='utc'><timer name='tsc' frequency='2000000000'/></clock>"
    )
    with boot(xml(NOTHING, parts=parts)) as vm:
        path = cpu(vm)
        wanted = {
            f"{path}:type": "max-x86_64-cpu",
            f"{path}:avx": False,
            f"{path}:sse4.2": True,
            f"{path}:hv-relaxed": True,
            f"{path}:hv-spinlocks": 8191,
            f"{path}:hv-vendor-id": "KVM Hv",
            f"{path}:hv-vapic": True,
            f"{path}:hv-reset": True,
            f"{path}:hv-frequencies": True,
            f"{path}:hv-evmcs": False,
            f"{path}:kvm": False,
            f"{path}:tsc-frequency": 2_000_000_000,
        }
        assert vm.alike(wanted) == wanted


def test_topology_and_what_can_be_plugged(boot: Boots) -> None:
    """Two dies of two cores of two threads; some of them plugged before the guest runs."""
    enabled = "".join(
        f"<vcpu id='{number}' enabled='{'yes' if number in (0, 1, 2, 5) else 'no'}'"
        f" hotpluggable='{'no' if number < 2 else 'yes'}'/>"
        for number in range(8)
    )
    parts = (
        f"<vcpu current='4'>8</vcpu><vcpus>{enabled}</vcpus><features><acpi/></features>"
        "<cpu mode='custom'><model>qemu64</model>"
        "<topology sockets='1' dies='2' cores='2' threads='2'/></cpu>"
    )
    with boot(xml(NOTHING, parts=parts)) as vm:
        places = [
            tuple(row["props"][key] for key in ("die-id", "core-id", "thread-id"))
            for row in vm.qmp("query-cpus-fast")
        ]
        assert sorted(places) == [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 1)]
        slots = vm.qmp("query-hotpluggable-cpus")
        assert len(slots) == 8
        assert {"vcpu2", "vcpu5"} <= vm.names()
        smp = vm.get("/machine:smp")
        wanted = {"cpus": 2, "maxcpus": 8, "sockets": 1, "dies": 2, "cores": 2, "threads": 2}
        assert {key: smp[key] for key in wanted} == wanted
