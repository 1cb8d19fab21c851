"""Bit-packing: b-bit words as one little-endian bit stream, b from 1 to 64.

Bit k of word i is bit (i*b + k) of the stream, and bit j of the stream is bit j mod 8 of byte j // 8; the
bits behind the last word are 0.

Vectorised in three moves, each a numpy operation over a whole tile. *Fold*: two neighbours of up to 32 bits
become one field of 2b bits in a 64-bit word. *Lanes*: the fewest fields that end at a byte boundary make a
record, whose 64-bit lanes are put together by shifts. *Overlap*: a lane is written whole at its place in every
record at once, though the record's own bits may end earlier; what that spoils is written after it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import gcd

import numpy as np
from numpy.typing import NDArray

GROUP = 64  # words after which every width is back at a byte boundary: tile by multiples of it
_TILE = 1 << 15  # words, fields and packed bytes of a tile, under 400 kB, stay in the second-level cache
_LANE = 8  # bytes


def packed_size(count: int, bits: int) -> int:
    """Bytes that ``count`` words of ``bits`` bits take."""
    return (count * bits + 7) // 8


def word_type(bits: int) -> np.dtype[np.unsignedinteger]:
    """The little-endian machine word that carries ``bits`` bits: uint32 up to 32, else uint64."""
    return np.dtype("<u4") if bits <= 32 else np.dtype("<u8")


def pack_into(words: NDArray[np.unsignedinteger], bits: int, out: NDArray[np.uint8]) -> None:
    """Pack the low ``bits`` bits of each word, shape ``(k,)`` of ``word_type(bits)``, to the front of ``out``.

    ``out`` has at least ``packed_size(k, bits)`` bytes; up to 8 bytes behind them are spoilt. Bits of a word above
    ``bits`` are ignored.
    """
    layout, body = _layout(bits), _body(len(words), bits, len(out) - _LANE)
    for start in range(0, body, _TILE):
        _pack(words[start : min(start + _TILE, body)], layout, out[start * bits // 8 :])
    if body < len(words):
        rest = _padded(words[body:], GROUP)
        room = np.empty(packed_size(len(rest), bits) + _LANE, dtype=np.uint8)
        _pack(rest, layout, room)
        size = packed_size(len(words) - body, bits)
        out[body * bits // 8 :][:size] = room[:size]


def unpack(data: memoryview, count: int, bits: int) -> NDArray[np.unsignedinteger]:
    """The ``count`` words of ``word_type(bits)`` packed at the front of ``data``; what lies behind them is ignored."""
    layout, body = _layout(bits), _body(count, bits, len(data) - 2 * _LANE)
    source = np.frombuffer(data, dtype=np.uint8)
    out = np.empty(count, dtype=word_type(bits))
    for start in range(0, body, _TILE):
        _unpack(source[start * bits // 8 :], layout, out[start : min(start + _TILE, body)])
    if body < count:
        last = source[body * bits // 8 :][: packed_size(count - body, bits)]
        room = np.concatenate([_padded(last, bits * GROUP // 8), np.zeros(2 * _LANE, dtype=np.uint8)])
        rest = _padded(out[body:], GROUP)
        _unpack(room, layout, rest)
        out[body:] = rest[: count - body]
    return out


def has_clean_padding(data: memoryview, count: int, bits: int) -> bool:
    """Whether the bits behind the last word are 0, as in the one canonical packing."""
    used = count * bits % 8
    return used == 0 or data[-1] >> used == 0


@dataclass(frozen=True, kw_only=True)
class _Layout:
    """How words of one width lie in records that begin and end at byte boundaries.

    Attributes:
        bits: b.
        folded: words in a field, 1 or 2.
        fields: fields in a record; where there are several, a field is carried by 64 bits.
        dtype: what carries a field.
    """

    bits: int
    folded: int
    fields: int
    dtype: np.dtype[np.unsignedinteger]

    @property
    def width(self) -> int:
        """Bits of a field."""
        return self.folded * self.bits

    @property
    def size(self) -> int:
        """Bytes of a record."""
        return self.fields * self.width // 8

    def column(self, data: NDArray[np.uint8], byte: int, records: int) -> NDArray[np.unsignedinteger]:
        """The word that begins at ``byte`` of each record in ``data``; it may reach into the next record."""
        return np.ndarray((records,), dtype=self.dtype, buffer=data.data, offset=byte, strides=(self.size,))


@cache
def _layout(bits: int) -> _Layout:
    folded = 2 if bits < 32 and bits % 8 else 1
    dtype = np.dtype("<u8") if folded == 2 else word_type(bits)
    return _Layout(bits=bits, folded=folded, fields=8 // gcd(folded * bits, 8), dtype=dtype)


def _body(count: int, bits: int, size: int) -> int:
    """How many of ``count`` words lie in whole groups within the first ``size`` bytes: they need no copy.

    A column reaches behind its last record, up to one lane where it is written and two where it is read.
    """
    return max(0, min(count, size * 8 // bits)) // GROUP * GROUP


def _padded(values: NDArray[np.unsignedinteger], multiple: int) -> NDArray[np.unsignedinteger]:
    """``values`` and zeros up to the next multiple of so many."""
    return np.concatenate([values, np.zeros(-len(values) % multiple, dtype=values.dtype)])


def _pack(words: NDArray[np.unsignedinteger], layout: _Layout, out: NDArray[np.uint8]) -> None:
    """Pack words of whole records to the front of ``out``, and spoil up to a lane behind them."""
    records, width = len(words) // (layout.folded * layout.fields), layout.width
    fields = _fold(words, layout.bits) if layout.folded == 2 else words
    if layout.fields == 1:
        # numpy copies a vector from front to back, so what reaches into the next record is written over by it.
        layout.column(out, 0, records)[:] = fields
        return
    columns = (fields if layout.folded == 2 else fields & _ones(width)).reshape(records, layout.fields)
    for lane in reversed(range(-(-layout.size // _LANE))):  # the last one reaches into the next record's first
        places = [(place, place * width - 64 * lane) for place in range(layout.fields)]
        parts = [_shifted(columns[:, place], by) for place, by in places if -width < by < 64]
        for part in parts[1:]:
            parts[0] |= part
        layout.column(out, _LANE * lane, records)[:] = parts[0]


def _unpack(data: NDArray[np.uint8], layout: _Layout, out: NDArray[np.unsignedinteger]) -> None:
    """Fill ``out`` with words from the front of ``data``: whole records, behind which it goes on for two lanes."""
    records, width = len(out) // (layout.folded * layout.fields), layout.width
    fields = out.view(layout.dtype)
    if layout.fields == 1:
        np.bitwise_and(layout.column(data, 0, records), layout.dtype.type((1 << width) - 1), out=fields)
    else:
        columns = fields.reshape(records, layout.fields)
        for place in range(layout.fields):
            byte, shift = divmod(place * width, 8)
            columns[:, place] = _shifted(layout.column(data, byte, records), -shift)
            if shift + width > 64:
                columns[:, place] |= _shifted(layout.column(data, byte + _LANE, records), 64 - shift)
        fields &= _ones(width)
    if layout.folded == 2:
        _unfold(fields, layout.bits)


def _fold(words: NDArray[np.unsignedinteger], bits: int) -> NDArray[np.unsignedinteger]:
    """Two words, of which the first is the low half of 64 bits, as one field of ``2 * bits``, the bits above it 0."""
    pairs = words.view("<u8")
    fields = pairs & _ones(bits)
    upper = pairs >> np.uint64(32 - bits)
    upper &= _ones(bits) << np.uint64(bits)
    fields |= upper
    return fields


def _unfold(fields: NDArray[np.unsignedinteger], bits: int) -> None:
    """In place, the two words of each field as the halves of its 64 bits."""
    upper = fields << np.uint64(32 - bits)
    upper &= _ones(bits) << np.uint64(32)
    fields &= _ones(bits)
    fields |= upper


def _shifted(values: NDArray[np.unsignedinteger], by: int) -> NDArray[np.unsignedinteger]:
    """A copy, shifted by ``by`` bits to the left, or by ``-by`` to the right."""
    return values << np.uint64(by) if by >= 0 else values >> np.uint64(-by)


def _ones(bits: int) -> np.uint64:
    return np.uint64((1 << bits) - 1)
