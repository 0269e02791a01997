#!/usr/bin/env python3
"""A peripheral that squares numbers, for the guest of cosim.xml: cosim.py SOCKET."""

import struct
import sys

from qsuper.fabric.client import Client

GUEST = 2  # its peer number: the primary's
SLOT = GUEST * 64  # where the guest looks; see guests/README.md
TICK, RESULT, REQUEST = SLOT + 36, SLOT + 40, SLOT + 44
ASK, ANSWER = 1, 2  # vectors: the guest rings the supervisor's ASK, we ring the guest's ANSWER

with Client(sys.argv[1]) as fabric:
    struct.pack_into("<I", fabric.memory, TICK, 1 << 16 | ASK)
    while True:
        if fabric.wait() == ASK:
            (number,) = struct.unpack_from("<I", fabric.memory, REQUEST)
            struct.pack_into("<I", fabric.memory, RESULT, number * number & 0xFFFFFFFF)
            fabric.ring(GUEST, ANSWER)
