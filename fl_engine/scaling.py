"""Feature scaling as one charged sum: means and variances of the training part, weighted by a public clip.

A record contributes v = (s, s^2, 1), where s are its squashed numeric features; v is scaled down to L2 norm at most
C. The last coordinate is scaled down with the rest, so it counts a record by the same weight w that its features
have: mean = sum(w s) / sum(w), a weighted mean that no single record can move far. Where the unit is an entity, it
contributes the mean of its counted rows' v, scaled down in the same way.
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from dp.training.entities import EntityRows

LEAST_DEVIATION = 0.1  # of a squashed feature; a smaller one is a constant column or noise
WIDEST = 8.0  # standardised features are cut at +- this many deviations
# What a deviation is to the network. Below 1, the first layer takes less of a record's clipped gradient, so that more
# of it is left to the others (docs/benchmarks.md).
SPREAD = 0.3
LEAST_WEIGHT = 1.0


class Standardiser(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Means and deviations of the numeric features, float64 little-endian bytes, ``width`` each."""

    means: bytes
    deviations: bytes

    @classmethod
    def from_moments(cls, moments: NDArray[np.float64]) -> Standardiser:
        """From the opened (noisy) sum of v, shape ``(2 k + 1,)``; whatever the noise did, the result is usable."""
        width = (len(moments) - 1) // 2
        weight = max(float(moments[-1]), LEAST_WEIGHT)
        means = moments[:width] / weight
        variances = moments[width:-1] / weight - means * means
        deviations = np.sqrt(np.maximum(variances, LEAST_DEVIATION**2))
        return cls(means=means.astype("<f8").tobytes(), deviations=deviations.astype("<f8").tobytes())

    def apply(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """float32[N, inputs] to float64[N, inputs]: the first k columns standardised, cut, times ``SPREAD``."""
        means = np.frombuffer(self.means, "<f8")
        deviations = np.frombuffer(self.deviations, "<f8")
        out = features.astype(np.float64)
        numeric = out[:, : len(means)]
        numeric -= means
        numeric /= deviations
        np.clip(numeric, -WIDEST, WIDEST, out=numeric)
        numeric *= SPREAD
        return out


def moment_sum(
    features: NDArray[np.float32],
    include: NDArray[np.bool_],
    *,
    clip: float,
    entities: EntityRows | None = None,
) -> NDArray[np.float64]:
    """Sum of clipped v over the units that ``include`` marks: float64[2 k + 1] from float32[N, k].

    The number of rows N is the declared number of slots; an excluded row adds exact zeros. A unit is a row, or with
    ``entities`` the mean of an entity's counted rows, which ``include`` marks all or none of.
    """
    squashed = np.where(include[:, None], features, 0.0).astype(np.float64)
    squares = squashed * squashed
    if entities is not None:
        squashed, squares = entities.means(squashed), entities.means(squares)
        include = include & entities.leads
    norms = np.sqrt((squashed * squashed).sum(axis=1) + (squares * squares).sum(axis=1) + 1.0)
    weights = np.where(include, np.minimum(1.0, clip / norms), 0.0)
    return np.concatenate([weights @ squashed, weights @ squares, [weights.sum()]])
