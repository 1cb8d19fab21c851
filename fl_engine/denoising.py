"""What the true histograms may be, given their noisy sum: draws from a posterior, by exact recursion on a grid.

A cell of the opened sum is y = count + noise, with noise of known variance sigma^2, and counts are Poisson with
intensity lambda, so y has mean lambda and variance sigma^2 + lambda. What is public beforehand:

- lambda of a genuine cell lies anywhere above LEAST, all orders of magnitude alike;
- the log-odds rho of fraud in a cell are a random walk over the scores: a score is meant to be a log-odds itself, so
  rho rises by about SLOPE for each unit of it, up to normal steps of STEP for a unit. A model that ranks badly or is
  overconfident is within that; counts that speak against it overrule it.

rho is a hidden Markov chain of one number, so forward filtering and backward sampling (Rabiner 1989, section III;
Frühwirth-Schnatter 1994) draw from the posterior directly: no chain to converge, nothing to tune. No count is ever
negative, and an empty cell at the top, which decides average precision, is not taken for what the noise made of it.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

LEAST = 1e-6  # expected records in a cell
SLOPE = 0.8
STEP = 1.5
WIDTH = 4.5  # standard deviations of a genuine count that its grid spans, to both sides
POINTS = 32  # of that grid
RHO = np.arange(-13.0, 8.01, 0.125)

Floats = NDArray[np.float64]


def posterior_draws(
    histogram: Floats, edges: Floats, *, noise_deviation: float, draws: int, generator: np.random.Generator
) -> Floats:
    """Intensities that may be behind ``histogram``: float64[draws, 2, bins], all positive.

    Args:
        histogram: float64[2, bins], genuine first, low scores first, noisy.
        edges: float64[bins + 1], of the bins in log-odds of the score, rising.
        noise_deviation: of the noise in a cell, in records (> 0).
        draws: how many.
        generator: of the draws.
    """
    counts, likelihood = _cells(histogram, noise_deviation**2)
    odds = likelihood.sum(axis=1)
    moves = _moves(tuple(edges))
    filtered = [odds[0] / odds[0].sum()]
    for move, here in zip(moves, odds[1:], strict=True):
        ahead = (filtered[-1] @ move) * here
        filtered.append(ahead / ahead.sum())
    out = np.empty((draws, *histogram.shape))
    state = _draw(np.broadcast_to(filtered[-1], (draws, len(RHO))), generator)
    for place in range(len(odds) - 1, -1, -1):
        if place < len(odds) - 1:
            state = _draw(filtered[place] * moves[place][:, state].T, generator)
        genuine = counts[place, _draw(likelihood[place][:, state].T, generator)]
        out[:, 0, place] = genuine
        out[:, 1, place] = genuine * np.exp(RHO[state])
    return out


@cache
def _moves(edges: tuple[float, ...]) -> Floats:
    """How likely rho moves from a bin to the next, up to a factor: [bins - 1, len(RHO), len(RHO)]."""
    centres = np.add(edges[1:], edges[:-1]) / 2.0
    gaps = np.diff(centres)[:, None, None]
    likely: Floats = np.exp(-0.5 * (RHO[None, None, :] - RHO[None, :, None] - SLOPE * gaps) ** 2 / (STEP**2 * gaps))
    return likely


def _cells(histogram: Floats, variance: float) -> tuple[Floats, Floats]:
    """Grids of genuine intensities [bins, POINTS], and likelihoods [bins, POINTS, len(RHO)], each bin's largest 1."""
    genuine, fraud = histogram
    deviation = np.sqrt(variance + np.maximum(genuine, 0.0))
    low = np.maximum(genuine - WIDTH * deviation, LEAST)
    high = np.maximum(genuine + WIDTH * deviation, 2.0 * np.sqrt(variance))
    at = np.linspace(0.0, 1.0, POINTS)
    at = np.where((low <= LEAST)[:, None], at**5, at)  # where zero is possible, finer towards it
    counts = low[:, None] + (high - low)[:, None] * at
    prior = np.log(np.gradient(np.log(counts), axis=-1))
    expected = counts[:, :, None] * np.exp(RHO)
    log = (prior + _normal(genuine[:, None], counts, variance))[:, :, None]
    log = log + _normal(fraud[:, None, None], expected, variance)
    return counts, np.exp(log - log.max(axis=(1, 2), keepdims=True))


def _normal(value: Floats, mean: Floats, variance: float) -> Floats:
    spread = variance + mean
    density: Floats = -0.5 * ((value - mean) ** 2 / spread + np.log(spread))
    return density


def _draw(weights: Floats, generator: np.random.Generator) -> NDArray[np.int64]:
    """One index a row of ``weights``, with chance in proportion."""
    cumulated = np.cumsum(weights, axis=1)
    thrown = generator.random((len(weights), 1)) * cumulated[:, -1:]
    chosen: NDArray[np.int64] = np.minimum((cumulated <= thrown).sum(axis=1), weights.shape[1] - 1)
    return chosen
