"""Packing, tiling and masking against references of a few lines in Python integers."""

from __future__ import annotations

import tracemalloc
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedsec.errors import ConfigError, LocalProtocolError
from fedsec.keystream import KeyStream
from fedsec.rounding import stochastic_round
from secagg import Quantiser, masking, packing, ring_bits_for
from secagg.quantiser import check_range, fits

EDGE = packing._TILE


def _reference(words: list[int], bits: int) -> bytes:
    stream = sum((word % 2**bits) << (bits * place) for place, word in enumerate(words))
    return stream.to_bytes((len(words) * bits + 7) // 8, "little")


def _pack(words: list[int], bits: int) -> bytes:
    out = np.empty(packing.packed_size(len(words), bits), dtype=np.uint8)
    packing.pack_into(np.array(words, dtype=packing.word_type(bits)), bits, out)
    return out.tobytes()


@pytest.mark.parametrize("bits", range(1, 65))
def test_packing_is_one_little_endian_stream(bits: int) -> None:
    top = 2 ** (32 if bits <= 32 else 64) - 1
    rng = np.random.default_rng(bits)
    for count in (1, 2, 7, 63, 64, 65, 130):
        words = [int(word) for word in rng.integers(0, top, count, dtype=np.uint64, endpoint=True)]
        words[0], words[-1] = top, 2**bits - 1
        packed = _pack(words, bits)
        assert packed == _reference(words, bits)
        back = packing.unpack(memoryview(packed), count, bits)
        assert [int(word) for word in back] == [word % 2**bits for word in words]


@pytest.mark.parametrize("bits", [1, 13, 24, 31, 32, 33, 63, 64])
@pytest.mark.parametrize("count", [EDGE - 1, EDGE, EDGE + 1, 2 * EDGE + 65])
def test_packing_across_tiles(bits: int, count: int) -> None:
    words = np.random.default_rng(0).integers(0, 2**bits - 1, count, dtype=np.uint64, endpoint=True)
    out = np.empty(packing.packed_size(count, bits), dtype=np.uint8)
    packing.pack_into(words.astype(packing.word_type(bits)), bits, out)
    assert np.array_equal(packing.unpack(memoryview(out.tobytes()), count, bits), words)
    assert packing.has_clean_padding(memoryview(out.tobytes()), count, bits)


@pytest.mark.parametrize("bits", range(1, 65))
@pytest.mark.parametrize("count", [64, 65, 127, 128, 192, 200])
def test_packing_in_place_writes_what_packing_apart_writes(bits: int, count: int) -> None:
    """With room behind the words no copy is made: the same bytes, at most 8 spoilt. Control: the room is written to."""
    words = np.random.default_rng(bits).integers(0, 2**63, count, dtype=np.uint64).astype(packing.word_type(bits))
    exact = np.empty(packing.packed_size(count, bits), dtype=np.uint8)
    packing.pack_into(words, bits, exact)
    room = np.full(len(exact) + 40, 0x5A, dtype=np.uint8)
    packing.pack_into(words, bits, room)
    assert np.array_equal(room[: len(exact)], exact)
    assert (room[len(exact) + 8 :] == 0x5A).all()
    assert np.array_equal(packing.unpack(room.data, count, bits), packing.unpack(exact.data, count, bits))
    if bits == 24:
        assert (room[len(exact) :] != 0x5A).any() == (count % 64 == 0)


def test_up_to_32_bits_travel_in_half_the_memory() -> None:
    assert [packing.word_type(bits).itemsize for bits in (1, 31, 32, 33, 64)] == [4, 4, 4, 8, 8]


def test_loose_padding_is_seen() -> None:
    packed = _pack([1, 2, 3], 7)  # 21 bits, 3 spare
    assert packing.has_clean_padding(memoryview(packed), 3, 7)
    for bit in (5, 6, 7):
        assert not packing.has_clean_padding(memoryview(packed[:-1] + bytes([packed[-1] | 1 << bit])), 3, 7)


class _Words:
    """A stream of injected words."""

    def __init__(self, words: np.ndarray) -> None:
        self._bytes = words.tobytes()

    def read_into(self, buffer: memoryview) -> None:
        buffer[:] = self._bytes[: len(buffer)]
        self._bytes = self._bytes[len(buffer) :]


@given(st.integers(2, 64), st.integers(1, 300), st.integers(0, 2**32 - 1), st.integers(1, 3), st.integers(0, 3))
@settings(max_examples=80, deadline=None)
def test_mask_is_addition_modulo_the_ring(bits: int, count: int, seed: int, plus: int, minus: int) -> None:
    rng = np.random.default_rng(seed)
    bound = (2**bits - 1) // 2
    quantiser = Quantiser(scale=1.0, saturation=min(bound, 2**50), noise_bound=0, clients=1, ring_bits=bits)
    values = rng.integers(-min(bound, 2**50), min(bound, 2**50), count, endpoint=True)
    dtype = packing.word_type(bits)
    top = np.iinfo(dtype).max
    streams = [rng.integers(0, top, count, dtype=dtype, endpoint=True) for _ in range(plus + minus)]
    packed = masking.mask(
        values,
        ring_bits=quantiser.ring_bits,
        bound=quantiser.input_bound,
        add=[_Words(words) for words in streams[:plus]],
        subtract=[_Words(words) for words in streams[plus:]],
    )
    expected = [
        (int(value) + sum(int(w[i]) for w in streams[:plus]) - sum(int(w[i]) for w in streams[plus:])) % 2**bits
        for i, value in enumerate(values)
    ]
    assert bytes(packed) == _reference(expected, bits)
    # Taking the streams off again gives the input; control: with one left on it does not.
    words = np.zeros(count, dtype=dtype)
    masking.add_packed(words, memoryview(packed), bits)
    unmasked = words.copy()
    masking.combine(unmasked, add=[_Words(w) for w in streams[plus:]], subtract=[_Words(w) for w in streams[:plus]])
    assert np.array_equal(quantiser.lift(unmasked), values)
    masking.combine(unmasked, add=[_Words(streams[0])], subtract=[])
    if any(int(word) % 2**bits for word in streams[0]):
        assert not np.array_equal(quantiser.lift(unmasked), values)


@pytest.mark.parametrize("bits", [1, 2, 8, 13, 32, 33, 64])
def test_the_largest_mask_word_is_added_and_subtracted_like_any_other(bits: int) -> None:
    """R - 1 takes one away, mod R; control: streams capped one below it would not."""
    dtype = packing.word_type(bits)
    largest = np.full(3, np.iinfo(dtype).max, dtype=dtype)
    for count, capped in ((2**bits - 1, largest), (2**bits - 2, largest - dtype.type(1))):
        words = np.array([0, 5, 7], dtype=dtype)
        masking.combine(words, add=[_Words(capped)], subtract=[])
        assert [int(word) % 2**bits for word in words] == [(value + count) % 2**bits for value in (0, 5, 7)]
        masking.combine(words, add=[], subtract=[_Words(capped)])
        assert words.tolist() == [0, 5, 7]


def test_masking_across_tiles_reads_each_stream_once_forwards() -> None:
    count = 2 * masking.TILE_WORDS + 77
    values = np.random.default_rng(1).integers(-100, 100, count)
    quantiser = Quantiser(scale=1.0, saturation=100, noise_bound=0, clients=10, ring_bits=21)
    packed = masking.mask(
        values,
        ring_bits=quantiser.ring_bits,
        bound=quantiser.input_bound,
        add=[KeyStream(b"a" * 32), KeyStream(b"b" * 32)],
        subtract=[KeyStream(b"c" * 32)],
    )
    a, b, c = (KeyStream(key * 32).words(count, np.uint32) for key in (b"a", b"b", b"c"))
    expected = (values.astype(np.uint32) + a + b - c) % 2**21
    assert np.array_equal(packing.unpack(memoryview(packed), count, 21), expected)


@pytest.mark.parametrize("bits", [7, 24, 33])
def test_packed_vectors_add_up_across_tiles(bits: int) -> None:
    """Two vectors longer than a tile; control: one word moved to another place gives another sum."""
    count = 2 * masking.TILE_WORDS + 77
    rng = np.random.default_rng(bits)
    one, other = (rng.integers(0, 2**bits, count, dtype=np.uint64).astype(packing.word_type(bits)) for _ in range(2))
    total = np.zeros(count, dtype=packing.word_type(bits))
    for words in (one, other):
        packed = np.empty(packing.packed_size(count, bits), dtype=np.uint8)
        packing.pack_into(words, bits, packed)
        masking.add_packed(total, memoryview(packed.tobytes()), bits)
    assert np.array_equal(total, one + other)
    assert not np.array_equal(total, one + np.roll(other, 1))


@pytest.mark.parametrize("bits", [1, 2])
def test_the_smallest_rings_are_masked_perfectly(bits: int) -> None:
    """Over all streams of one word, every input gives every masked word equally often: a one-time pad."""
    ring = range(2**bits)
    for value in ring:
        masked = Counter(
            bytes(
                masking.mask(
                    np.array([value], dtype=np.int64),
                    ring_bits=bits,
                    bound=2**bits - 1,
                    add=[_Words(np.array([one], dtype=np.uint32))],
                    subtract=[_Words(np.array([other], dtype=np.uint32))],
                )
            )
            for one in ring
            for other in ring
        )
        assert masked == {bytes([word]): 2**bits for word in ring}


def test_a_value_out_of_range_in_any_tile_is_refused() -> None:
    quantiser = Quantiser(scale=1.0, saturation=100, noise_bound=5, clients=10, ring_bits=32)
    for place in (0, masking.TILE_WORDS, 2 * masking.TILE_WORDS - 1):
        for value in (106, -106, 2**62, -(2**63)):
            values = np.zeros(2 * masking.TILE_WORDS, dtype=np.int64)
            values[place] = value
            with pytest.raises(LocalProtocolError):
                masking.mask(values, ring_bits=quantiser.ring_bits, bound=quantiser.input_bound, add=[], subtract=[])
    check_range(np.array([105, -105], dtype=np.int64), quantiser.input_bound)
    check_range(np.zeros(0, dtype=np.int64), quantiser.input_bound)


@pytest.mark.parametrize("bits", [21, 24, 32, 41, 64])
def test_masking_holds_the_packed_vector_and_a_tile(bits: int) -> None:
    """Peak memory beside the caller's input: d * b bits and under 1 MB. Control: one more vector would be seen."""
    count = 1_000_000
    values = np.zeros(count, dtype=np.int64)
    quantiser = Quantiser(scale=1.0, saturation=100, noise_bound=0, clients=10, ring_bits=bits)

    def peak(extra: int) -> int:
        tracemalloc.start()
        more = bytearray(extra)
        masking.mask(
            values,
            ring_bits=quantiser.ring_bits,
            bound=quantiser.input_bound,
            add=[KeyStream(bytes(32))] * 10,
            subtract=[],
        )
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert len(more) == extra
        return size

    size = packing.packed_size(count, bits)
    assert peak(0) < size + 2**20
    assert peak(size) >= 2 * size


@given(st.integers(1, 200), st.integers(1, 2**50), st.integers(0, 2**50))
def test_ring_bits_are_the_fewest_that_cannot_wrap(clients: int, saturation: int, noise_bound: int) -> None:
    bits = ring_bits_for(clients, saturation, noise_bound)
    assert clients * (saturation + noise_bound) <= (2**bits - 1) // 2
    assert clients * (saturation + noise_bound) > (2 ** (bits - 1) - 1) // 2


def test_a_ring_of_more_than_64_bits_is_refused() -> None:
    with pytest.raises(ConfigError):
        ring_bits_for(200, 2**52, 2**60)
    assert ring_bits_for(1, 2**62, 2**62 - 1) == 64
    for bits, clients in ((0, 1), (65, 1), (8, 0)):
        with pytest.raises(ConfigError):
            Quantiser(scale=1.0, saturation=1, noise_bound=0, clients=clients, ring_bits=bits)


def test_a_grid_is_as_fine_as_float64_counts() -> None:
    """From 2^53 on a float64 has no exact integers to round to; control: one less is allowed."""
    Quantiser(scale=1.0, saturation=2**53 - 1, noise_bound=0, clients=1, ring_bits=64)
    with pytest.raises(ConfigError):
        Quantiser(scale=1.0, saturation=2**53, noise_bound=0, clients=1, ring_bits=64)


def test_the_theorem_is_checked_in_python_integers_whatever_is_passed() -> None:
    """In int64 this product is 0, which fits any ring."""
    many, large = np.int64(2**32), np.int64(2**32)
    with np.errstate(over="ignore"):
        assert many * large == 0
    assert not fits(clients=many, saturation=large, noise_bound=np.int64(0), ring_bits=64)
    with pytest.raises(ConfigError):
        ring_bits_for(many, large, np.int64(0))


@pytest.mark.parametrize("bits", [4, 13, 32, 33, 64])
def test_the_theorem_is_tight(bits: int) -> None:
    """At the bound every sum lifts exactly; control: one more per input wraps."""
    clients = 7
    bound = ((2**bits - 1) // 2) // clients
    assert fits(clients=clients, saturation=bound, noise_bound=0, ring_bits=bits)
    assert not fits(clients=clients, saturation=bound + 1, noise_bound=0, ring_bits=bits)
    quantiser = Quantiser(scale=1.0, saturation=1, noise_bound=0, clients=1, ring_bits=bits)
    dtype = packing.word_type(bits)
    for sign in (1, -1):
        total = sign * clients * bound
        assert quantiser.lift(np.array([total % 2**bits], dtype=dtype))[0] == total
        wrapped = sign * (clients * (bound + 1) + (2**bits - 1) // 2 - clients * bound)
        if -(2**63) <= wrapped < 2**63:
            assert quantiser.lift(np.array([wrapped % 2**bits], dtype=dtype))[0] != wrapped


@pytest.mark.parametrize("bits", range(2, 65))
def test_half_the_ring_is_one_too_many(bits: int) -> None:
    """A sum of 2^(b-1) would lift to its negative; control: the sum one below it is allowed, and lifts to itself."""
    for total, allowed in ((2 ** (bits - 1), False), (2 ** (bits - 1) - 1, True)):
        assert fits(clients=1, saturation=total, noise_bound=0, ring_bits=bits) == allowed
        word = np.array([total % 2**bits], dtype=packing.word_type(bits))
        quantiser = Quantiser(scale=1.0, saturation=1, noise_bound=0, clients=1, ring_bits=bits)
        assert int(quantiser.lift(word)[0]) == (total if allowed else -total)


def test_lift_is_centred() -> None:
    quantiser = Quantiser(scale=4.0, saturation=1, noise_bound=0, clients=1, ring_bits=3)
    words = np.arange(16, dtype=np.uint32)  # bits above b are ignored
    assert quantiser.lift(words).tolist() == [0, 1, 2, 3, -4, -3, -2, -1] * 2
    assert quantiser.dequantise(np.array([-3, 2], dtype=np.int64)).tolist() == [-0.75, 0.5]


class TestStochasticRounding:
    """fedsec.rounding: unbiased, saturating, with coins from the stream alone."""

    def test_equals_the_definition(self) -> None:
        values = np.random.default_rng(0).normal(0, 300, 40_000)
        values[:6] = [1000.0, -1000.0, 1e300, -np.inf, 999.9999999, -999.5]
        coins = KeyStream(bytes(32)).words(len(values), np.uint32)
        rounded = stochastic_round(values, saturation=1000, scale=2.0, stream=KeyStream(bytes(32)))
        bounded = np.clip(values * 2.0, -1000, 1000)
        expected = np.floor(bounded) + (coins < (bounded - np.floor(bounded)) * 2.0**32)
        assert rounded.dtype == np.int64
        assert np.array_equal(rounded, expected)
        assert np.abs(rounded).max() == 1000

    def test_is_unbiased_and_moves_by_at_most_one(self) -> None:
        """Mean of 10^6 roundings of 0.3 within six standard deviations; rounding to nearest would be off by 0.3."""
        rounded = Quantiser(scale=0.5, saturation=9, noise_bound=0, clients=1, ring_bits=8).quantise(
            np.full(1_000_000, 0.6)
        )
        assert set(rounded.tolist()) == {0, 1}
        assert abs(rounded.mean() - 0.3) < 6 * 0.00046
        assert abs(np.rint(np.full(10, 0.3)).mean() - 0.3) > 6 * 0.00046

    def test_integers_stay(self) -> None:
        values = np.arange(-5.0, 6.0)
        assert stochastic_round(values, saturation=4).tolist() == [-4, -4, -3, -2, -1, 0, 1, 2, 3, 4, 4]
        assert stochastic_round(np.zeros(0), saturation=4).tolist() == []

    @pytest.mark.parametrize("place", [0, 20_000])
    def test_nan_and_bad_saturation_raise(self, place: int) -> None:
        values = np.zeros(20_001)
        values[place] = np.nan
        with pytest.raises(ValueError, match="NaN"):
            stochastic_round(values, saturation=4)
        for saturation in (0, 2**53):
            with pytest.raises(ValueError, match="saturation"):
                stochastic_round(np.zeros(1), saturation=saturation)

    def test_one_shared_dither_moves_a_coordinate_by_at_most_its_change_plus_one(self) -> None:
        rng = np.random.default_rng(3)
        values, change = rng.normal(0, 50, 30_000), rng.normal(0, 3, 30_000)
        one = stochastic_round(values, saturation=100, stream=KeyStream(bytes(32)))
        other = stochastic_round(values + change, saturation=100, stream=KeyStream(bytes(32)))
        assert (np.abs(one - other) <= np.abs(change) + 1).all()
        fresh = stochastic_round(values, saturation=100, stream=KeyStream(b"1" * 32))
        assert (one != fresh).any()  # control: under other coins it moves by itself
