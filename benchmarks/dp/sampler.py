"""Sampler rate beside OpenDP's exact discrete Gaussian, in the same run."""

from __future__ import annotations

from benchmarks.dp.timing import milliseconds
from dp.noise import discrete_gaussian

DIMENSION = 4000
SIGMAS = (1, 10, 1_000, 100_000, 10_000_000)
REPEATS = 50


def run() -> None:
    """Print nanoseconds a sample by sigma, both samplers', and their ratio."""
    print(f"{'sigma':>12} {'fedsec ns':>10} {'OpenDP ns':>10} {'ratio':>7}   (vectors of {DIMENSION})")
    for sigma in SIGMAS:
        ours = _ours(sigma)
        theirs = _opendp(sigma)
        print(f"{sigma:>12,} {ours:>10.0f} {theirs:>10.0f} {theirs / ours:>7.0f}")


def _ours(sigma: int) -> float:
    """Nanoseconds a sample; the table of this sigma is built before, as it is once in a run."""
    discrete_gaussian(1, variance=sigma**2, bound=12 * sigma)

    def draw() -> None:
        for _ in range(REPEATS):
            discrete_gaussian(DIMENSION, variance=sigma**2, bound=12 * sigma)

    return milliseconds(draw) * 1e6 / (REPEATS * DIMENSION)


def _opendp(sigma: int) -> float:
    import opendp.prelude as dp

    dp.enable_features("contrib")
    space = dp.vector_domain(dp.atom_domain(T=int)), dp.l2_distance(T=float)
    measurement = dp.m.make_gaussian(*space, scale=float(sigma))
    zeros = [0] * DIMENSION
    return milliseconds(lambda: measurement(zeros)) * 1e6 / DIMENSION
