"""What the host gives: files, emulators, networks. The only place that reads XML files."""
