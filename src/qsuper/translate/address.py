"""Places for all devices that the file leaves without one, as libvirt deals them.

Source: libvirt `qemuDomainAssignAddresses`.
"""

from qsuper.translate.model import Context
from qsuper.translate.pci import assign_pci
from qsuper.translate.usb import assign_usb
from qsuper.translate.virtio_serial import assign_virtio_serial


def assign_addresses(context: Context) -> Context:
    """Deal the places; controllers and hubs are added where there are too few.

    Raises:
        ConfigError, ConfigErrors: a place is taken twice, does not exist, or none is left.
    """
    for assign in (assign_virtio_serial, assign_pci, assign_usb):
        context = assign(context)
    return context
