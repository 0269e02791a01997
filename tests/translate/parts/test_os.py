"""The machine and what it boots."""

import pytest

from qsuper.errors import ConfigError, ConfigErrors
from tests.support.grounds import domain, lines, translated


def machine(xml: str, arch: str = "x86_64") -> str:
    return lines(translated(xml, arch=arch).plan, "machine")[0]


def message(xml: str, arch: str = "x86_64") -> str:
    with pytest.raises((ConfigError, ConfigErrors)) as caught:
        translated(xml, arch=arch)
    return str(caught.value)


def test_an_alias_becomes_the_versioned_machine() -> None:
    assert machine(domain(machine="pc")).startswith("pc-i440fx-10.0,usb=off,")


def test_a_domain_that_names_no_machine_gets_the_one_libvirt_prefers() -> None:
    assert machine(domain().replace(" machine='q35'", "")).startswith("pc-i440fx-10.0,")


def test_acpi_is_off_unless_asked_for() -> None:
    assert machine(domain()).endswith(",acpi=off")
    assert machine(domain("<features><acpi/></features>")).endswith(",acpi=on")


def test_a_machine_without_acpi_gets_no_such_switch() -> None:
    assert "acpi" not in machine(domain(machine="none"))


def test_the_machine_none_has_no_cpu() -> None:
    assert lines(translated(domain(machine="none")).plan, "cpu") == []


@pytest.mark.parametrize(
    ("xml", "expected"),
    [
        (
            domain(machine="pc-q36"),
            "vm.xml:2: <type>: the emulator has no machine='pc-q36' (one of ",
        ),
        (
            domain(arch="aarch64", machine="virt"),
            (
                "vm.xml:2: <type>: the emulator is for x86_64, not for arch='aarch64' "
                "(set <emulator> to qemu-system-aarch64)"
            ),
        ),
        (
            domain(machine="isapc", inside="<features><acpi/></features>"),
            "vm.xml:3: <features>: machine 'isapc' has no ACPI (remove <acpi/>)",
        ),
        (
            domain(system="<bootmenu enable='yes' timeout='65536'/>"),
            "vm.xml:2: <bootmenu>: timeout='65536' is out of range (0..65535)",
        ),
        (
            domain(system="<boot dev='tape'/>"),
            "vm.xml:2: <boot>: dev='tape' is unknown (one of fd, hd, cdrom, network)",
        ),
        (
            domain(system="<kernel>/k</kernel><shim>/s</shim>"),
            "vm.xml:2: <os>: this QEMU takes no <shim> (remove it)",
        ),
        (
            domain(system="<shim>/s</shim>"),
            "vm.xml:2: <os>: this QEMU takes no <shim> (remove it)",
        ),
        (
            domain(
                system="<acpi><table type='slic'>/a</table><table type='slic'>/b</table></acpi>"
            ),
            "vm.xml:2: <table>: type='slic' is there twice (one table of each type)",
        ),
        (
            domain(system="<bios useserial='yes'/>"),
            "vm.xml:2: <os>: <bios useserial='yes'/> needs a serial port (<serial>)",
        ),
        (
            domain(system="<bios useserial='yes'/>", machine="none"),
            "vm.xml:2: <os>: <bios useserial='yes'/> needs a serial port (<serial>)",
        ),
    ],
)
def test_what_is_wrong_is_said(xml: str, expected: str) -> None:
    assert message(xml).startswith(expected)


def test_the_guest_type_must_be_hvm() -> None:
    assert message(domain().replace(">hvm<", ">linux<")) == (
        "vm.xml:2: <type>: 'linux' is not supported (hvm)"
    )


@pytest.mark.parametrize(
    ("system", "expected"),
    [
        ("", "strict=on"),
        ("<bootmenu enable='yes' timeout='3000'/>", "menu=on,splash-time=3000,strict=on"),
        ("<bootmenu enable='no' timeout='3000'/>", "menu=off,strict=on"),
        ("<bios rebootTimeout='-1'/>", "reboot-timeout=-1,strict=on"),
    ],
)
def test_boot_settings(system: str, expected: str) -> None:
    assert lines(translated(domain(system=system)).plan, "boot") == [expected]


def test_a_kernel_is_found_from_the_file_that_names_it() -> None:
    system = "<kernel>boot/vmlinuz</kernel><initrd>/initrd</initrd><cmdline>a=b,c d</cmdline>"
    plan = translated(domain(system=system)).plan
    assert lines(plan, "kernel", "initrd", "append") == ["/vms/boot/vmlinuz", "/initrd", "a=b,c d"]


def test_acpi_tables() -> None:
    system = "<acpi><table type='slic'>/a,b</table><table type='raw'>/c</table></acpi>"
    plan = translated(domain(system=system)).plan
    assert lines(plan, "acpitable") == ["sig=SLIC,file=/a,,b", "file=/c"]


def test_a_bios_on_the_serial_port_has_no_graphics() -> None:
    xml = domain(system="<bios useserial='yes'/>")
    serial = "<serial type='null'/></devices>"
    assert "graphics=off" in machine(xml.replace("</devices>", serial))


def test_only_x86_has_a_bios_on_the_serial_port() -> None:
    xml = domain(system="<bios useserial='yes'/>", arch="aarch64", machine="virt")
    assert message(xml, "aarch64") == (
        "vm.xml:2: <os>: only x86 guests have <bios useserial=> (remove it)"
    )


@pytest.mark.parametrize(
    ("system", "expected"),
    [
        ("<initrd>/i</initrd>", "<os>: <initrd> and <cmdline> need a <kernel> (add it)"),
        ("<cmdline>c</cmdline>", "<os>: <initrd> and <cmdline> need a <kernel> (add it)"),
        (
            "<acpi><table type='slic'/></acpi>",
            "<table>: there is no path (name the table's file)",
        ),
    ],
)
def test_what_can_be_written_and_not_be_started(system: str, expected: str) -> None:
    assert list(map(str, translated(domain(system=system)).obstacles)) == [f"vm.xml:2: {expected}"]
    assert translated(domain(system="<kernel>/k</kernel>")).obstacles == ()
