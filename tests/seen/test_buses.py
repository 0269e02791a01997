"""Buses as the guest finds them: PCI topologies, USB and what sits on it, IOMMUs.

Not here: PCI, USB and mediated host devices, for a test has none to give away; `usb-host` ones
likewise.
"""

from typing import Final

import pytest

from tests.support.seen import NOTHING, Boots, xml

pytestmark = pytest.mark.qemu

VIRTIO: Final = "iommu='on' ats='on' packed='on' page_per_vq='on'"
RNG: Final = "<rng model='virtio'><backend model='builtin'/>{}</rng>"


def at(bus: int, slot: int, function: int = 0, more: str = "") -> str:
    return f"<address type='pci' bus='{bus}' slot='{slot}' function='{function}' {more}/>"


I440FX: Final = f"""
<controller type='pci' index='0' model='pci-root'/>
<controller type='pci' index='1' model='pci-bridge'><target chassisNr='9'/>{at(0, 0x1E)}
</controller>
<controller type='pci' index='2' model='pci-bridge'>{at(1, 0x1F)}</controller>
<controller type='pci' index='3' model='pci-expander-bus'><target busNr='200'/>{at(0, 5)}
</controller>
<controller type='usb' index='0' model='piix3-uhci'/>
<controller type='usb' index='1' model='ehci'>{at(2, 3)}</controller>
<controller type='usb' index='2' model='pci-ohci'>{at(2, 4)}</controller>
{RNG.format(at(2, 0x1F, 7))}
{RNG.format(at(2, 0x1F, 0, "multifunction='on'"))}
<memballoon model='none'/>
"""
I440FX_PLACES: Final = {
    "pci.1": "pci.0 1e.0 1b36:0001",
    "pci.2": "pci.1 1f.0 1b36:0001",
    "pci.3": "pci.0 05.0 1b36:0009",
    "usb": "pci.0 01.2 8086:7020",
    "usb1": "pci.2 03.0 8086:24cd",
    "usb2": "pci.2 04.0 106b:003f",
    "rng0": "pci.2 1f.7 1af4:1005",
    "rng1": "pci.2 1f.0 1af4:1005",
}
Q35: Final = f"""
<controller type='pci' index='0' model='pcie-root'>
  <pcihole64 unit='GiB'>2</pcihole64></controller>
<controller type='pci' index='1' model='pcie-root-port'>
  <target chassis='40' port='0x30' hotplug='off'/>{at(0, 2, 0, "multifunction='on'")}</controller>
<controller type='pci' index='2' model='pcie-root-port'><model name='ioh3420'/>{at(0, 2, 3)}
</controller>
<controller type='pci' index='3' model='pcie-switch-upstream-port'>{at(1, 0)}</controller>
<controller type='pci' index='4' model='pcie-switch-downstream-port'>
  <target chassis='44' port='0x7'/>{at(3, 4)}</controller>
<controller type='pci' index='5' model='pcie-expander-bus'>
  <target busNr='200'><node>0</node></target>{at(0, 9)}</controller>
<controller type='pci' index='6' model='pcie-root-port'>{at(5, 1)}</controller>
<controller type='pci' index='7' model='dmi-to-pci-bridge'>{at(0, 0x1E)}</controller>
<controller type='pci' index='8' model='pci-bridge'>
  <target chassisNr='12' memReserve='1024'/>{at(7, 3)}</controller>
<controller type='pci' index='9' model='pcie-to-pci-bridge'>{at(2, 0)}</controller>
<controller type='usb' index='0' model='ich9-ehci1'>{at(0, 0x1D, 7)}</controller>
<controller type='usb' index='0' model='ich9-uhci1'><master startport='0'/>
  {at(0, 0x1D, 0, "multifunction='on'")}</controller>
<controller type='usb' index='0' model='ich9-uhci2'><master startport='2'/>{at(0, 0x1D, 1)}
</controller>
<controller type='usb' index='0' model='ich9-uhci3'><master startport='4'/>{at(0, 0x1D, 2)}
</controller>
<controller type='usb' index='1' model='nec-xhci' ports='8'>{at(9, 1)}</controller>
<controller type='usb' index='2' model='qemu-xhci' ports='15'>{at(6, 0)}</controller>
<controller type='sata' index='1'>{at(8, 5)}</controller>
<hub type='usb'><address type='usb' bus='0' port='2'/></hub>
<input type='tablet' bus='usb'><address type='usb' bus='0' port='2.5'/></input>
<input type='keyboard' bus='usb'><address type='usb' bus='1' port='8'/></input>
<input type='mouse' bus='usb'><address type='usb' bus='2' port='14'/></input>
<iommu model='intel'>
  <driver intremap='on' caching_mode='on' iotlb='on' aw_bits='48'/></iommu>
<watchdog model='itco' action='pause'/>
{RNG.format(f"<driver {VIRTIO}/><acpi index='7'/>{at(4, 0)}")}
<memballoon model='none'/>
"""
Q35_PLACES: Final = {
    "pci.1": "pcie.0 02.0 1b36:000c",
    "pci.2": "pcie.0 02.3 8086:3420",
    "pci.3": "pci.1 00.0 104c:8232",
    "pci.4": "pci.3 04.0 104c:8233",
    "pci.5": "pcie.0 09.0 1b36:000b",
    "pci.6": "pci.5 01.0 1b36:000c",
    "pci.7": "pcie.0 1e.0 8086:244e",
    "pci.8": "pci.7 03.0 1b36:0001",
    "pci.9": "pci.2 00.0 1b36:000e",
    "usb": "pcie.0 1d.7 8086:293a",
    "usb1": "pci.9 01.0 1033:0194",
    "usb2": "pci.6 00.0 1b36:000d",
    "sata1": "pci.8 05.0 8086:2922",
    "rng0": "pci.4 00.0 1af4:1044",
}


def test_an_i440fx(boot: Boots) -> None:
    with boot(xml(I440FX, machine="pc")) as vm:
        places = vm.places()
        assert {name: places[name] for name in I440FX_PLACES} == I440FX_PLACES
        wanted = {
            "pci.1:chassis_nr": 9,
            "pci.2:chassis_nr": 2,
            "pci.3:bus_nr": 200,
            "rng1:multifunction": True,
            "rng0:multifunction": False,
        }
        assert vm.alike(wanted) == wanted
        # The bus that has its number before any firmware runs.
        numbered = vm.numbered()
        assert (numbered["pci.1"], numbered["usb"]) == ((0, 0x1E, 0), (0, 1, 2))


def test_a_q35(boot: Boots) -> None:
    numa = "<cpu><numa><cell id='0' memory='128' unit='MiB'/></numa></cpu>"
    parts = "<features><acpi/><apic/><ioapic driver='qemu'/></features>" + numa
    with boot(xml(Q35, parts=parts)) as vm:
        places = vm.places()
        assert {name: places[name] for name in Q35_PLACES} == Q35_PLACES
        wanted = {
            "pci.1:chassis": 40,
            "pci.1:port": 0x30,
            "pci.1:hotplug": False,
            "pci.1:multifunction": True,
            "pci.2:chassis": 2,
            "pci.4:chassis": 44,
            "pci.4:port": 7,
            "pci.5:bus_nr": 200,
            "pci.5:numa_node": 0,
            "pci.8:chassis_nr": 12,
            "pci.8:mem-reserve": 1 << 20,
            "rng0:acpi-index": 7,
            "usb1:p2": 8,
            "usb1:p3": 8,
            "usb2:p3": 15,
            "iommu0:intremap": "on",
            "iommu0:caching-mode": True,
            "iommu0:device-iotlb": True,
            "iommu0:aw-bits": 48,
            "rng0:iommu_platform": True,
            "rng0:ats": True,
            "rng0:packed": True,
            "rng0:page-per-vq": True,
        }
        assert vm.alike(wanted) == wanted
        tree = vm.tree()
        assert tree["q35-pcihost"]["pci-hole64-size"].startswith(str(2 << 30))
        companions = [tree[f"ich9-usb-uhci{number}"] for number in (1, 2, 3)]
        assert [(row["addr"], row["firstport"], row["masterbus"]) for row in companions] == [
            ("1d.0", "0 (0x0)", "usb.0"),
            ("1d.1", "2 (0x2)", "usb.0"),
            ("1d.2", "4 (0x4)", "usb.0"),
        ]
        ports = {name: (tree[name]["bus"], tree[name]["port"]) for name in INPUTS}
        assert ports == INPUTS
        assert "Port 2.5" in vm.hmp("info usb")


INPUTS: Final = {
    "hub0": ("usb.0", "2"),
    "input0": ("usb.0", "2.5"),
    "input1": ("usb1.0", "8"),
    "input2": ("usb2.0", "14"),
}


def test_what_is_filled_in(boot: Boots) -> None:
    """A q35 of which nothing is said has the ports, places and controllers that libvirt gives."""
    devices = RNG.format("") * 3 + "<interface type='user'/><video><model type='vga'/></video>"
    with boot(xml(devices)) as vm:
        places = vm.places()
        assert places["rng2"].split()[0].startswith("pci.")
        assert places["video0"] == "pcie.0 01.0 1234:1111"
        assert places["pci.1"] == "pcie.0 02.0 1b36:000c"
        assert places["net0"] == "pci.2 01.0 10ec:8139"
        assert places["usb"].endswith("1b36:000d")
        assert {name for name in places if name.startswith("pci.")} == {
            f"pci.{number}" for number in range(1, 9)
        }


def test_a_virtio_iommu(boot: Boots) -> None:
    parts = "<features><acpi/></features>"
    with boot(xml("<iommu model='virtio'/>" + NOTHING, parts=parts)) as vm:
        assert vm.kinds()["iommu0"] == "virtio-iommu-pci"
        assert vm.places()["iommu0"].endswith("1af4:1057")
