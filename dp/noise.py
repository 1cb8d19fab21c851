"""Discrete Gaussian noise: integers x with probability proportional to exp(-x^2 / (2 sigma^2)), cut at a
bound.

Integer arithmetic and the operating system's entropy only; vectorised over tiles of proposals:

1. Split |x| = K y + r with K a power of two, 0 <= r < K and sigma / K below 64, so that y has at most 961
   values.
2. Draw y >= 0 with probability proportional to exp(-K^2 y^2 / (2 sigma^2)) from an alias table of 128-bit
   weights (Walker 1977; Vose 1991), r uniform, and a sign.
3. K = 1: nothing is refused; the weight of zero is halved, since either sign makes it. K > 1: accept with
   probability exp(-r (r + 2 K y) / (2 sigma^2)), exactly, by Canonne, Kamath, Steinke (2020, arXiv
   2004.00010), Algorithm 1: coins of rational bias only. Refuse "minus zero" and what exceeds the bound.

Steps 1 and 3 are exact; the table's rounding is the only distance from the ideal, below 2^-112 a sample. No
branch is taken on one sample's value but a second word for a tie in the table, below 2^-50, and a fifth coin for the
whole tile, 3 in 10^8 a proposal; which proposals are refused is independent of what the others are. Constant time is
not claimed: what remains is in docs/noise.md, section 1, with the proof.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Context, Decimal, localcontext
from fractions import Fraction
from functools import lru_cache
from math import isqrt

import numpy as np
from numpy.typing import NDArray

from fedsec.keystream import KeyStream

# Statistical distance of one sample from the discrete Gaussian conditioned on the bound, at most 2^-112.
LOG2_DISTANCE = -112.0

LARGEST_VARIANCE = 2**60

_TILE = 1 << 14  # proposals at once: ten arrays of them are 1.3 MB, whatever the number of samples
_COARSE = 32  # sigma / K lies in [32, 64) wherever K > 1
_TABLE_SIGMAS = 15  # weights beyond are below 2^-160 and left out
_WEIGHT_BITS = 128
_FIRST_BITS = 64
_DIGITS = 80
_PLACES = 4  # coins that every proposal tosses, needed or not: more are needed for 3 in 10^8 proposals

_Words = NDArray[np.uint64]


@dataclass(frozen=True, kw_only=True)
class _AliasTable:
    """``columns`` (a power of two) equal columns, each split between itself and its alias.

    A column is 2^(128 - log2 columns) high; ``first`` holds the leading bits of the split, ``rest`` the next
    64.
    """

    columns: int
    first: _Words
    rest: _Words
    alias: NDArray[np.int64]


def discrete_gaussian(
    size: int, *, variance: int | Fraction, bound: int, stream: KeyStream | None = None
) -> NDArray[np.int64]:
    """``size`` independent samples, int64, of parameter sigma^2 = ``variance``, conditioned on |x| <=
    ``bound``.

    Beside the samples it needs about 2 MB, however many they are.

    Args:
        size: how many (>= 0).
        variance: sigma^2, exact, in (0, 2^60]; as a fraction its numerator is at most 2^60.
        bound: largest magnitude that may come out; bound^2 >= variance, bound < 2^62.
        stream: entropy; a fresh OS stream where it is left out, so that no fork shares one. Tests inject one.

    Raises:
        ValueError: an argument is out of range.
    """
    ratio = Fraction(variance)
    if size < 0 or not 0 < ratio <= LARGEST_VARIANCE or ratio.numerator > LARGEST_VARIANCE:
        raise ValueError("the size must not be negative and the variance must lie in (0, 2^60]")
    if not ratio <= bound**2 < 2**124 or bound < 0:
        raise ValueError("the bound must be at least one standard deviation, and below 2^62")
    coins = KeyStream.from_os() if stream is None else stream
    samples = np.empty(size, dtype=np.int64)
    filled = 0
    while filled < size:
        missing = size - filled
        # A thirty-second more than is missing: 98 % are accepted, so that the last tile is nearly always one.
        accepted = _propose(min(missing + missing // 32 + 16, _TILE), ratio, bound, coins)[:missing]
        samples[filled : filled + len(accepted)] = accepted
        filled += len(accepted)
    return samples


def _propose(count: int, variance: Fraction, bound: int, coins: KeyStream) -> NDArray[np.int64]:
    """Those of ``count`` independent proposals that are accepted, in order."""
    log2_step = _log2_step(variance)
    step = 1 << log2_step
    coarse = _pick(_table(variance, bound), count, coins)
    bits = coins.words(count, np.uint64)
    negative = (bits >> np.uint64(63)).astype(np.int64)
    fine = (bits & np.uint64(step - 1)).astype(np.int64)
    magnitude = (coarse << log2_step) + fine
    signed: NDArray[np.int64] = (magnitude ^ -negative) + negative
    if step == 1:
        return signed
    # r (r + 2 K y) / (2 sigma^2) as a fraction of two integers below 2^62: below 1/2 (docs/noise.md).
    numerators = (fine * (2 * magnitude - fine) * variance.denominator).astype(np.uint64)
    accepted = _bernoulli_exp(numerators, 2 * variance.numerator, coins)
    accepted &= (magnitude <= bound) & (magnitude >= negative)  # the second: minus zero
    chosen: NDArray[np.int64] = signed[accepted]
    return chosen


def _log2_step(variance: Fraction) -> int:
    """log2 of K: the largest power of two with K <= sigma / 32, at least 1."""
    return max(0, (isqrt(int(variance)) // _COARSE).bit_length() - 1)


def _pick(table: _AliasTable, count: int, coins: KeyStream) -> NDArray[np.int64]:
    """``count`` indices from the alias table: one word each, and a second where the first cannot decide."""
    words = coins.words(count, np.uint64)
    columns = (words & np.uint64(table.columns - 1)).astype(np.int64)
    heights = words >> np.uint64(table.columns.bit_length() - 1)
    splits = table.first[columns]
    keep = (heights < splits).astype(np.int64)
    ties = np.flatnonzero(heights == splits)
    if len(ties):
        keep[ties] = coins.words(len(ties), np.uint64) < table.rest[columns[ties]]
    alias = table.alias[columns]
    picked: NDArray[np.int64] = alias + (columns - alias) * keep
    return picked


@lru_cache(maxsize=64)
def _table(variance: Fraction, bound: int) -> _AliasTable:
    """The table of y: exp(-K^2 y^2 / (2 sigma^2)) for 0 <= y <= min(bound / K, 15 sigma / K + 1), as integers.

    Without a fine part (K = 1) zero weighs half, because plus and minus zero are both taken.
    """
    step = 1 << _log2_step(variance)
    largest = min(bound // step, isqrt(int(_TABLE_SIGMAS**2 * variance / step**2)) + 1)
    with localcontext(Context(prec=_DIGITS, Emin=-(10**6), Emax=10**6)):
        unit = Decimal(-(step**2) * variance.denominator) / Decimal(2 * variance.numerator)
        values = [(unit * y * y).exp() for y in range(largest + 1)]
        if step == 1:
            values[0] /= 2
        total = sum(values, Decimal(0))
        weights = [int((value / total * 2**_WEIGHT_BITS).to_integral_value()) for value in values]
    weights[0] += 2**_WEIGHT_BITS - sum(weights)
    return _alias_table(weights)


def _alias_table(weights: list[int]) -> _AliasTable:
    """Vose's construction in integers: exact for weights that sum to 2^128."""
    columns = 1 << max(0, (len(weights) - 1).bit_length())
    height = 2**_WEIGHT_BITS // columns
    left = weights + [0] * (columns - len(weights))
    splits, alias = [height] * columns, list(range(columns))
    small = [i for i, weight in enumerate(left) if weight < height]
    large = [i for i, weight in enumerate(left) if weight >= height]
    while small:
        low, high = small.pop(), large[-1]
        splits[low], alias[low] = left[low], high
        left[high] -= height - left[low]
        if left[high] < height:
            small.append(large.pop())
    # A full column is its own alias, so its split never matters; one below keeps it inside 64 + 64 bits.
    splits = [min(split, height - 1) for split in splits]
    mask = 2**64 - 1
    return _AliasTable(
        columns=columns,
        first=np.array([split >> _FIRST_BITS for split in splits], dtype=np.uint64),
        rest=np.array([split & mask for split in splits], dtype=np.uint64),
        alias=np.array(alias, dtype=np.int64),
    )


def _bernoulli_exp(numerators: _Words, denominator: int, coins: KeyStream) -> NDArray[np.bool_]:
    """Coins that are true with probability exp(-numerator / denominator), exactly; quotients lie in [0, 1).

    Canonne, Kamath, Steinke (2020), Algorithm 1: toss coins of bias quotient / 1, quotient / 2, ... until one
    fails; the first failure is at an odd place with probability exp(-quotient). All toss until the last has
    failed, at least four places, so that no branch or index depends on where one of them fails.
    """
    odd = np.ones(len(numerators), dtype=np.bool_)
    alive = np.ones(len(numerators), dtype=np.bool_)
    one = np.ones(1, dtype=np.uint64)
    place = 0
    while place < _PLACES or alive.any():
        place += 1
        alive &= _heads(numerators, denominator, len(odd), coins)
        if place > 1:
            alive &= _heads(one, place, len(odd), coins)
        odd ^= alive  # true again after an even number of heads
    return odd


def _heads(numerators: _Words, limit: int, count: int, coins: KeyStream) -> NDArray[np.bool_]:
    """``count`` coins of bias numerator / limit, exactly; numerators < limit, 2 <= limit <= 2^62.

    The first ``limit`` blocks of floor(2^64 / limit) words stand for [0, limit); words past them are redrawn.
    """
    block = 2**64 // limit
    last = np.uint64(block * limit - 1)
    words = coins.words(count, np.uint64)
    while len(over := np.flatnonzero(words > last)):
        words[over] = coins.words(len(over), np.uint64)
    heads: NDArray[np.bool_] = words < numerators * np.uint64(block)
    return heads
