"""A helper process of :mod:`fl_engine.unmasking`: combines its part of an accumulator with key streams.

It knows nothing but what comes in over its standard input, a socket that it shares with its parent alone: an
order (:data:`ORDER`), with it the file that the accumulator lies in, and then the 32-byte keys. It answers
:data:`DONE` when its part is done, and ends when the parent closes the socket or has ended.
"""

from __future__ import annotations

import mmap
import os
import socket
import struct
import sys
from collections.abc import Sequence

import numpy as np

from fedsec.keystream import KEY_BYTES, KeyStream
from secagg import masking

ORDER = struct.Struct("<BQQII")  # bytes of a word, first word, number of words, keys to add, keys to subtract
DONE = b"\x01"


def main() -> None:
    """Work off one order after the other."""
    with socket.socket(fileno=os.dup(sys.stdin.fileno())) as parent:
        while True:
            order, files, _, _ = socket.recv_fds(parent, ORDER.size, 1, socket.MSG_WAITALL)
            if len(order) < ORDER.size:
                return
            size, first, count, added, subtracted = ORDER.unpack(order)
            keys = _receive(parent, KEY_BYTES * (added + subtracted))
            streams = [
                KeyStream(keys[place : place + KEY_BYTES], start=first * size)
                for place in range(0, len(keys), KEY_BYTES)
            ]
            _work(files[0], size, first, count, add=streams[:added], subtract=streams[added:])
            parent.sendall(DONE)


def _work(
    file: int, size: int, first: int, count: int, *, add: Sequence[KeyStream], subtract: Sequence[KeyStream]
) -> None:
    try:
        # The pages are there already: mapped at once, not one fault at a time.
        flags = mmap.MAP_SHARED | mmap.MAP_POPULATE
        with mmap.mmap(file, count * size, flags, offset=first * size) as memory:
            words = np.frombuffer(memory, dtype=f"<u{size}")
            masking.combine(words, add=add, subtract=subtract)
            del words  # memory that is referred to cannot be unmapped
    finally:
        os.close(file)


def _receive(parent: socket.socket, size: int) -> bytes:
    received = bytearray(size)
    view = memoryview(received)
    while view:
        count = parent.recv_into(view)
        if not count:
            sys.exit("the order ended in the middle of its keys")
        view = view[count:]
    return bytes(received)


if __name__ == "__main__":
    main()
