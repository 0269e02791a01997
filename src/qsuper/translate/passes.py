"""The translation as a whole: a file's tree in, a launch plan out."""

from msgspec.structs import replace

from qsuper.caps import Caps
from qsuper.errors import ConfigError, ConfigErrors
from qsuper.translate.address import assign_addresses
from qsuper.translate.alias import assign_aliases, number_nodes
from qsuper.translate.boot import assign_boot_order
from qsuper.translate.build import build
from qsuper.translate.check import check, notices, obstacles
from qsuper.translate.defaults import fill_in, identify
from qsuper.translate.model import Context, Domain, Translation
from qsuper.translate.node import Node
from qsuper.translate.parse import parse
from qsuper.translate.site import HostData


def translate(root: Node, caps: Caps, host: HostData) -> Translation:
    """Translate a domain into what must be started.

    Raises:
        ConfigError, ConfigErrors: the file is wrong, or asks for what qsuper can't do.
    """
    parsed = parse(root)
    try:
        context = _complete(identify(parsed.domain, host), caps, host)
    except ConfigError as error:
        raise ConfigErrors([*parsed.errors, error]) from error
    except ConfigErrors as several:
        raise ConfigErrors([*parsed.errors, *several.errors]) from several
    if parsed.errors:
        raise ConfigErrors(parsed.errors)
    said = (*root.unread(), *notices(context))
    return Translation(
        plan=build(context),
        notices=said,
        obstacles=tuple(obstacles(context)),
        domain=context.domain,
        site=context.site,
    )


def _complete(domain: Domain, caps: Caps, host: HostData) -> Context:
    """Run the passes that complete and judge the domain.

    Raises:
        ConfigError, ConfigErrors: something is wrong with it.
    """
    site = domain.os.site(caps, host, is_kvm=domain.is_kvm)
    context = fill_in(Context(domain, site))
    context = assign_addresses(context)
    context = replace(context, domain=assign_aliases(context))
    context = replace(context, domain=number_nodes(assign_boot_order(context.domain)))
    check(context)
    return context
