"""Exact masses of the discrete Gaussian and tests against them, each with a false-alarm chance below 1e-6."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

# Half of the promised 1e-6, for the chi-square approximation at 200 or more expected counts a bin.
REJECT_BELOW = 5e-7
BINS = 60


def bin_masses(sigma: float, edges: NDArray[np.int64]) -> NDArray[np.float64]:
    """Masses of x < edges[0], edges[0] <= x < edges[1], ..., x >= edges[-1]; the cut tail is below 1e-30."""
    if sigma <= 20_000:
        reach = max(12, math.ceil(13 * sigma))
        xs = np.arange(-reach, reach + 1)
        weights = np.exp(-(xs**2) / (2 * sigma**2))
        sums = np.add.reduceat(weights, np.concatenate([[0], np.searchsorted(xs, edges)]))
        return sums / weights.sum()
    # Midpoint rule: the relative error is below 1 / sigma^2, far below what any sample here can see.
    below = special.ndtr((edges - 0.5) / sigma)
    return np.diff(np.concatenate([[0.0], below, [1.0]]))


def goodness_of_fit(samples: NDArray[np.int64], sigma: float) -> float:
    """p-value of Pearson's chi-square in about ``BINS`` bins of like mass."""
    edges = np.unique(np.round(sigma * special.ndtri(np.arange(1, BINS) / BINS)).astype(np.int64))
    if sigma < 3:  # few values: one bin each, tails pooled where fewer than 200 are expected
        edges = np.arange(-8, 10)
        expected = bin_masses(sigma, edges) * len(samples)
        edges = edges[(np.cumsum(expected)[:-1] >= 200) & (np.cumsum(expected[::-1])[::-1][1:] >= 200)]
    expected = bin_masses(sigma, edges) * len(samples)
    observed = np.bincount(np.searchsorted(edges, samples, side="right"), minlength=len(expected))
    statistic = ((observed - expected) ** 2 / expected).sum()
    return float(stats.chi2.sf(statistic, len(expected) - 1))


def low_bits_fit(samples: NDArray[np.int64], sigma: float, modulus: int) -> float:
    """p-value of Pearson's chi-square of ``samples`` mod ``modulus``: fine structure that wide bins do not see."""
    if sigma > 2 * modulus:  # Poisson summation: residues are uniform to a relative 2 exp(-8 pi^2) < 1e-33
        expected = np.full(modulus, 1 / modulus)
    else:
        xs = np.arange(-math.ceil(13 * sigma), math.ceil(13 * sigma) + 1)
        weights = np.exp(-(xs**2) / (2 * sigma**2))
        expected = np.bincount(xs % modulus, weights=weights, minlength=modulus) / weights.sum()
    observed = np.bincount(samples % modulus, minlength=modulus)
    statistic = ((observed - len(samples) * expected) ** 2 / (len(samples) * expected)).sum()
    return float(stats.chi2.sf(statistic, modulus - 1))


def variance_fit(samples: NDArray[np.int64], sigma: float) -> float:
    """p-value, two-sided and normal, of the mean square of ``samples`` against its exact mean and spread."""
    mean, spread = 1.0, 2.0  # of (x / sigma)^2, up to exp(-2 pi^2 sigma^2)
    if sigma < 100:
        xs = np.arange(-max(12, math.ceil(13 * sigma)), max(12, math.ceil(13 * sigma)) + 1)
        weights = np.exp(-(xs**2) / (2 * sigma**2))
        weights /= weights.sum()
        mean = float((weights * (xs / sigma) ** 2).sum())
        spread = float((weights * (xs / sigma) ** 4).sum()) - mean**2
    mean_square = float(np.mean((samples / sigma) ** 2))
    return float(2 * stats.norm.sf(abs(mean_square - mean) / math.sqrt(spread / len(samples))))


def mean_fit(samples: NDArray[np.int64], sigma: float) -> float:
    """p-value, two-sided and normal, of the mean of ``samples`` against zero; the variance is at most sigma^2."""
    return float(2 * stats.norm.sf(abs(float(np.mean(samples / sigma))) * math.sqrt(len(samples))))
