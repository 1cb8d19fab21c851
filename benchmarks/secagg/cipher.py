"""The baseline: raw AES-256-CTR on one core, as fast as the library goes, nothing done with what comes out."""

from __future__ import annotations

import os
import time

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

TILE = 1 << 18  # the fastest of 2^14 to 2^20: calls cost little, and both buffers stay in the second-level cache
_ZEROS = memoryview(bytes(TILE))


def raw_seconds(streams: int, size: int) -> float:
    """Seconds of CPU that ``streams`` fresh keys take for ``size`` bytes each."""
    out = memoryview(bytearray(TILE))
    start = time.process_time()
    for _ in range(streams):
        encryptor = Cipher(algorithms.AES(os.urandom(32)), modes.CTR(bytes(16))).encryptor()
        for begin in range(0, size, TILE):
            length = min(TILE, size - begin)
            encryptor.update_into(_ZEROS[:length], out[:length])
    return time.process_time() - start
