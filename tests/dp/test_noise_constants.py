"""Every inequality of docs/noise.md, sections 1 and 2, recomputed: the proof's constants hold."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from scipy import special

from dp import noise
from dp.mechanism import NOISE_STANDARD_DEVIATIONS
from dp.noise import LARGEST_VARIANCE, LOG2_DISTANCE
from tests.dp.distribution import bin_masses

ROUNDING = 961 * 2.0**-129  # step 2: each weight off by half a unit at most, and as much put on y = 0
BEYOND = 2 * math.exp(-112.5)  # what lies beyond 15 sigma
# Around every place where K changes, and in between.
VARIANCES = sorted(
    {
        max(1, (32 << power) ** 2 + shift)
        for power in range(25)
        for shift in (-1, 0, 1, (32 << power) ** 2, 3 * (32 << power) ** 2 - 1)
        if (32 << power) ** 2 + shift <= LARGEST_VARIANCE
    }
)


def step_of(variance: int) -> int:
    return 1 << noise._log2_step(Fraction(variance))


def largest_of(variance: int) -> int:
    return math.isqrt(225 * variance // step_of(variance) ** 2) + 1


def test_step_one_k_is_a_32nd_to_a_64th_of_sigma() -> None:
    for variance in [*VARIANCES, LARGEST_VARIANCE]:
        step = step_of(variance)
        assert step == 1 or (32 * step) ** 2 <= variance
        assert variance < (64 * step) ** 2
        assert largest_of(variance) <= 960  # so 961 values, at most 1024 columns
    assert max(map(largest_of, VARIANCES)) == 960  # control: 959 would be false


def test_step_two_rounding_and_the_tail_stay_below_two_to_the_minus_112() -> None:
    assert ROUNDING < 2.0**-119
    assert BEYOND < 2.0**-161
    accepted = math.exp(-(3 / 2048 + 15 / 32)) - 1 / 16
    assert accepted > 1 / 2
    assert 2 * (ROUNDING + BEYOND) / accepted < 2.0**-117 < 2.0**LOG2_DISTANCE
    # Controls: neither 64-bit weights nor a table of 12 sigma would do.
    assert 2 * 961 * 2.0**-65 / accepted > 2.0**LOG2_DISTANCE
    assert 2 * 2 * math.exp(-72) / accepted > 2.0**LOG2_DISTANCE


@pytest.mark.parametrize("variance", [1024, 4095, 4096, 4097, 16383, 16384, 10**6])
def test_step_two_more_than_half_of_all_proposals_are_accepted(variance: int) -> None:
    """At the bound of one standard deviation too, where most is cut; the law of a proposal is summed up in full."""
    step = step_of(variance)
    for bound in (math.isqrt(variance - 1) + 1, 12 * math.isqrt(variance)):
        coarse = np.arange(min(bound // step, largest_of(variance)) + 1)
        law = np.exp(-((step * coarse) ** 2) / (2 * variance))
        law /= law.sum()
        fine = np.arange(step)
        quotients = fine * (fine + 2 * step * coarse[:, None]) / (2 * variance)
        kept = np.exp(-quotients) * ((step * coarse[:, None] + fine) <= bound)
        if step > 1:
            kept[0, 0] = 1 / 2  # minus zero
            assert law[min(32, len(law) - 1)] <= 1 / 33
            assert law[0] <= 1 / 28
        accepted = float((law[:, None] * kept).sum() / step)
        assert accepted > 0.56
        assert bound < 2 * math.isqrt(variance) or accepted > 0.98  # what the size of the last tile assumes
        # Control: at sigma = 8 K in place of 32 K the quotient's bound would say nothing of the sort.
        assert 3 / (2 * 64) + 15 / 8 > 1


def test_step_three_quotients_are_below_a_half_and_products_fit() -> None:
    """Largest fine and coarse part at once; as integers, so without a rounding."""
    largest = Fraction(0)
    for variance in VARIANCES:
        step = step_of(variance)
        if step == 1:
            continue
        numerator = (step - 1) * (step - 1 + 2 * step * largest_of(variance))
        assert numerator < 2**60
        largest = max(largest, Fraction(numerator, 2 * variance))
    assert Fraction(46, 100) < largest < Fraction(3, 2048) + Fraction(15, 32) < Fraction(1, 2)
    assert 2 * LARGEST_VARIANCE <= 2**62  # a coin's limit
    # Fractions: the numerators of quotient and variance have the denominator in common, so that nothing grows.
    ratio = Fraction(2**60 - 1, 2**50)
    step = 1 << noise._log2_step(ratio)
    assert step == 1
    ratio = Fraction(2**60 - 1, 17)
    step = 1 << noise._log2_step(ratio)
    most = (step - 1) * (step - 1 + 2 * step * (math.isqrt(int(225 * ratio / step**2)) + 1)) * 17
    assert 2 * most < 2 * ratio.numerator


def test_step_three_alternating_series_is_the_exponential() -> None:
    """The first failure is at an odd place with probability e^(-q): summed up as fractions."""
    for quotient in (Fraction(1, 100), Fraction(47, 100), Fraction(1, 2)):
        reaches, odd = Fraction(1), Fraction(0)
        for place in range(1, 40):
            goes_on = reaches * quotient / place
            odd += (reaches - goes_on) * (place % 2)
            reaches = goes_on
        assert abs(float(odd) - math.exp(-quotient)) < 1e-15
        assert abs(float(1 - quotient) - math.exp(-quotient)) > 1e-5  # control: one coin alone


def test_four_places_nearly_always_suffice() -> None:
    """At K = sigma / 32, the worst: a proposal is alive after four heads in 3 of 10^8 cases, after three in 10^6."""
    variance, step = (32 * 64) ** 2, 64
    coarse = np.arange(largest_of(variance) + 1)
    law = np.exp(-((step * coarse) ** 2) / (2 * variance))
    law /= law.sum()
    quotients = np.arange(step) * (np.arange(step) + 2 * step * coarse[:, None]) / (2 * variance)
    after = [float((law[:, None] * quotients**k).mean(axis=1).sum()) / math.factorial(k) for k in (3, 4)]
    assert after[1] < 3e-8
    assert noise._TILE * after[1] < 1e-3
    assert after[0] > 1e-6  # control: with three places one tile in fifty would go on


def test_the_cut_costs_less_than_two_to_the_minus_102() -> None:
    assert 2 * math.exp(-(NOISE_STANDARD_DEVIATIONS**2) / 2) < 2.0**-102.8
    assert 2 * math.exp(-(11**2) / 2) > 2.0**-102.8  # control: eleven standard deviations


@pytest.mark.parametrize("sigma", [0.3, 0.5, 1.0, 4.0, 33.3])
def test_the_moment_generating_function_and_the_tail_are_bounded(sigma: float) -> None:
    """Section 2: subgaussian with sigma^2, and Chernoff's bound, for every t and T of a grid."""
    xs = np.arange(-math.ceil(60 * sigma) - 2, math.ceil(60 * sigma) + 3)
    masses = np.exp(-(xs**2) / (2 * sigma**2))
    masses /= masses.sum()
    for t in np.linspace(0.05, 5, 40) / sigma:
        assert float((masses * np.exp(t * xs - t * t * sigma**2 / 2)).sum()) <= 1 + 1e-12
    for deviations in np.linspace(0.5, 12, 24):
        beyond = float(masses[np.abs(xs) > deviations * sigma].sum())
        assert beyond <= 2 * math.exp(-(deviations**2) / 2)
    # Control: a law that is one percent wider breaks the first.
    wider = np.exp(-(xs**2) / (2 * (1.01 * sigma) ** 2))
    wider /= wider.sum()
    assert any(
        float((wider * np.exp(t * xs - t * t * sigma**2 / 2)).sum()) > 1 + 1e-6
        for t in np.linspace(0.05, 5, 40) / sigma
    )


@pytest.mark.parametrize("sigma", [1000, 20_000])
def test_masses_of_bins_agree_with_sums_of_high_precision(sigma: int) -> None:
    """The reference of the chi-square tests: summed in doubles, and above sigma = 20,000 by the midpoint rule."""
    edges = np.unique(np.round(sigma * special.ndtri(np.arange(1, 12) / 12)).astype(np.int64))
    xs = np.arange(-10 * sigma, 10 * sigma + 1)
    weights = np.exp(-(xs**2) / (2 * sigma**2))
    bins = np.searchsorted(edges, xs, side="right")
    sums = [math.fsum(weights[bins == index]) for index in range(len(edges) + 1)]
    exact = np.array(sums) / math.fsum(sums)
    midpoint = np.diff(np.concatenate([[0.0], special.ndtr((edges - 0.5) / sigma), [1.0]]))
    assert np.abs(bin_masses(sigma, edges) / exact - 1).max() < 1e-12
    assert np.abs(midpoint / exact - 1).max() < 1 / sigma**2
    # Control: without the half the rule is off by far more.
    shifted = np.diff(np.concatenate([[0.0], special.ndtr(edges / sigma), [1.0]]))
    assert np.abs(shifted / exact - 1).max() > 1 / sigma**2
