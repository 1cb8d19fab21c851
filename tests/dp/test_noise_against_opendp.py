"""Two samplers of one law: ours and OpenDP's exact one, which is written by others after CKS's own algorithm.

OpenDP draws from the system's entropy, so this test may fail by chance, less than once in 10^6 runs.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from scipy import special, stats

from dp.noise import discrete_gaussian
from fedsec.keystream import KeyStream

opendp = pytest.importorskip("opendp.prelude")

SAMPLES = 20_000
REJECT_BELOW = 5e-8  # times the comparisons of this file, with room for the chi-square approximation


def theirs(sigma: float) -> np.ndarray:
    opendp.enable_features("contrib")
    space = opendp.vector_domain(opendp.atom_domain(T=int)), opendp.l2_distance(T=float)
    return np.array(opendp.m.make_gaussian(*space, scale=sigma)([0] * SAMPLES), dtype=np.int64)


def ours(sigma: float) -> np.ndarray:
    variance = Fraction(sigma) ** 2
    return discrete_gaussian(SAMPLES, variance=variance, bound=int(12 * sigma) + 1, stream=KeyStream(bytes(32)))


def agreement(first: np.ndarray, second: np.ndarray, sigma: float) -> float:
    """p-value of the two-sample chi-square on twenty bins, merged where a sigma is too small for so many."""
    edges = np.unique(np.round(sigma * special.ndtri(np.arange(1, 20) / 20)).astype(np.int64))
    if sigma < 3:
        edges = np.arange(-1, 3)
    table = [np.bincount(np.searchsorted(edges, x, side="right"), minlength=len(edges) + 1) for x in (first, second)]
    return float(stats.chi2_contingency(np.array(table)[:, np.sum(table, axis=0) > 0], correction=False).pvalue)


@pytest.mark.parametrize("sigma", [0.5, 1.0, 10.0, 1000.0, 1e7])
def test_opendp_draws_from_the_same_law(sigma: float) -> None:
    reference = theirs(sigma)
    assert agreement(ours(sigma), reference, sigma) > REJECT_BELOW
    # Controls: a law that is 15 % narrower, and one that leans to the right, do not pass for it.
    assert agreement(ours(sigma), np.trunc(reference * 0.85).astype(np.int64), sigma) < REJECT_BELOW
    assert (
        agreement(np.where(np.arange(SAMPLES) % 3, ours(sigma), np.abs(ours(sigma))), reference, sigma) < REJECT_BELOW
    )
