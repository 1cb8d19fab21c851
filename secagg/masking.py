"""Masks: y_u = x_u + G(self_u) + sum_{v>u} G(k_uv) - sum_{v<u} G(k_uv) mod R, tile by tile.

Streams are added at the full width of a machine word and reduced to b bits at the end: 2^b divides 2^32
(2^64), so the sum mod 2^b is the same and a stream costs 4 (8) bytes a value. The functions here know no
keys and no messages; a stream is anything that fills a buffer, so that proofs can inject theirs.

Nearly all the time goes to the cipher. What is added to it is one pass over a stream's tile in the second-level
cache, at a multiple of the cipher's speed if accumulator and pad begin at a cache line.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fedsec.keystream import TILE_BYTES
from secagg.packing import pack_into, packed_size, unpack, word_type
from secagg.quantiser import check_range

TILE_WORDS = TILE_BYTES // 4  # of uint32, half as many of uint64; multiples of packing.GROUP
_CACHE_LINE = 64


class Stream(Protocol):
    """A source of mask words, read forwards once, such as :class:`fedsec.keystream.KeyStream`."""

    def read_into(self, buffer: memoryview) -> None:
        """Fill ``buffer`` (writable bytes) with the next bytes of the stream."""


def mask(
    values: NDArray[np.int64], *, ring_bits: int, bound: int, add: Sequence[Stream], subtract: Sequence[Stream]
) -> bytearray:
    """The packed masked input: ``values`` plus all words of ``add`` minus all of ``subtract``, mod 2^b.

    Args:
        values: shape ``(d,)``, int64, every |q| <= ``bound``, which is checked here, before anything leaves.
        ring_bits: b in ``[1, 64]``.
        bound: largest magnitude of an input; that a sum of such inputs cannot wrap is the session's to see to.
        add: the own self-mask stream and those shared with clients of a higher index.
        subtract: streams shared with clients of a lower index.

    Returns:
        ``packed_size(d, b)`` bytes. Beside them and ``values`` only tiles are allocated (under 1 MB).

    Raises:
        LocalProtocolError: a value out of range.
    """
    out = bytearray(packed_size(len(values), ring_bits))
    view = np.frombuffer(out, dtype=np.uint8)
    dtype = word_type(ring_bits)
    words, pad = (zeros(_tile(len(values), dtype), dtype) for _ in range(2))
    for start in range(0, len(values), max(1, len(words))):
        tile = values[start : start + len(words)]
        check_range(tile, bound)
        masked = words[: len(tile)]
        masked[:] = tile.view(np.uint64)  # two's complement: the value mod 2^32 (2^64)
        _combine_tile(masked, pad[: len(tile)], add=add, subtract=subtract)
        pack_into(masked, ring_bits, view[start * ring_bits // 8 :])
    return out


def combine(words: NDArray[np.unsignedinteger], *, add: Sequence[Stream], subtract: Sequence[Stream]) -> None:
    """Add and subtract the streams' next ``len(words)`` words in place, mod the word size, tile by tile."""
    pad = zeros(_tile(len(words), words.dtype), words.dtype)
    for start in range(0, len(words), max(1, len(pad))):
        tile = words[start : start + len(pad)]
        _combine_tile(tile, pad[: len(tile)], add=add, subtract=subtract)


def add_packed(words: NDArray[np.unsignedinteger], packed: memoryview, bits: int) -> None:
    """Add a packed masked input of ``len(words)`` values to the accumulator ``words`` in place."""
    for start in range(0, len(words), TILE_WORDS):
        tile = words[start : start + TILE_WORDS]
        tile += unpack(packed[start * bits // 8 :], len(tile), bits)


def zeros(count: int, dtype: np.dtype[np.unsignedinteger]) -> NDArray[np.unsignedinteger]:
    """``count`` zeros that begin at a cache line: where they do not, adding to them takes a seventh longer."""
    memory = np.zeros(count * dtype.itemsize + _CACHE_LINE, dtype=np.uint8)
    begin = -memory.ctypes.data % _CACHE_LINE
    return memory[begin : begin + count * dtype.itemsize].view(dtype)


def _combine_tile(
    words: NDArray[np.unsignedinteger],
    pad: NDArray[np.unsignedinteger],
    *,
    add: Sequence[Stream],
    subtract: Sequence[Stream],
) -> None:
    buffer = pad.data.cast("B")
    for stream in add:
        stream.read_into(buffer)
        np.add(words, pad, words)
    for stream in subtract:
        stream.read_into(buffer)
        np.subtract(words, pad, words)


def _tile(count: int, dtype: np.dtype[np.unsignedinteger]) -> int:
    return min(count, TILE_BYTES // dtype.itemsize)
