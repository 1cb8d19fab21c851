"""Sampler rate and memory beside OpenDP's exact discrete Gaussian, in the same run."""

from __future__ import annotations

import tracemalloc
from fractions import Fraction

from benchmarks.dp.timing import milliseconds
from dp.noise import discrete_gaussian

SIZES = (100_000, 10_000_000)
SIGMAS = (Fraction(1, 2), Fraction(1), Fraction(10), Fraction(10**3), Fraction(10**5), Fraction(10**7))
OPENDP_SIZE = 5_000  # its time is linear in the number of samples: it draws them one by one
RATIO_TARGET = 50
MEMORY_TARGET_MB = 10


def run() -> None:
    """Print nanoseconds a sample by sigma, both samplers', their ratio, and the memory above the output."""
    print(f"OpenDP draws {OPENDP_SIZE:,} samples (its time is linear in their number), fedsec as many as the row says")
    print(
        f"{'sigma':>12} {'samples':>11} {'fedsec ns':>10} {'OpenDP ns':>10} {'ratio':>7} {'target':>7} {'met':>4}"
        f" {'peak MB above output':>21} {'target':>7} {'met':>4}"
    )
    for sigma in SIGMAS:
        theirs = _opendp(sigma)
        for size in SIZES:
            ours, peak = _ours(sigma, size), _peak_megabytes(sigma, size)
            print(
                f"{float(sigma):>12,} {size:>11,} {ours:>10.1f} {theirs:>10.0f} {theirs / ours:>7.0f}"
                f" {RATIO_TARGET:>7} {_met(theirs / ours >= RATIO_TARGET):>4}"
                f" {peak:>21.2f} {MEMORY_TARGET_MB:>7} {_met(peak <= MEMORY_TARGET_MB):>4}",
                flush=True,
            )


def _met(holds: bool) -> str:
    return "yes" if holds else "no"


def _bound(sigma: Fraction) -> int:
    return int(12 * sigma)


def _ours(sigma: Fraction, size: int) -> float:
    """Nanoseconds a sample; the table of this sigma is built before, as it is once in a run."""
    discrete_gaussian(1, variance=sigma**2, bound=_bound(sigma))
    return milliseconds(lambda: discrete_gaussian(size, variance=sigma**2, bound=_bound(sigma))) * 1e6 / size


def _peak_megabytes(sigma: Fraction, size: int) -> float:
    """What a call needs beside its samples at the peak; numpy reports to tracemalloc."""
    tracemalloc.start()
    try:
        samples = discrete_gaussian(size, variance=sigma**2, bound=_bound(sigma))
        return (tracemalloc.get_traced_memory()[1] - samples.nbytes) / 1e6
    finally:
        tracemalloc.stop()


def _opendp(sigma: Fraction) -> float:
    """Nanoseconds a sample of OpenDP's exact sampler of the same law."""
    import opendp.prelude as dp

    dp.enable_features("contrib")
    space = dp.vector_domain(dp.atom_domain(T=int)), dp.l2_distance(T=float)
    measurement = dp.m.make_gaussian(*space, scale=float(sigma))
    zeros = [0] * OPENDP_SIZE
    return milliseconds(lambda: measurement(zeros)) * 1e6 / OPENDP_SIZE
