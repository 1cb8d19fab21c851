"""One expansion of a 32-byte key into a long stream: AES-256 in counter mode, zero initial counter.

``secagg`` expands agreed keys into masks with it, ``dp`` expands fresh OS entropy into noise and rounding coins.
One key serves one stream (NIST SP 800-38A section 6.5: a counter block must never repeat under a key), so an object
has no way to rewind. It may start further on, where several processes each read their part of one stream.
"""

from __future__ import annotations

import os

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

KEY_BYTES = 32
BLOCK_BYTES = 16
TILE_BYTES = 1 << 18  # zeros, key stream and the accumulator's tile fit a second-level cache of 1 MB together
_ZEROS = memoryview(bytes(TILE_BYTES))


class KeyStream:
    """The stream of one key, read forwards once.

    Args:
        key: 32 bytes, used for this stream and nothing else.
        start: the byte of the stream to begin at, a multiple of 16.

    Raises:
        ValueError: the key is not 32 bytes long, or the start is no multiple of 16.
    """

    def __init__(self, key: bytes, *, start: int = 0) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"a stream key has {KEY_BYTES} bytes, not {len(key)}")
        block, inside = divmod(start, BLOCK_BYTES)
        if inside:
            raise ValueError(f"a stream starts at a multiple of {BLOCK_BYTES} bytes, not at {start}")
        counter = block.to_bytes(BLOCK_BYTES, "big")
        self._encryptor = Cipher(algorithms.AES(key), modes.CTR(counter)).encryptor()

    @classmethod
    def from_os(cls) -> KeyStream:
        """A stream under a fresh key from the operating system; made anew where it is used, so a fork shares none."""
        return cls(os.urandom(KEY_BYTES))

    def read_into(self, buffer: memoryview) -> None:
        """Fill ``buffer`` (writable, bytes, contiguous) with the next ``len(buffer)`` bytes of the stream."""
        if len(buffer) > TILE_BYTES:
            for start in range(0, len(buffer), TILE_BYTES):
                self.read_into(buffer[start : start + TILE_BYTES])
        else:
            self._encryptor.update_into(_ZEROS[: len(buffer)], buffer)  # goes on where the last call ended

    def words(self, count: int, dtype: type[np.unsignedinteger]) -> NDArray[np.unsignedinteger]:
        """The next ``count`` little-endian words of ``dtype`` (uint8 to uint64), shape ``(count,)``."""
        out = np.empty(count, dtype=np.dtype(dtype).newbyteorder("<"))
        self.read_into(out.data.cast("B"))
        return out
