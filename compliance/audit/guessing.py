"""What right guesses about canaries say about ε: Steinke, Nasr, Jagielski (NeurIPS 2023, arXiv 2305.08846).

Each of m canaries is put into the training data or left out by its own fair coin. Whoever sees the result guesses r of
the coins and abstains on the others. Theorem 5.2: if the result is (ε, δ)-DP for one canary, the number W of right
guesses satisfies, for every v,

    P[W >= v] <= P[B >= v] + 2 m delta max_{1 <= i <= v} P[v - i <= B < v] / i,   B ~ Binomial(r, e^ε / (1 + e^ε)).

r must not depend on the result. The coins may lie in several audit runs: a canary is in one of them only, so all of
them together are (ε, δ)-DP for it (parallel composition), and m and r count over all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

LARGEST = 30.0  # an ε that no audit of a size that fits a machine reaches
_STEPS = 50


@dataclass(frozen=True, kw_only=True)
class Guesses:
    """``correct`` of ``made`` guesses about ``canaries`` coins were right."""

    canaries: int
    made: int
    correct: int

    def lower_bound(self, *, delta: float, confidence: float) -> float:
        """The largest ε that they exclude, 0 if none: the true one is above it with chance ``confidence`` or more."""
        alpha = 1.0 - confidence
        if self.p_value(0.0, delta) >= alpha:
            return 0.0
        low, high = 0.0, LARGEST
        for _ in range(_STEPS):
            middle = (low + high) / 2
            low, high = (middle, high) if self.p_value(middle, delta) < alpha else (low, middle)
        return low

    def p_value(self, epsilon: float, delta: float) -> float:
        """Chance of so many right guesses or more under any (``epsilon``, ``delta``)-DP mechanism, at most."""
        v, r = self.correct, self.made
        if v == 0:
            return 1.0
        right = 1.0 / (1.0 + math.exp(-epsilon))
        steps = np.arange(1, v + 1)
        below = np.cumsum(stats.binom.pmf(v - steps, r, right))
        most = float((below / steps).max())
        return min(1.0, float(stats.binom.sf(v - 1, r, right)) + 2 * self.canaries * delta * most)


def guess(scores: NDArray[np.float64], inside: NDArray[np.bool_], *, guesses: int, both_ends: bool) -> Guesses:
    """Guess "in" for the highest scores, with ``both_ends`` for half of them, and "out" for as many of the lowest.

    Args:
        scores: ``(m,)``, higher where a canary seems to be in.
        inside: ``(m,)``, the coins; only the counting looks at them.
        guesses: r <= m, even, fixed before the scores were seen.
    """
    order = np.argsort(scores, kind="stable")
    highest = guesses // 2 if both_ends else guesses
    lowest = guesses - highest
    correct = int(inside[order[len(order) - highest :]].sum()) + int((~inside[order[:lowest]]).sum())
    return Guesses(canaries=len(scores), made=guesses, correct=correct)
