"""Samples of one call, of several calls and of forked processes have nothing to do with one another.

The streams have fixed keys, so that the tests give the same answer every time; thresholds are such that other keys
would fail with a chance below 1e-6. Only the forks use the system's entropy, as they must.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable

import numpy as np
import pytest
from scipy import special, stats

from dp.noise import discrete_gaussian
from fedsec.keystream import KeyStream
from tests.dp.distribution import REJECT_BELOW

SAMPLES = 400_000
VARIANCES = [10**2, 32**2, 10**8, 10**14]
LAGS = (1, 2, 3, 16, 4096)


def draw(variance: int, key: int = 1, size: int = SAMPLES) -> np.ndarray:
    bound = 12 * math.isqrt(variance)
    return discrete_gaussian(size, variance=variance, bound=bound, stream=KeyStream(bytes([key] * 32)))


def pairs_fit(first: np.ndarray, second: np.ndarray, variance: int) -> float:
    """p-value of Pearson's chi-square of the table of sixths by sixths, margins taken from the samples."""
    edges = np.sqrt(variance) * special.ndtri(np.arange(1, 6) / 6)
    cells = 6 * np.searchsorted(edges, first) + np.searchsorted(edges, second)
    table = np.bincount(cells, minlength=36).reshape(6, 6)
    return float(stats.chi2_contingency(table, correction=False).pvalue)


def correlated(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether the correlation is past 5.1 standard deviations (a chance of 3.4e-7), of samples or of magnitudes."""
    pairs = [(first, second), (np.abs(first), np.abs(second))]
    return any(abs(np.corrcoef(a, b)[0, 1]) > 5.1 / math.sqrt(len(a)) for a, b in pairs)


@pytest.mark.parametrize("variance", VARIANCES)
def test_neighbours_of_one_call_are_independent(variance: int) -> None:
    samples = draw(variance).astype(np.float64)
    for lag in LAGS:
        assert pairs_fit(samples[:-lag], samples[lag:], variance) > REJECT_BELOW
        assert not correlated(samples[:-lag], samples[lag:])


@pytest.mark.parametrize("variance", VARIANCES)
def test_control_neighbours_that_know_each_other_are_noticed(variance: int) -> None:
    """A memory of 2 % of the last sample, a magnitude that is repeated once in fifty times, a sign that alternates."""
    samples = draw(variance).astype(np.float64)
    remembers = samples[1:] + samples[:-1] / 50
    assert correlated(remembers[:-1], remembers[1:])
    repeats = samples.copy()
    repeats[50::50] = -repeats[49:-1:50]
    assert pairs_fit(repeats[:-1], repeats[1:], variance) < REJECT_BELOW
    alternates = np.abs(samples) * np.where(np.arange(SAMPLES) % 2, 1, -1)
    assert pairs_fit(alternates[:-1], alternates[1:], variance) < REJECT_BELOW


def test_keys_give_independent_vectors() -> None:
    first, second = (draw(10**8, key).astype(np.float64) for key in (1, 2))
    assert pairs_fit(first, second, 10**8) > REJECT_BELOW
    assert not correlated(first, second)
    # Control: one key twice gives one vector.
    assert correlated(first, draw(10**8, 1).astype(np.float64))


def in_a_child(sample: Callable[[], np.ndarray]) -> np.ndarray:
    """What ``sample`` gives in a forked process (at most 64 samples)."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, sample().tobytes())
        os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    data = os.read(reader, 512)
    os.close(reader)
    return np.frombuffer(data, dtype=np.int64)


def test_calls_and_forked_processes_share_no_randomness() -> None:
    """By chance three of 64 samples of sigma 10^6 agree once in 10^14 times."""

    def fresh() -> np.ndarray:
        return discrete_gaussian(64, variance=10**12, bound=10**7)

    before, other = fresh(), fresh()
    children = [in_a_child(fresh), in_a_child(fresh)]
    vectors = [before, other, *children, fresh()]
    for index, one in enumerate(vectors):
        assert all((one == later).sum() <= 2 for later in vectors[index + 1 :])
    # Control: a stream that was made before the fork goes on alike on both sides of it.
    shared = KeyStream.from_os()

    def inherited() -> np.ndarray:
        return discrete_gaussian(64, variance=10**12, bound=10**7, stream=shared)

    assert (in_a_child(inherited) == inherited()).all()
