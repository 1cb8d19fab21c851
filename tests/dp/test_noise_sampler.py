"""The sampler's parts: exact tables, exact coins, ties, tiles, ranges and memory."""

from __future__ import annotations

import math
import tracemalloc
from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest

from dp import noise
from dp.noise import LOG2_DISTANCE, discrete_gaussian
from fedsec.keystream import KeyStream

WORD = 2**64
KEY = bytes(range(32))


class Scripted:
    """A stream that hands out given words, then fails."""

    def __init__(self, *words: int) -> None:
        self._words = list(words)

    def words(self, count: int, dtype: type) -> np.ndarray:
        taken, self._words = self._words[:count], self._words[count:]
        assert len(taken) == count, "the stream ran dry"
        return np.array(taken, dtype=dtype)


def masses(table: noise._AliasTable, entries: int) -> list[Fraction]:
    """What the table really draws, as exact fractions."""
    height = 2**128 // table.columns
    drawn = [Fraction(0)] * entries
    for column in range(table.columns):
        split = (int(table.first[column]) << 64) + int(table.rest[column])
        if table.alias[column] == column:
            split = height
        for index, part in ((column, split), (int(table.alias[column]), height - split)):
            if part:
                drawn[index] += Fraction(part, 2**128)
    return drawn


def distance(variance: Fraction, bound: int, table: noise._AliasTable) -> Fraction:
    """Statistical distance of a table from weights recomputed with 120 digits."""
    step = 1 << noise._log2_step(variance)
    largest = min(bound // step, math.isqrt(int(225 * variance / step**2)) + 1)
    with localcontext() as context:
        context.prec = 120
        weights = [
            (Decimal(-((step * y) ** 2) * variance.denominator) / Decimal(2 * variance.numerator)).exp()
            for y in range(largest + 1)
        ]
        if step == 1:
            weights[0] /= 2  # either sign makes zero
        total = sum(weights)
        ideal = [Fraction(weight / total) for weight in weights]
    drawn = masses(table, largest + 1)
    assert sum(drawn) == 1
    return sum((abs(a - b) for a, b in zip(drawn, ideal, strict=True)), Fraction(0)) / 2


TABLES = [
    Fraction(1, 1000),
    Fraction(1, 50),
    Fraction(1, 4),
    Fraction(1),
    Fraction(4095),
    Fraction(4096),
    Fraction(10**14),
]


@pytest.mark.parametrize("variance", TABLES, ids=str)
def test_the_table_keeps_the_promised_distance(variance: Fraction) -> None:
    """Conditioning on acceptance (at least one half) at most quadruples the table's distance."""
    bound = math.ceil(12 * math.sqrt(variance))
    table = noise._table(variance, bound)
    assert 4 * distance(variance, bound, table) < Fraction(2) ** int(LOG2_DISTANCE)


def test_control_weights_of_64_bits_would_break_the_promise(monkeypatch: pytest.MonkeyPatch) -> None:
    coarse = [weight >> 64 << 64 for weight in _weights(100)]
    coarse[0] += 2**128 - sum(coarse)
    table = noise._alias_table(coarse)
    assert 4 * distance(Fraction(100), 120, table) > Fraction(2) ** int(LOG2_DISTANCE)


def _weights(variance: int) -> list[int]:
    captured: list[list[int]] = []
    original = noise._alias_table
    try:
        noise._alias_table = lambda weights: captured.append(list(weights)) or original(weights)
        noise._table.__wrapped__(Fraction(variance), 12 * math.isqrt(variance))
    finally:
        noise._alias_table = original
    return captured[0]


def test_a_tie_in_the_first_word_is_decided_by_a_second() -> None:
    table = noise._table(Fraction(100), 120)
    column = int(np.flatnonzero(table.alias != np.arange(table.columns))[0])
    bits = table.columns.bit_length() - 1
    tie = (int(table.first[column]) << bits) + column
    rest = int(table.rest[column])
    assert noise._pick(table, 1, Scripted(tie, rest))[0] == table.alias[column]
    assert noise._pick(table, 1, Scripted(tie, rest - 1))[0] == column
    assert noise._pick(table, 1, Scripted(tie - (1 << bits)))[0] == column


def test_coins_redraw_words_past_the_last_full_block() -> None:
    limit = 3 * 2**40
    block = WORD // limit
    past = block * limit
    numerators = np.array([5, 5], dtype=np.uint64)
    assert noise._heads(numerators, limit, 2, Scripted(past, 5 * block, 5 * block - 1)).tolist() == [True, False]
    # Controls: the last word that counts is not redrawn, and a power of two redraws none.
    assert not noise._heads(numerators[:1], limit, 1, Scripted(past - 1))[0]
    assert not noise._heads(numerators[:1], 2**10, 1, Scripted(WORD - 1))[0]


@pytest.mark.parametrize(("numerator", "limit"), [(1, 2), (1, 3), (5, 7), (2**61 - 1, 2**61 + 2**60), (1, 2**62)])
def test_coins_have_their_bias_to_the_last_word(numerator: int, limit: int) -> None:
    """Heads are the words below a threshold, tails those from there to the redrawn ones: a ratio exact to one word."""
    counted = WORD - WORD % limit
    heads = Fraction(counted * numerator, limit)
    assert heads.denominator == 1
    assert counted > WORD // 2
    numerators = np.array([numerator], dtype=np.uint64)

    def coin(*words: int) -> bool:
        stream = Scripted(*words)
        result = bool(noise._heads(numerators, limit, 1, stream)[0])
        assert not stream._words
        return result

    assert coin(0)
    assert coin(int(heads) - 1)
    assert not coin(int(heads))
    assert not coin(counted - 1)
    if counted < WORD:
        assert coin(counted, WORD - 1, 0)  # both redrawn
        with pytest.raises(AssertionError):  # control: a redrawn word takes another from the stream
            coin(counted)


@pytest.mark.parametrize("quotient", [Fraction(1, 2**40), Fraction(1, 50), Fraction(47, 100), Fraction(9, 10)])
def test_exponential_coins_have_their_bias(quotient: Fraction) -> None:
    count = 400_000
    numerators = np.full(count, quotient.numerator, dtype=np.uint64)
    heads = noise._bernoulli_exp(numerators, quotient.denominator, KeyStream(KEY)).sum()
    bias = math.exp(-quotient)
    # Hoeffding: exceeded with probability below 2 exp(-2 * 2.8^2) < 1e-6, were the key not fixed.
    assert abs(heads - bias * count) < 2.8 * math.sqrt(count)
    if quotient > Fraction(1, 3):  # control: the series cut after its first two coins has another bias
        assert abs((1 - quotient + quotient**2 / 2) * count - bias * count) > 2.8 * math.sqrt(count)


@pytest.mark.parametrize("heads", range(9))
def test_the_first_failure_at_an_odd_place_is_true(heads: int) -> None:
    """Coins that come up heads exactly so often, past the four places that are always tossed: parity decides."""
    quotient = np.array([1], dtype=np.uint64)  # of 2: word 0 is heads at every place, a word at three quarters tails
    always = max(noise._PLACES, heads + 1)
    tosses = [0 if place <= heads else 3 * WORD // 4 for place in range(1, always + 1) for _ in range(min(place, 2))]
    stream = Scripted(*tosses)
    assert noise._bernoulli_exp(quotient, 2, stream)[0] == (heads % 2 == 0)
    assert not stream._words  # nothing else was drawn
    # Control: one head more turns it.
    if heads + 1 < always:
        tosses[max(0, 2 * heads - 1) : 2 * heads + 1] = [0] * (1 if heads == 0 else 2)
        assert noise._bernoulli_exp(quotient, 2, Scripted(*tosses))[0] != (heads % 2 == 0)


@pytest.mark.parametrize("size", [0, 1, noise._TILE - 1, noise._TILE, noise._TILE + 1, 3 * noise._TILE])
@pytest.mark.parametrize("variance", [Fraction(1, 4), 4096], ids=str)
def test_samples_are_the_accepted_proposals_in_order(size: int, variance: int | Fraction) -> None:
    """Whole tiles one after the other, and of the last what is missing: nothing is left out or taken twice."""
    samples = discrete_gaussian(size, variance=variance, bound=800, stream=KeyStream(KEY))
    coins = KeyStream(KEY)
    accepted = np.empty(0, dtype=np.int64)
    while len(accepted) < size:
        missing = size - len(accepted)
        count = min(missing + missing // 32 + 16, noise._TILE)
        accepted = np.concatenate([accepted, noise._propose(count, Fraction(variance), 800, coins)])
    assert (samples == accepted[:size]).all()
    if size > 1:  # control: another order is another vector
        assert not (samples == accepted[:size][::-1]).all()


def above_the_output(size: int) -> int:
    """Bytes that a call needs beside its samples, at the peak; numpy reports to tracemalloc."""
    discrete_gaussian(1, variance=10**14, bound=12 * 10**7)
    tracemalloc.start()
    try:
        samples = discrete_gaussian(size, variance=10**14, bound=12 * 10**7)
        return tracemalloc.get_traced_memory()[1] - samples.nbytes
    finally:
        tracemalloc.stop()


def test_two_million_samples_need_ten_megabytes_beside_them(monkeypatch: pytest.MonkeyPatch) -> None:
    small, large = above_the_output(100_000), above_the_output(2_000_000)
    assert large < 10_000_000
    assert large - small < 100_000  # and ten million need no more
    monkeypatch.setattr(noise, "_TILE", 2**40)  # control: in one piece it is ten times as much as the output
    assert above_the_output(2_000_000) > 50_000_000


@pytest.mark.parametrize(
    ("size", "variance", "bound"),
    [
        (-1, 1, 12),
        (1, 0, 12),
        (0, 0, 12),
        (1, -1, 12),
        (1, Fraction(-1, 1000), 12),
        (1, 2**60 + 1, 2**40),
        (1, Fraction(2**60 + 1, 2), 2**40),
        (1, 100, 9),
        (1, Fraction(1, 1000), 0),
        (1, 1, -12),
        (1, 1, 2**62),
    ],
)
def test_arguments_out_of_range_are_refused(size: int, variance: int | Fraction, bound: int) -> None:
    """Above all a variance of zero: no noise is never a choice of parameters."""
    with pytest.raises(ValueError):
        discrete_gaussian(size, variance=variance, bound=bound)
    # Control: the nearest arguments in range are taken.
    assert len(discrete_gaussian(max(size, 1), variance=max(Fraction(1, 10**9), min(variance, 81)), bound=9)) >= 1
