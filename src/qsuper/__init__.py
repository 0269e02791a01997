"""Run libvirt domain XML as supervised QEMU processes."""

__version__ = "0.1.0"
