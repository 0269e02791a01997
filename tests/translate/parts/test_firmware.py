"""Firmware: named, or chosen by what the host's descriptors say."""

from collections.abc import Mapping
from typing import Any

import pytest
from msgspec.structs import replace

from qsuper.caps import Schema
from qsuper.errors import ConfigError, ConfigErrors
from qsuper.plan import Seed
from tests.support.grounds import domain, emulator, host, lines, translated

ACPI = "<features><acpi/></features>"
SMM = "<features><acpi/><smm state='on'/></features>"
NEW = Schema(
    {
        "block-commit": {"arg-type": "1"},
        "1": {"members": [{"name": "backing-mask-protocol", "type": "2"}]},
        "2": {"meta-type": "builtin"},
    }
)


def flash(name: str, *features: str, form: str = "raw", mode: str = "split") -> Mapping[str, Any]:
    mapping: dict[str, Any] = {
        "device": "flash",
        "mode": mode,
        "executable": {"filename": f"/fw/{name}.code", "format": form},
    }
    if mode == "split":
        mapping["nvram-template"] = {"filename": f"/fw/{name}.vars", "format": form}
    return {
        "interface-types": ["uefi"],
        "mapping": mapping,
        "targets": [{"architecture": "x86_64", "machines": ["pc-q35-*"]}],
        "features": list(features),
    }


ROM: Mapping[str, Any] = {
    "interface-types": ["bios"],
    "mapping": {"device": "memory", "filename": "/fw/bios.bin"},
    "targets": [{"architecture": "x86_64", "machines": ["pc-i440fx-*", "pc-q35-*"]}],
    "features": [],
}
INSTALLED = (
    ("10-broken.json", {"mapping": "none"}),
    ("20-qcow2.json", flash("qcow2", form="qcow2")),
    ("30-secure.json", flash("secure", "secure-boot", "requires-smm", "enrolled-keys")),
    ("40-plain.json", flash("plain", "acpi-s3")),
    ("50-stateless.json", flash("stateless", mode="stateless")),
    ("60-bios.json", ROM),
)


def options(
    system: str,
    *,
    firmware: str = "",
    machine: str = "q35",
    new: bool = False,
    inside: str = ACPI,
) -> list[str]:
    caps = replace(emulator(), schema=NEW) if new else emulator()
    data = replace(host(), firmware=INSTALLED, nvram_dir="/nvram")
    xml = domain(inside, machine=machine, system=system).replace("<os>", f"<os{firmware}>")
    plan = translated(xml, caps=caps, data=data).plan
    return [
        line for line in lines(plan, "blockdev", "bios", "global") if "noreboot" not in line
    ] + [f"smm={'smm=on' in lines(plan, 'machine')[0]}"]


def images(system: str, *, firmware: str = " firmware='efi'") -> list[str]:
    """Give the names of the files and formats that are used."""
    return [
        line.split('"filename":"')[1].split('"')[0]
        for line in options(system, firmware=firmware)
        if "filename" in line
    ]


def message(system: str, *, firmware: str = "", inside: str = ACPI, arch: str = "x86_64") -> str:
    machine = "q35" if arch == "x86_64" else "virt"
    xml = domain(inside, system=system, arch=arch, machine=machine)
    with pytest.raises((ConfigError, ConfigErrors)) as caught:
        translated(
            xml.replace("<os>", f"<os{firmware}>"),
            arch=arch,
            data=replace(host(arch), firmware=INSTALLED),
        )
    return str(caught.value)


def test_a_loader_without_a_type_is_a_rom() -> None:
    assert options("<loader>/rom</loader>") == ["/rom", "smm=False"]


def test_flash_with_variables() -> None:
    system = "<loader readonly='yes' type='pflash'>/code</loader><nvram>/vars</nvram>"
    assert options(system) == [
        (
            '{"driver":"file","filename":"/code","node-name":"libvirt-pflash0-storage",'
            '"auto-read-only":true,"discard":"unmap"}'
        ),
        (
            '{"node-name":"libvirt-pflash0-format","read-only":true,"driver":"raw",'
            '"file":"libvirt-pflash0-storage"}'
        ),
        (
            '{"driver":"file","filename":"/vars","node-name":"libvirt-pflash1-storage",'
            '"auto-read-only":true,"discard":"unmap"}'
        ),
        (
            '{"node-name":"libvirt-pflash1-format","read-only":false,"driver":"raw",'
            '"file":"libvirt-pflash1-storage"}'
        ),
        "smm=False",
    ]


def test_raw_variables_need_no_format_node_on_a_new_qemu() -> None:
    system = "<loader readonly='yes' type='pflash'>/code</loader><nvram>/vars</nvram>"
    assert options(system, new=True)[2:] == [
        (
            '{"driver":"file","filename":"/vars","node-name":"libvirt-pflash1-storage",'
            '"read-only":false}'
        ),
        "smm=False",
    ]


def test_variables_that_are_not_named_are_kept_by_the_domains_name() -> None:
    system = "<loader readonly='yes' type='pflash'>/code</loader>"
    assert images(system, firmware="") == ["/code", "/nvram/vm_VARS.fd"]
    qcow2 = f"{system}<nvram template='/t' templateFormat='qcow2'/>"
    assert images(qcow2, firmware="") == ["/code", "/nvram/vm_VARS.qcow2"]
    assert '"driver":"qcow2","file":"libvirt-pflash1-storage"' in options(qcow2)[3]


def test_variables_that_are_not_named_are_of_the_loaders_format() -> None:
    system = "<loader readonly='yes' type='pflash' format='qcow2'>/code</loader>"
    assert images(system, firmware="") == ["/code", "/nvram/vm_VARS.qcow2"]
    # format= is for a file that is named.
    raw = "<loader readonly='yes' type='pflash'>/code</loader><nvram format='qcow2'/>"
    assert images(raw, firmware="") == ["/code", "/nvram/vm_VARS.fd"]
    named = f"{system}<nvram format='raw'>/vars</nvram>"
    assert '"driver":"raw","file":"libvirt-pflash1-storage"' in options(named)[3]


def test_a_writable_loader_keeps_its_variables_itself() -> None:
    assert images("<loader readonly='no' type='pflash'>/both</loader>", firmware="") == ["/both"]


def test_variables_can_be_elsewhere() -> None:
    system = (
        "<loader readonly='yes' type='pflash'>/code</loader><nvram type='network'>"
        "<source protocol='nbd' name='x'><host name='h' port='1'/></source></nvram>"
    )
    assert '"driver":"nbd"' in options(system)[2]


def test_a_secure_loader_is_closed_to_all_but_smm() -> None:
    system = "<loader readonly='yes' secure='yes' type='pflash'>/code</loader>"
    assert "driver=cfi.pflash01,property=secure,value=on" in options(system, inside=SMM)


def test_the_first_that_fits_is_chosen() -> None:
    firmware = " firmware='efi'"
    chosen = options("", firmware=firmware)
    assert images("") == ["/fw/secure.code", "/nvram/vm_VARS.fd"]
    assert chosen[-2:] == ["driver=cfi.pflash01,property=secure,value=on", "smm=True"]


@pytest.mark.parametrize(
    ("system", "expected"),
    [
        ("<loader secure='no'/>", "/fw/plain.code"),
        ("<firmware><feature name='secure-boot' enabled='no'/></firmware>", "/fw/plain.code"),
        ("<firmware><feature name='enrolled-keys' enabled='yes'/></firmware>", "/fw/secure.code"),
        ("<loader format='qcow2'/>", "/fw/qcow2.code"),
        ("<nvram format='qcow2'/>", "/fw/qcow2.code"),
        ("<nvram template='/fw/plain.vars'/>", "/fw/plain.code"),
        ("<loader stateless='yes'/>", "/fw/stateless.code"),
        ("<loader>/fw/plain.code</loader>", "/fw/plain.code"),
        ("<loader type='rom'>/fw/plain.code</loader>", None),
        ("<loader readonly='no'/>", None),
        ("<loader type='pflash'>/fw/plain.code</loader>", "/fw/plain.code"),
    ],
)
def test_wishes_are_met(system: str, expected: str | None) -> None:
    if expected is None:  # no descriptor has it as such
        assert "there is no 'efi' firmware here" in message(system, firmware=" firmware='efi'")
    else:
        assert images(system)[0] == expected


def test_sleep_is_a_wish_too() -> None:
    data = replace(host(), firmware=INSTALLED)
    pm = "<pm><suspend-to-mem enabled='yes'/></pm>"
    xml = domain(ACPI + pm).replace("<os>", "<os firmware='efi'>")
    assert '"/fw/plain.code"' in lines(translated(xml, data=data).plan, "blockdev")[0]
    with pytest.raises(ConfigErrors, match="there is no 'efi' firmware here that fits"):
        translated(xml.replace("suspend-to-mem", "suspend-to-disk"), data=data)


def test_a_firmware_that_needs_smm_is_none_for_a_guest_without() -> None:
    inside = "<features><acpi/><smm state='off'/></features>"
    assert options("", firmware=" firmware='efi'", inside=inside)[-1] == "smm=False"
    assert "there is no 'efi' firmware here that fits" in message(
        "<loader secure='yes'/>", firmware=" firmware='efi'", inside=inside
    )


def test_a_bios_is_chosen_for_its_machine() -> None:
    assert options("", firmware=" firmware='bios'", machine="pc")[0] == "/fw/bios.bin"


def test_a_known_image_brings_what_its_descriptor_says() -> None:
    system = "<loader readonly='yes' type='pflash'>/fw/secure.code</loader>"
    chosen = options(system)
    assert chosen[-2:] == ["driver=cfi.pflash01,property=secure,value=on", "smm=True"]


@pytest.mark.parametrize(
    ("system", "firmware", "expected"),
    [
        (
            "<nvram>/vars</nvram>",
            " firmware='bios'",
            "<nvram>: firmware='bios' has no variables to keep",
        ),
        (
            "<nvram>/vars</nvram>",
            "",
            "<nvram>: only a <loader type='pflash'> has variables to keep",
        ),
        (
            "<loader stateless='no'/>",
            " firmware='bios'",
            "<loader>: only firmware='efi' can keep variables",
        ),
        (
            (
                "<firmware><feature name='secure-boot' enabled='no'/>"
                "<feature name='enrolled-keys' enabled='yes'/></firmware>"
            ),
            " firmware='efi'",
            "<os>: enrolled-keys needs secure-boot (enable both)",
        ),
        (
            "<firmware><feature name='secure-boot'/></firmware>",
            " firmware='efi'",
            "<feature>: attribute 'enabled' is missing",
        ),
        (
            "<loader readonly='yes' secure='yes' type='pflash'>/code</loader>",
            "",
            "<loader>: secure='yes' needs system management mode (<smm state='on'/>)",
        ),
        (
            "<loader stateless='yes' type='pflash'>/code</loader><nvram>/vars</nvram>",
            "",
            "<nvram>: a stateless loader has no variables",
        ),
        (
            "<loader stateless='no'>/rom</loader>",
            "",
            "<loader>: only <loader type='pflash'> can keep variables",
        ),
        (
            "<nvram type='volume'><source pool='p' volume='v'/></nvram>",
            " firmware='efi'",
            "<nvram>: type='volume' keeps no variables (file, block or network)",
        ),
        ("<nvram type='file'/>", " firmware='efi'", "<nvram>: <source> is missing"),
        (
            "<loader type='pflash' format='raw'>/fw</loader><nvram>/vars</nvram>",
            "",
            "<nvram>: nothing says what format= it has (format='raw')",
        ),
        ("<loader type='pflash'/>", "", "<loader>: there is no path"),
        ("<loader type='tape'>/x</loader>", "", "<loader>: type='tape' is unknown"),
        ("<nvram template='/other'/>", " firmware='efi'", "<os>: there is no 'efi' firmware here"),
    ],
)
def test_what_contradicts_itself_is_said(system: str, firmware: str, expected: str) -> None:
    assert expected in message(system, firmware=firmware)


def test_uefi_and_acpi_go_together() -> None:
    uefi = "<loader readonly='yes' type='pflash'>/code</loader>"
    assert "UEFI needs ACPI on this architecture" in message(uefi, inside="")
    assert "ACPI needs UEFI on this architecture" in message("", arch="aarch64")


def test_a_descriptor_for_another_machine_is_passed_over() -> None:
    xml = domain(ACPI, machine="pc").replace("<os>", "<os firmware='efi'>")
    with pytest.raises(ConfigErrors, match="there is no 'efi' firmware here that fits"):
        translated(xml, data=replace(host(), firmware=INSTALLED))


def test_variables_are_seeded_from_their_template() -> None:
    data = replace(host(), firmware=INSTALLED, nvram_dir="/nvram")
    xml = domain(ACPI, system="<loader secure='no'/>").replace("<os>", "<os firmware='efi'>")
    assert translated(xml, data=data).plan.seeds == (
        Seed(path="/nvram/vm_VARS.fd", template="/fw/plain.vars"),
    )
    assert translated(domain(), data=data).plan.seeds == ()


def test_variables_on_a_device_are_there_already() -> None:
    data = replace(host(), firmware=INSTALLED)
    system = "<nvram type='block'><source dev='/dev/x'/></nvram>"
    xml = domain(ACPI, system=system).replace("<os>", "<os firmware='efi'>")
    plan = translated(xml, data=data).plan
    assert '"driver":"host_device","filename":"/dev/x"' in lines(plan, "blockdev")[2]
    assert plan.seeds == ()


def test_a_template_is_copied_and_not_converted() -> None:
    """Variables of another format than their template must be there already."""
    code = "<loader readonly='yes' type='pflash'>/code</loader>"
    template = "<nvram template='/t' templateFormat='raw' format='qcow2'>{}</nvram>"
    data = replace(host(), nvram_dir="/nvram")
    [mine] = translated(domain(ACPI, system=code + template.format("/v")), data=data).plan.seeds
    obstacle = "a raw template can't be copied to qcow2 variables"
    assert mine == Seed(path="/v", template="/t", obstacle=obstacle)
    [own] = translated(domain(ACPI, system=code + template.format("")), data=data).plan.seeds
    assert own == Seed(path="/nvram/vm_VARS.fd", template="/t")


def test_only_q35_machines_close_flash() -> None:
    system = "<loader readonly='yes' secure='yes' type='pflash'>/code</loader>"
    with pytest.raises(ConfigErrors, match=r"<loader>: secure='yes' is for q35 machines"):
        translated(domain(SMM, system=system, machine="pc"))


def test_a_rom_leaves_variables_alone() -> None:
    assert images("<loader>/rom</loader><nvram>/vars</nvram>", firmware="") == []
    assert options("<loader>/rom</loader><nvram>/vars</nvram>") == ["/rom", "smm=False"]


@pytest.mark.parametrize("kind", ["", " type='pflash'"])
def test_images_from_before_there_were_descriptors(kind: str) -> None:
    ovmf = "/usr/share/OVMF/OVMF_CODE.fd"
    system = f"<loader readonly='yes'{kind}>{ovmf}</loader>"
    if not kind:  # nobody says that it is flash
        assert options(system) == [ovmf, "smm=False"]
        return
    assert images(system, firmware="") == [ovmf, "/nvram/vm_VARS.fd"]
    data = replace(host(), nvram_dir="/nvram")
    assert translated(domain(ACPI, system=system), data=data).plan.seeds == (
        Seed(path="/nvram/vm_VARS.fd", template="/usr/share/OVMF/OVMF_VARS.fd"),
    )
    own = f"{system}<nvram template='/t'/>"
    assert translated(domain(ACPI, system=own), data=data).plan.seeds == (
        Seed(path="/nvram/vm_VARS.fd", template="/t"),
    )
    writable = system.replace("readonly='yes'", "readonly='no'")
    assert images(writable, firmware="") == [ovmf]


def test_a_rom_may_be_called_secure_where_smm_guards_flash() -> None:
    rom = "<loader secure='yes'>/rom</loader>"
    assert options(rom, inside=SMM) == ["/rom", "smm=True"]


def test_features_qualify_the_kind_of_firmware_and_mean_nothing_without_one() -> None:
    features = "<firmware><feature name='anything'/></firmware>"
    assert options(f"<loader>/rom</loader>{features}") == ["/rom", "smm=False"]


def test_a_writable_image_has_variables_if_their_format_is_said() -> None:
    system = "<loader type='pflash'>/fw</loader><nvram format='raw'>/vars</nvram>"
    assert images(system, firmware="") == ["/fw", "/vars"]


def test_variables_are_named_for_the_format_of_their_template() -> None:
    system = "<loader readonly='yes' type='pflash'>/fw</loader><nvram templateFormat='qcow2'/>"
    assert images(system, firmware="") == ["/fw", "/nvram/vm_VARS.qcow2"]
