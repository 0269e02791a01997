"""The benchmark: what qsuper does, timed beside the same work done by libvirt."""
