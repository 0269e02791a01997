"""What of libvirt's XML qsuper supports, found out by watching the translation read."""
