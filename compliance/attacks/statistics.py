"""How well a guess does, with an interval, and how well (epsilon, delta) lets any guess do.

The advantage of a guesser is the rate of true positives less that of false positives: 0 for a coin, 1 for certainty.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

CONFIDENCE = 0.999  # a whole table of intervals is looked at, again and again; a false alarm must stay rare
FALSE_ALARM = 1e-5  # of a test for a partial leak: there are about ten in a suite
_DRAWS = 20_000


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a guesser achieved.

    Attributes:
        advantage: in [-1, 1]; low, high: its two-sided Clopper-Pearson interval at :data:`CONFIDENCE`.
        trials: games that it was measured on, half of them with and half without.
    """

    advantage: float
    low: float
    high: float
    trials: int

    @property
    def by_chance(self) -> bool:
        """Whether mere luck explains it. A guess that is wrong too often tells as much as one that is right."""
        return not self.exceeds(0.0)

    def exceeds(self, bound: float) -> bool:
        """Whether the advantage lies beyond ``bound`` (>= 0), to either side, by more than luck explains."""
        return self.low > bound or self.high < -bound


def advantage(inside: NDArray[np.float64], outside: NDArray[np.float64]) -> Measured:
    """Advantage of the best threshold on scores: found on the first half of the games, measured on the second.

    A threshold that is best turned round, as scores are lower where they should be higher, has one below 0.

    Args:
        inside: scores of games in which the guess should be "yes", shape ``(N,)``; outside: of the others, ``(M,)``;
            both at least 4.
    """
    half_in, half_out = len(inside) // 2, len(outside) // 2
    cut = _best_cut(inside[:half_in], outside[:half_out])
    return of_guesses(inside[half_in:] > cut, outside[half_out:] > cut)


def of_guesses(yes_inside: NDArray[np.bool_], yes_outside: NDArray[np.bool_]) -> Measured:
    """Advantage of guesses: "yes" where it should be, "yes" where it should not; Clopper & Pearson (1934).

    Each of the two rates gets half of what :data:`CONFIDENCE` leaves for errors.
    """
    hits, hit_low, hit_high = _rate(yes_inside)
    alarms, alarm_low, alarm_high = _rate(yes_outside)
    return Measured(
        advantage=hits - alarms,
        low=hit_low - alarm_high,
        high=hit_high - alarm_low,
        trials=len(yes_inside) + len(yes_outside),
    )


def advantage_bound(epsilon: float, delta: float) -> float:
    """Most that (epsilon, delta) lets any guess between two neighbours gain: (e^eps - 1 + 2 delta) / (e^eps + 1).

    Kairouz, Oh, Viswanath (ICML 2015, arXiv 1311.0776), section 2: TPR <= e^eps FPR + delta, and the same with
    roles changed, 1 - FPR <= e^eps (1 - TPR) + delta. Their sum gives the bound on TPR - FPR.
    """
    return min(1.0, math.tanh(epsilon / 2) + 2 * delta / (math.exp(min(epsilon, 700.0)) + 1))


def best_advantage(apart: float) -> float:
    """Of the best guess between two Gaussians ``apart`` standard deviations: 2 Phi(apart / 2) - 1 (Neyman, Pearson)."""
    return math.erf(apart / 2 / math.sqrt(2))


def gap_of_advantage(advantage: float) -> float:
    """How many standard deviations apart the two have to be for it: the inverse of :func:`best_advantage`, [0, 1)."""
    return 2 * float(stats.norm.ppf((1 + advantage) / 2))


def area_under_curve(inside: NDArray[np.float64], outside: NDArray[np.float64]) -> float:
    """Chance that a score of ``inside`` is above one of ``outside``, ties counted half (Mann & Whitney 1947)."""
    ranks = stats.rankdata(np.concatenate([inside, outside]))[: len(inside)]
    return float((ranks.sum() - len(inside) * (len(inside) + 1) / 2) / (len(inside) * len(outside)))


def correlation(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Pearson's, 0 where one of the vectors does not vary."""
    a, b = one - one.mean(), other - other.mean()
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / size if size > 0 else 0.0


def is_correlated(one: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    """Whether two vectors ``(d,)`` correlate beyond :data:`FALSE_ALARM`, if one of them is of independent numbers."""
    limit = float(stats.norm.isf(FALSE_ALARM / 2)) / math.sqrt(max(len(one) - 1, 1))
    return abs(correlation(one, other)) > limit


def hits_by_chance(found: NDArray[np.float64], others: NDArray[np.float64], *, close: float) -> tuple[float, int]:
    """How many values of ``found`` lie within ``close`` of records that have nothing to do with it.

    Args:
        found: ``(records, values)``; others: ``(N, values)``, of the same kind as what was sought, none of it sought.

    Returns:
        The mean number over all records, and the most in 20,000 random assignments of ``others``: more than that in
        truth is no chance.
    """
    hits = np.array([(np.abs(others - record) <= close).sum(axis=1) for record in found])
    drawn = np.random.default_rng().integers(hits.shape[1], size=(_DRAWS, len(found)))
    totals = hits[np.arange(len(found)), drawn].sum(axis=1)
    return float(totals.mean()), int(totals.max())


def _best_cut(inside: NDArray[np.float64], outside: NDArray[np.float64]) -> float:
    values = np.unique(np.concatenate([inside, outside]))
    cuts = (values[1:] + values[:-1]) / 2 if len(values) > 1 else values
    hits = 1 - np.searchsorted(np.sort(inside), cuts, side="right") / len(inside)
    alarms = 1 - np.searchsorted(np.sort(outside), cuts, side="right") / len(outside)
    return float(cuts[np.argmax(np.abs(hits - alarms))])


def _rate(yes: NDArray[np.bool_]) -> tuple[float, float, float]:
    count, total = int(yes.sum()), len(yes)
    tail = (1 - CONFIDENCE) / 4
    low = float(stats.beta.ppf(tail, count, total - count + 1)) if count else 0.0
    high = float(stats.beta.ppf(1 - tail, count + 1, total - count)) if count < total else 1.0
    return count / total, low, high
