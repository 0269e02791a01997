"""From a complete domain to the command line, in libvirt's order.

The frame that only the supervisor adds (name, monitors, sandbox, logs) is not here.

Source: libvirt `qemuBuildCommandLine`.
"""

from collections.abc import Iterator

from qsuper.options import Option, Props
from qsuper.plan import LaunchPlan
from qsuper.translate.families import FAMILIES
from qsuper.translate.model import Context, Device


def build(context: Context) -> LaunchPlan:
    """Make the launch plan."""
    domain = context.domain
    overridden = domain.passthrough.overridden
    return LaunchPlan(
        name=domain.name,
        uuid=domain.uuid,
        arch=context.site.arch,
        emulator=domain.emulator or "",
        options=tuple(overridden(option) for option in _options(context)),
        env=dict(domain.passthrough.env),
        consoles=tuple(
            console for device in domain.devices for console in device.consoles(context)
        ),
        lifecycle=domain.lifecycle.lifecycle,
    )


def _options(context: Context) -> Iterator[Option]:
    domain, site = context.domain, context.site
    yield from domain.passthrough.compat_options()
    yield from domain.os.firmware_options(site)
    yield from domain.os.machine_options(
        site, features=domain.features, extra=_machine_props(context)
    )
    yield from domain.features.global_options(site)
    yield from domain.cpu.options(site, features=domain.features, clock=domain.clock)
    yield from domain.os.bios_options(site)
    plugged_bytes = sum(device.plugged_bytes for device in domain.devices)
    yield from domain.memory.options(site, numa=domain.numa, plugged_bytes=plugged_bytes)
    yield from domain.vcpu.options(site)
    yield from domain.iothreads.options()
    yield from domain.numa.options()
    yield Option.word("uuid", domain.uuid)
    yield from domain.sysinfo.options(site, uuid=domain.uuid)
    if not context.has("graphics"):
        yield Option.keyed("display", {"type": "none"}, implied="type")
    yield Option.flag("no-user-config")
    yield Option.flag("nodefaults")
    yield from domain.clock.options(site)
    yield Option.flag("no-shutdown")
    yield from domain.pm.options(site)
    yield from domain.os.boot_options(site)
    for device in in_order(domain.devices):
        yield from device.options(context)
    yield from domain.features.device_options(site)
    yield from domain.passthrough.options()
    yield from domain.features.late_options(site)


def in_order(devices: tuple[Device, ...]) -> list[Device]:
    """Sort by family, as the command line wants it."""
    return sorted(devices, key=_place)


def _place(device: Device) -> int:
    return next(number for number, family in enumerate(FAMILIES) if isinstance(device, family))


def _machine_props(context: Context) -> Props:
    domain, site = context.domain, context.site
    props: Props = {
        **domain.clock.machine_props(site),
        "memory-backend": domain.memory.machine_backend(site, numa=domain.numa),
    }
    for device in context.domain.devices:
        props = {**props, **device.machine_props(context)}
    return props
