"""Domain files of guests that boot from a floppy, such as the one that ticks."""

from pathlib import Path

from tests.support.supervisors import GUESTS


def write_domain(
    directory: Path,
    name: str,
    *needs: str,
    guest: str = "tick",
    serial: str = "<serial type='pty'/>",
    devices: str = "",
    arguments: str = "",
) -> str:
    """Write a domain that runs one of the guests; give the file's path.

    Args:
        directory: Where.
        name: Its own.
        needs: Those of its dependencies, whose files are beside it.
        guest: What it runs.
        serial: The port that the guest writes to.
        devices: Further ones.
        arguments: Words for QEMU's command line.
    """
    path = directory / f"{name}.xml"
    words = "".join(f"<qemu:arg value='{word}'/>" for word in arguments.split())
    dependencies = "".join(f"<domaindependency>{need}.xml</domaindependency>" for need in needs)
    path.write_text(f"""\
<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>{name}</name>
  <memory unit='MiB'>16</memory>
  <os><type arch='x86_64' machine='pc'>hvm</type><boot dev='fd'/></os>
  <features><acpi/></features>
  <devices>
    <disk type='file' device='floppy'>
      <driver name='qemu' type='raw'/>
      <source file='{GUESTS}/{guest}-x86_64.img'/>
      <target dev='fda' bus='fdc'/>
      <readonly/>
    </disk>
    {serial}
    {dependencies}
    {devices}
  </devices>
  <qemu:commandline>{words}</qemu:commandline>
</domain>
""")
    return str(path)
