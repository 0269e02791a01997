"""Memory and signals that domains share, by ivshmem; no XML. See docs/fabric.md."""
