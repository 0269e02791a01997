"""What `qsuper translate` prints, run by a shell."""

import subprocess


def pasted(lines: str) -> "subprocess.Popen[str]":
    """Start the command, with a human monitor on its standard input and output."""
    return subprocess.Popen(
        ["/bin/sh", "-c", f"exec {lines.rstrip()} -monitor stdio"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
