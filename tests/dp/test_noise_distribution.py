"""The sampler's distribution, against exact masses; every test shows that it would notice a wrong sampler."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from dp.noise import discrete_gaussian
from fedsec.keystream import KeyStream
from tests.dp.distribution import REJECT_BELOW, goodness_of_fit, low_bits_fit, mean_fit, variance_fit

SAMPLES = 400_000
SIGMAS = [Fraction(s) for s in ("0.5", "0.7", "1", "2", "3.5", "31.9", "32", "64", "100", "1000", "100000", "10000000")]
OTHERS = [Fraction(1, 10), 2, 4095, 10**6 + 7, 10**14 + 1, 2**60]  # 4096, sigma = 64, is the first with a fine part
VARIANCES = [*(sigma**2 for sigma in SIGMAS), *OTHERS]


def draw(variance: int | Fraction, size: int = SAMPLES) -> np.ndarray:
    """From a stream of fixed key, so that a test gives the same answer every time."""
    bound = math.ceil(12 * math.sqrt(variance))
    return discrete_gaussian(size, variance=variance, bound=bound, stream=KeyStream(bytes(range(32))))


@pytest.mark.parametrize("variance", VARIANCES, ids=str)
def test_samples_fit_the_exact_masses(variance: int | Fraction) -> None:
    sigma = math.sqrt(variance)
    samples = draw(variance)
    assert goodness_of_fit(samples, sigma) > REJECT_BELOW
    if sigma >= 5:  # below, the first test looks at each value by itself
        assert low_bits_fit(samples, sigma, 16) > REJECT_BELOW
        assert low_bits_fit(samples, sigma, 3) > REJECT_BELOW
    assert variance_fit(samples, sigma) > REJECT_BELOW
    assert mean_fit(samples, sigma) > REJECT_BELOW


@pytest.mark.parametrize("variance", [Fraction(1, 4), 100, 10**6, 10**14], ids=str)
def test_control_three_percent_of_variance_are_noticed(variance: int | Fraction) -> None:
    sigma = math.sqrt(variance)
    samples = draw(Fraction(variance) * Fraction(97, 100), 4 * SAMPLES)
    assert goodness_of_fit(samples, sigma) < REJECT_BELOW
    assert variance_fit(samples, sigma) < REJECT_BELOW


@pytest.mark.parametrize("sigma", SIGMAS, ids=str)
def test_control_two_percent_of_sigma_and_a_lean_are_noticed(sigma: Fraction) -> None:
    wrong = draw((sigma * Fraction(98, 100)) ** 2, 4 * SAMPLES)
    assert goodness_of_fit(wrong, float(sigma)) < REJECT_BELOW
    assert variance_fit(wrong, float(sigma)) < REJECT_BELOW
    leaning = draw(sigma**2)
    leaning[::10] = np.abs(leaning[::10])
    assert mean_fit(leaning, float(sigma)) < REJECT_BELOW


@pytest.mark.parametrize("variance", [100, 10**10], ids=str)
def test_control_a_sampler_without_odd_numbers_is_noticed(variance: int) -> None:
    samples = draw(variance) // 2 * 2
    assert low_bits_fit(samples, math.sqrt(variance), 16) < REJECT_BELOW


@pytest.mark.parametrize("variance", [Fraction(1, 4), 1, 100], ids=str)
def test_control_counting_zero_twice_is_noticed(variance: int | Fraction) -> None:
    samples = draw(variance)
    zeros = np.zeros(int((samples == 0).sum()), dtype=np.int64)
    doubled = np.concatenate([samples, zeros])
    assert goodness_of_fit(doubled, math.sqrt(variance)) < REJECT_BELOW


def test_control_leaving_out_the_rejection_step_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Accepting every proposal gives a staircase: right to a percent, and wrong."""
    assert goodness_of_fit(draw(2**34, 6 * SAMPLES), 2**17) > REJECT_BELOW
    monkeypatch.setattr("dp.noise._bernoulli_exp", lambda numerators, *_: np.ones(len(numerators), dtype=bool))
    assert goodness_of_fit(draw(2**34, 6 * SAMPLES), 2**17) < REJECT_BELOW


def test_control_rounding_floating_point_noise_is_not_what_is_drawn() -> None:
    """A rounded continuous Gaussian has variance sigma^2 + 1/12: the masses tell them apart at sigma = 1."""
    rounded = np.rint(np.random.default_rng(1).normal(size=SAMPLES)).astype(np.int64)
    assert goodness_of_fit(rounded, 1.0) < REJECT_BELOW


@pytest.mark.parametrize(("variance", "bound"), [(1, 1), (2, 2), (10_000, 150), (10**10, 10**5)])
def test_a_bound_conditions_and_is_never_exceeded(variance: int, bound: int) -> None:
    samples = discrete_gaussian(SAMPLES, variance=variance, bound=bound)
    assert np.abs(samples).max() <= bound
    if bound <= 200:
        xs = np.arange(-bound, bound + 1)
        weights = np.exp(-(xs**2) / (2 * variance))
        expected = SAMPLES * weights / weights.sum()
        observed = np.bincount(samples + bound, minlength=len(xs))
        # Normal approximation for the sum of squares of many cells; six standard deviations and its skew.
        statistic = ((observed - expected) ** 2 / expected).sum()
        freedom = len(xs) - 1
        assert statistic < freedom + 8 * math.sqrt(2 * freedom) + 40
