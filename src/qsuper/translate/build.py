"""From a complete domain to the command line, in libvirt's order.

The frame that only the supervisor adds (name, monitors, sandbox, logs) is not here.

Source: libvirt `qemuBuildCommandLine`.
"""

from collections.abc import Iterator

from qsuper.options import Option, Props
from qsuper.plan import Command, LaunchPlan, PlugCpu
from qsuper.translate.families import in_order
from qsuper.translate.model import Context, Domain
from qsuper.translate.parts.memory import ram_id


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
        env=_env(domain),
        consoles=tuple(
            console for device in domain.devices for console in device.consoles(context)
        ),
        lifecycle=domain.lifecycle.lifecycle,
        seeds=domain.os.firmware.seeds,
        helpers=tuple(helper for device in domain.devices for helper in device.helpers(context)),
        setup=tuple(_setup(context)),
        boot=domain.fabric.boot_vector(context.site),
        signals=tuple(rule.signal for rule in domain.fabric.rules),
        meeting=domain.fabric.meeting(context.site),
        has_sandbox=context.site.caps.has_sandbox,
    )


def _env(domain: Domain) -> dict[str, str]:
    env = dict(domain.clock.env)
    for device in domain.devices:
        env |= device.env
    return {**env, **domain.passthrough.env}


def _options(context: Context) -> Iterator[Option]:
    yield from _head(context)
    yield from _identity(context)
    for device in in_order(context.domain.devices):
        yield from device.options(context)
    yield from context.domain.features.device_options(context.site)
    has_firmware = context.domain.os.has_firmware
    fabric = context.domain.fabric
    yield from fabric.signal_options(context.site, ram_id=ram_id(context.site))
    yield from fabric.options(context.site, has_firmware=has_firmware)
    yield from context.domain.passthrough.options()
    yield from context.domain.features.late_options(context.site)


def _head(context: Context) -> Iterator[Option]:
    """Give what the machine is made of: board, CPUs, memory."""
    domain, site = context.domain, context.site
    panics = any(device.needs_hv_crash for device in domain.devices)
    plugged_bytes = sum(device.plugged_bytes for device in domain.devices)
    yield from domain.passthrough.compat_options()
    yield from domain.os.firmware_options(site)
    yield from domain.os.machine_options(
        site, features=domain.features, extra=_machine_props(context)
    )
    yield from domain.features.global_options(site)
    yield from domain.cpu.options(
        site, features=domain.features, clock=domain.clock, has_hyperv_panic=panics
    )
    yield from domain.os.bios_options(site)
    yield from domain.memory.options(
        site,
        numa=domain.numa,
        domain=domain.name,
        plugged_bytes=plugged_bytes,
        shared=domain.fabric.objects(site, ram_id=ram_id(site)),
    )
    yield from domain.vcpu.options(site)
    yield from domain.iothreads.options()
    yield from domain.throttle.options()
    yield from domain.memory.cell_options(site, numa=domain.numa, domain=domain.name)
    yield from domain.numa.options(is_by_size=domain.memory.is_by_size(site, domain.numa))
    yield from domain.fabric.numa_options(site, cpus=domain.vcpu.maximum)


def _identity(context: Context) -> Iterator[Option]:
    """Give who the guest is, its clock, and what it boots."""
    domain, site = context.domain, context.site
    yield from domain.sysinfo.options(site, uuid=domain.uuid)
    if not context.has("graphics"):
        yield Option.keyed("display", {"type": "none"}, implied="type")
    yield Option.flag("no-user-config")
    yield Option.flag("nodefaults")
    yield from domain.clock.options(site)
    yield from domain.pm.options(site)
    yield from domain.os.boot_options(site)


def _setup(context: Context) -> Iterator[Command | PlugCpu]:
    """Give what a running QEMU is told, in libvirt's order: CPUs, passwords, links, limits, RAM."""
    domain = context.domain
    yield from domain.vcpu.setup()
    for device in in_order(domain.devices):
        yield from device.setup(context)


def _machine_props(context: Context) -> Props:
    domain, site = context.domain, context.site
    props: Props = {
        **domain.clock.machine_props(site),
        **domain.memory.machine_props(
            site, numa=domain.numa, in_pieces=domain.fabric.is_in_pieces(site)
        ),
        **domain.numa.machine_props(),
    }
    for device in context.domain.devices:
        props = {**props, **device.machine_props(context)}
    return props
