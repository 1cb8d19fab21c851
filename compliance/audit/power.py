"""What an audit is able to notice, from public parameters, before it is made: how many guesses, which cut of noise.

The score of a canary is the log-likelihood ratio of what the auditor saw of it in T releases. In each of them it is in
with chance q, and then adds 1 to a coordinate with noise of deviation σ (a Gaussian stands in for the discrete one):

    L(x) = log(1 - q + q exp((x - 1/2) / σ^2)),

so the sum's distribution is a T-fold convolution, computed by FFT.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from compliance.audit.guessing import Guesses

SURE = 0.999  # chance with which what is said to be noticed is noticed
FRACTIONS = (0.005, 0.01, 0.02, 0.025, 0.03, 0.04, 0.05, 0.08, 0.12, 0.2, 0.3, 0.5)
_POINTS = 1 << 16
_SPREAD = 9.0  # standard deviations of a Gaussian that are looked at
_DRAWS = 20_001

Vector = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Channel:
    """What the auditor sees of a canary: ``openings`` releases, each with it with chance ``rate`` beside noise.

    ``deviation``: of the noise that counts, in units of the canary.
    """

    openings: int
    rate: float
    deviation: float

    def evidence(self, seen: Vector) -> Vector:
        """L(x) of every x in ``seen``, any shape, in units of the canary."""
        exponent = (seen - 0.5) / self.deviation**2
        return exponent if self.rate == 1 else np.logaddexp(math.log1p(-self.rate), math.log(self.rate) + exponent)

    @property
    def both_ends(self) -> bool:
        """Whether low scores say as much as high ones; of a canary that is drawn seldom, seeing nothing says little."""
        return self.rate == 1

    def accuracy(self, fraction: float, *, noise: float) -> float:
        """Share of right guesses where ``fraction`` of the canaries are guessed, under ``noise`` times the noise."""
        outside, inside = self._scores(noise)
        ends = [(inside[::-1], outside[::-1]), (outside, inside)] if self.both_ends else [(inside[::-1], outside[::-1])]
        right = 0.0
        for one, other in ends:
            mine, both = np.cumsum(one) / 2, (np.cumsum(one) + np.cumsum(other)) / 2
            place = int(np.searchsorted(both, fraction / len(ends)))
            right += float(mine[place] / both[place])
        return right / len(ends)

    def _scores(self, noise: float) -> tuple[Vector, Vector]:
        """Distributions on one ascending grid of the summed evidence for a canary that is out, and one that is in."""
        wide = _SPREAD * noise * self.deviation
        seen = np.linspace(-wide, 1 + wide, _DRAWS)
        absent = stats.norm.pdf(seen, scale=noise * self.deviation)
        present = (1 - self.rate) * absent + self.rate * stats.norm.pdf(seen, loc=1, scale=noise * self.deviation)
        weights = [each / each.sum() for each in (absent, present)]
        evidence = self.evidence(seen)
        means = [float(each @ evidence) for each in weights]
        deviation = max(float(w @ (evidence - mean) ** 2) for w, mean in zip(weights, means, strict=True)) ** 0.5
        reach = self.openings * max(map(abs, means)) + 12 * deviation * self.openings**0.5 + float(np.ptp(evidence))
        bins = np.rint(evidence / (2 * reach / _POINTS)).astype(np.int64) % _POINTS
        sums = []
        for each in weights:
            once = np.bincount(bins, weights=each, minlength=_POINTS)
            total = np.fft.irfft(np.fft.rfft(once) ** self.openings, _POINTS)
            sums.append(np.maximum(np.fft.fftshift(total), 0.0))
        return sums[0], sums[1]


@dataclass(frozen=True, kw_only=True)
class Design:
    """``guesses``: how many of the canaries' coins are guessed; ``noticed``: noise cut to this part of itself shows."""

    guesses: int
    noticed: float


def design(channel: Channel, *, canaries: int, epsilon: float, delta: float, confidence: float) -> Design | None:
    """The number of guesses with which the smallest cut of the noise shows; None where no cut would.

    A cut shows if the lower bound exceeds ``epsilon`` with chance :data:`SURE`. Noise is cut in steps of a hundredth.
    """
    best: Design | None = None
    low, high = 0, 100  # hundredths: at ``low`` a cut shows or the noise is off, at ``high`` it does not
    while high - low > 1:
        middle = (low + high) // 2
        made = _showing(channel, middle / 100, canaries=canaries, epsilon=epsilon, delta=delta, confidence=confidence)
        if made:
            best, low = Design(guesses=made, noticed=middle / 100), middle
        else:
            high = middle
    return best


def perfect(canaries: int) -> Guesses:
    """Every guess right, about a quarter of ``canaries``: to be expected of a variant that hides nothing.

    Half of the canaries are in, and nearly all of these are drawn once at least.
    """
    made = canaries // 4 // 2 * 2
    return Guesses(canaries=canaries, made=made, correct=made)


def _showing(
    channel: Channel, noise: float, *, canaries: int, epsilon: float, delta: float, confidence: float
) -> int | None:
    """So many guesses with which noise cut to ``noise`` shows best, or None."""
    found: tuple[float, int] | None = None
    for fraction in FRACTIONS:
        made = int(fraction * canaries) // 2 * 2
        right = min(1.0, channel.accuracy(fraction, noise=noise))
        correct = int(stats.binom.ppf(1 - SURE, made, right)) if made else 0
        p_value = Guesses(canaries=canaries, made=made, correct=correct).p_value(epsilon, delta)
        if p_value < 1 - confidence and (found is None or p_value < found[0]):
            found = p_value, made
    return None if found is None else found[1]
