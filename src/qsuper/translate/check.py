"""What is wrong with a domain that is complete: all of it, not the first."""

from collections.abc import Iterator

from qsuper.errors import ConfigError, ConfigErrors
from qsuper.location import Notice
from qsuper.translate.model import Context
from qsuper.translate.placement import place_problems


def check(context: Context) -> None:
    """Judge the domain.

    Raises:
        ConfigErrors: something is wrong; it holds all that is.
    """
    errors = list(dict.fromkeys(_problems(context)))
    if errors:
        raise ConfigErrors(errors)


def notices(context: Context) -> Iterator[Notice]:
    """Give what the user should know and is no error."""
    domain = context.domain
    if not context.site.caps.has_sandbox:
        yield Notice(domain.at, "the emulator was built without seccomp: it runs with no sandbox")
    yield from domain.cpu.notices()
    yield from domain.numa.notices(context.site)
    yield from domain.tuning.notices()
    has_balloon = any(device.takes_memory for device in domain.devices)
    yield from domain.memory.notices(context.site, numa=domain.numa, has_balloon=has_balloon)
    yield from domain.sysinfo.notices()
    yield from domain.passthrough.notices()
    yield from domain.fabric.notices(context.site, on_crash=domain.lifecycle.lifecycle.on_crash)
    for device in domain.devices:
        yield from device.notices(context)


def obstacles(context: Context) -> Iterator[ConfigError]:
    """Give what keeps the domain from being started."""
    yield from context.domain.os.obstacles()
    yield from context.domain.features.obstacles(context.site)
    for device in context.domain.devices:
        yield from device.obstacles(context)


def _problems(context: Context) -> Iterator[ConfigError]:
    domain, site = context.domain, context.site
    yield from domain.os.problems(site, features=domain.features, has_serial=context.has("serial"))
    yield from domain.vcpu.problems(site)
    yield from domain.tuning.problems(
        cpus=domain.vcpu.maximum, threads=domain.iothreads.ids, is_kvm=domain.is_kvm
    )
    yield from domain.numa.problems(site, vcpu=domain.vcpu)
    plugged_bytes = sum(device.plugged_bytes for device in domain.devices)
    yield from domain.memory.problems(site, numa=domain.numa, plugged_bytes=plugged_bytes)
    yield from domain.fabric.problems(
        site,
        size_bytes=domain.memory.initial_bytes(domain.numa, plugged_bytes=plugged_bytes),
        has_cells=bool(domain.numa.cells),
        has_backing=domain.memory.backing.says_what,
    )
    yield from domain.cpu.problems(site, features=domain.features, clock=domain.clock)
    yield from domain.features.problems(site)
    yield from domain.clock.problems(site)
    yield from domain.pm.problems(site)
    yield from domain.sysinfo.problems(site, uuid=domain.uuid)
    yield from place_problems(context)
    for device in context.domain.devices:
        yield from device.problems(context)
