"""Whether a domain needs an IOMMU for its many CPUs.

Source: libvirt `qemuDomainDefAddDefaultDevices`, `qemuDomainDefEnableDefaultFeatures`.
"""

from typing import Final

from qsuper.translate.model import Context

_MOST_WITHOUT: Final = 255


def needs_remapping(context: Context) -> bool:
    """Tell whether there are CPUs above the 255th, which need interrupts to be remapped."""
    return context.site.is_q35 and context.domain.vcpu.maximum > _MOST_WITHOUT
